"""An examination of what the database tells: clocks, leases, workers, and the files it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from sqlalchemy import func, select

from orchestration.care.engine_view import EngineView, look
from orchestration.care.findings import Finding, fine, note, problem
from orchestration.care.named_files import (
    NamedFile,
    list_artifact_files,
    list_checkpoint_files,
)
from utils.persistence.jobs import event, job
from utils.persistence.run_removal import list_known_runs

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.job_store.workers import WorkerIdentity
    from utils.clock import Clock
    from utils.persistence.engine import Database

LATE_SECONDS = 5.0
"""A lease that ended so long ago should have been taken over."""
SILENT_SECONDS = 60.0
CLOCK_SLACK = timedelta(seconds=5)
SECOND_LOOK_SECONDS = 1.0
MOST_NAMED = 3
START_WORKER = "Start a worker: `python -m orchestration worker` takes them over."


async def examine(
    database: Database, var: Path, *, clock: Clock, me: WorkerIdentity
) -> list[Finding]:
    """Look at the rows and at the files they name.

    Args:
        database: An open one.
        var: Folder of its files.
        clock: Tells ages.
        me: This process, which knows what runs on its machine.
    """
    view = await look(database, clock, me)
    return [
        await _check_database_clock(database, clock.now()),
        *check_leases(view),
        *await _check_named(database, var, clock),
        *await _check_unnamed(database, var),
    ]


async def _check_database_clock(database: Database, now: datetime) -> Finding:
    advice = "Set the clocks of all machines by NTP: leases and schedules are told by them."
    async with database.read() as connection:
        if database.is_server:
            theirs = await connection.scalar(select(func.clock_timestamp()))
            ahead = 0.0 if theirs is None else (theirs - now).total_seconds()
            if abs(ahead) > CLOCK_SLACK.total_seconds():
                return problem("database clock", f"the server's is {ahead:+.1f} s of ours", advice)
        newest = await connection.scalar(select(func.max(event.c.at)))
    if newest is not None and newest > now + CLOCK_SLACK:
        ahead = (newest - now).total_seconds()
        text = f"the newest event was written {ahead:,.0f} s in the future"
        return problem("database clock", text, advice)
    return fine("database clock", "no event lies in the future")


def check_leases(view: EngineView) -> Iterator[Finding]:
    """Look for jobs and workers that nobody cares for.

    Args:
        view: The engine now.
    """
    known = {worker.id: worker for worker in view.workers}
    late = []
    for one in view.live:
        owner = known.get(one.worker or "")
        is_gone = owner is None or owner.is_alive is False
        if is_gone or one.lease_left_seconds < -LATE_SECONDS:
            late.append(one.id)
    works = any(worker.is_alive is not False for worker in view.workers)
    if late:
        text = f"{len(late)} jobs are owned by nobody who lives: {_some(late)}"
        stuck = "A worker lives but does not take them over: see its log, then restart it."
        yield problem("leases", text, stuck if works else START_WORKER)
    else:
        yield fine("leases", f"{len(view.live)} jobs are being worked on")
    if view.due and not works:
        text = f"{view.due} jobs could start and no worker runs"
        yield note("workers", text, "Start one: `python -m orchestration worker`.")
    silent = [
        str(worker.pid)
        for worker in view.workers
        if worker.is_alive and worker.seen_seconds > SILENT_SECONDS
    ]
    if silent:
        text = f"silent for a minute although they run: process {_some(silent)}"
        yield problem("workers", text, "It hangs or was stopped: end it; its jobs go on elsewhere.")
    elif works:
        alive = sum(worker.is_alive is not False for worker in view.workers)
        yield fine("workers", f"{alive} run")


async def _check_named(database: Database, var: Path, clock: Clock) -> list[Finding]:
    async with database.read() as connection:
        artifacts = await list_artifact_files(connection, var / "artifacts")
        checkpoints = await list_checkpoint_files(connection, var / "artifacts")
    checked = len(checkpoints)
    bad = await anyio.to_thread.run_sync(_find_faults, checkpoints)
    if bad:  # a run that is under way has thrown some away and is about to say so
        await clock.sleep(SECOND_LOOK_SECONDS)
        async with database.read() as connection:
            named = await list_checkpoint_files(connection, var / "artifacts")
        ready = {file.checkpoint_id for file in named}
        bad = [(file, fault) for file, fault in bad if file.checkpoint_id in ready]
    lost = await anyio.to_thread.run_sync(_find_faults, artifacts)
    found = [
        problem("checkpoints", fault, "Restore a backup; a job resumes from an older one, if any.")
        for _, fault in bad
    ]
    found += [
        problem("artifacts", fault, "Restore a backup, or train and promote the agent again.")
        for _, fault in lost
    ]
    if not bad:
        found.append(fine("checkpoints", f"{checked} are whole"))
    if not lost:
        found.append(fine("artifacts", f"{len(artifacts)} are whole"))
    return found


def _find_faults(files: Sequence[NamedFile]) -> list[tuple[NamedFile, str]]:
    faults = ((file, file.find_fault()) for file in files)
    return [(file, fault) for file, fault in faults if fault is not None]


async def _check_unnamed(database: Database, var: Path) -> list[Finding]:
    async with database.read() as connection:
        artifacts = await list_artifact_files(connection, var / "artifacts")
        runs = await list_known_runs(connection)
        jobs = await _list_jobs(connection)
    stored = set((var / "artifacts").glob("[0-9a-f][0-9a-f]/[0-9a-f]*"))
    unnamed = {
        "artifacts": [path.name[:12] for path in stored - {file.path for file in artifacts}],
        "run folders": [name for name in _folders(var / "runs") if name not in runs],
        "work folders": [name for name in _folders(var / "work") if name not in jobs],
    }
    advices = {
        "artifacts": "`gc` removes them after its grace.",
        "run folders": "`gc` removes them after its grace.",
        "work folders": "No job of this database made them: remove them by hand.",
    }
    found = [
        note("files", f"{len(names)} {what} that no row names: {_some(names)}", advices[what])
        for what, names in unnamed.items()
        if names
    ]
    return found or [fine("files", "rows name all of them")]


async def _list_jobs(connection: AsyncConnection) -> set[str]:
    return set(await connection.scalars(select(job.c.id)))


def _folders(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(sorted(names)[:MOST_NAMED]) + more
