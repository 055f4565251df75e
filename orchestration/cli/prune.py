"""The command that removes old records."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from orchestration.app import Application
from orchestration.care.pruning import KEPT_DAYS, Pruned
from orchestration.care.pruning import prune as remove_old
from orchestration.cli.parts import AsJson, print_json, print_parts, run_opened
from utils.clock import SystemClock

RecordDays = Annotated[
    float, typer.Option(min=1, max=99_999, help="How long records of what is over are kept.")
]


def prune(context: typer.Context, *, days: RecordDays = KEPT_DAYS, as_json: AsJson = False) -> None:
    """Remove old fires, deliveries, decisions and events; what is unfinished stays.

    `serve` does so once a day.
    """
    removed = run_opened(context, partial(_prune, days))
    if as_json:
        print_json(asdict(removed))
        return
    counts = ", ".join(f"{number} {name}" for name, number in asdict(removed).items())
    print_parts(f"Removed {counts} older than {days:g} days.")


async def _prune(days: float, application: Application) -> Pruned:
    return await remove_old(application.database, SystemClock(), days=days)
