"""The command that writes a report of runs for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from orchestration.app import Application, Settings, open_application
from orchestration.cli.training import find_run
from utils.errors import ConfigError

if TYPE_CHECKING:
    from rl.evaluation.report_text import ReportFiles


def report(
    context: typer.Context,
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Id of a run, its end, or `latest`.")
    ],
    *,
    open_path: Annotated[
        bool, typer.Option("--open-path", help="Print the page's path and nothing else.")
    ] = False,
) -> None:
    """Write a run's report, or of several runs a comparison, as HTML, Markdown and JSON."""
    var: Path = context.obj

    async def write() -> ReportFiles:
        async with open_application(Settings(var=var), with_worker=False) as application:
            return await _write(application, runs, var)

    files = anyio.run(write)
    if open_path:
        typer.echo(str(files.page.absolute()))
        return
    typer.echo(f"Report: {files.page}\nMarkdown: {files.summary}\nJSON: {files.data}")


async def _write(application: Application, references: list[str], var: Path) -> ReportFiles:
    found = [await find_run(application.orchestrator, reference) for reference in references]
    try:
        from rl.training.report_files import write_run_files  # noqa: PLC0415  # heavy, not to serve
    except ImportError as error:
        raise ConfigError(
            f"reports need what training needs ({error}): pip install -r requirements.txt"
        ) from error
    ids = [one.id for one in found]
    folder = var / "reports"
    try:
        return await write_run_files(application.database, ids, runs=var / "runs", folder=folder)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror}): free space or choose another --var"
        ) from error
