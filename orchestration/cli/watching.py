"""The command that looks on: at one run until it ends, or at the engine until Ctrl-C."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from orchestration.app import Application
from orchestration.cli import engine, progress, training
from orchestration.cli.parts import run_opened
from orchestration.jobs import Job
from utils.clock import SystemClock


def watch(
    context: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Id of a run or job, its end, or `latest`."),
    ] = None,
) -> None:
    """Look on: at a run until it ends, or at the engine if none is named.

    Curves and figures change in place; a pipe gets a line for each change. Ctrl-C ends the
    looking, nothing else.
    """
    console = Console()
    try:
        if run is None:
            engine.look_on(context, console)
            return
        job = run_opened(context, lambda application: _watch(application, run, console))
    except KeyboardInterrupt:
        what = "the engine is" if run is None else "the run is"
        console.print(f"No longer watched; {what} left alone.")
        raise typer.Exit(training.INTERRUPTED) from None
    training.tell_end(console, job)
    raise typer.Exit(training.exit_code(job))


async def _watch(application: Application, run: str, console: Console) -> Job:
    clock = SystemClock()
    job_id = await engine.find_job_id(application, run)
    with progress.make_display(console, clock) as display:
        return await progress.watch(
            application.orchestrator, job_id, display, clock, ends_at_pause=False
        )
