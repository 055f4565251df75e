"""Writes the report of one run, or of several beside each other, from the database."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread

from rl.evaluation.report_text import ReportFiles, write_files
from rl.evaluation.run_report import ComparisonReport, RunReport
from rl.training.run_comparison import make_comparison
from rl.training.run_reporting import load_run, make_run_report
from utils.persistence.engine import Database


async def write_run_files(
    database: Database, run_ids: Sequence[str], *, runs: Path, folder: Path
) -> ReportFiles:
    """Write HTML, Markdown and JSON; those of an earlier report on the same runs are replaced.

    Args:
        database: Where the runs are kept.
        run_ids: One for a report on it, several for a comparison in this order.
        runs: Folder of the runs' folders.
        folder: Takes the files; made if absent.

    Raises:
        RunNotFoundError: There is no such run.
        ConfigError: A run is named twice, or a file of a run is damaged.
        OSError: The disk is full or not writable.
    """
    async with database.read() as connection:
        found = [await load_run(connection, one, folder=runs / one) for one in run_ids]
    report: RunReport | ComparisonReport
    if len(found) == 1:
        name, report = f"run-{run_ids[0]}", make_run_report(found[0])
    else:
        digest = hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:12]
        name, report = f"comparison-{digest}", make_comparison(found)
    return await anyio.to_thread.run_sync(write_files, folder, name, report)
