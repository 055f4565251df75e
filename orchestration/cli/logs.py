"""The command that prints what the attempts of a job print, as it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import anyio.to_thread
import typer

from orchestration import job_logs
from orchestration.app import Application
from orchestration.cli.engine import find_job_id
from orchestration.cli.parts import Run, run_opened
from orchestration.job_logs import LogMissingError, LogPlace
from utils.clock import SystemClock


def logs(
    context: typer.Context,
    run: Run,
    *,
    follow: Annotated[bool, typer.Option(help="Go on until the job has ended.")] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Only this start of the job; the newest by default.")
    ] = None,
    tail: Annotated[int | None, typer.Option(min=0, help="Only so many of the last lines.")] = None,
) -> None:
    """Print what a job's process printed: its log lines, warnings and last words.

    RUN may also be the id of a job, or the end of one.
    """

    async def show(application: Application) -> None:
        job_id = await find_job_id(application, run)
        folder = application.settings.var / "work" / job_id
        place = await anyio.to_thread.run_sync(_begin, folder, attempt, tail)
        if place is None and not follow:
            raise LogMissingError(f"job {job_id} has printed nothing that is kept: has it started?")
        wanted = attempt if follow or place is None else place.attempt

        async def is_over() -> bool:
            return not follow or (await application.orchestrator.job(job_id)).state.is_terminal

        await _print(folder, place, wanted, is_over)

    run_opened(context, show)


def _begin(folder: Path, attempt: int | None, tail: int | None) -> LogPlace | None:
    if attempt is None:
        found = job_logs.list_attempts(folder)
        if not found:
            return None
        attempt = found[-1]
    if tail is None:
        return job_logs.read(folder, LogPlace(attempt=attempt), limit=4).start
    return job_logs.find_tail(folder, attempt, tail)


async def _print(
    folder: Path,
    place: LogPlace | None,
    wanted: int | None,
    is_over: Callable[[], Awaitable[bool]],
) -> None:
    shown = place.attempt if place else None
    async for piece in job_logs.follow(folder, clock=SystemClock(), is_over=is_over, place=place):
        attempt = piece.start.attempt
        if wanted is not None and attempt != wanted:
            return
        if attempt != shown:
            typer.echo(f"== attempt {attempt} ==", err=True)
            shown = attempt
        typer.echo(piece.text, nl=False)
