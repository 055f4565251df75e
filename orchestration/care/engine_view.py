"""The engine at a glance, read in one transaction: queue, live jobs, workers, newest events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.workers import SqlWorkers, WorkerIdentity, process_start
from orchestration.jobs import LIVE, WAITING, Resources
from utils.persistence.jobs import event, job, worker

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.engine import Database

RECENT = timedelta(hours=1)
"""A worker that was last seen longer ago, and owns nothing, is history."""
_LIVE = [state.value for state in LIVE]
_WAITING = [state.value for state in WAITING]


@dataclass(frozen=True, kw_only=True)
class LiveJob:
    """A job that a worker owns."""

    id: str
    kind: str
    state: str
    desired: str
    attempt: int
    fence: int
    worker: str | None
    lease_left_seconds: float
    """Until another worker may take it; negative if that was long due."""
    done: int | None
    total: int | None
    progress_age_seconds: float | None
    running_seconds: float | None
    resources: Resources
    """What it occupies."""

    @property
    def fraction(self) -> float | None:
        """How much of the work is done, if that is known."""
        return min(1.0, (self.done or 0) / self.total) if self.total else None


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """A worker process."""

    id: str
    host: str
    pid: int
    seen_seconds: float
    """How long ago it was last seen."""
    jobs: int
    parallel_jobs: int
    """How many it carries at most."""
    capacity: Resources | None
    """What it has for them; None if it counts nothing."""
    is_alive: bool | None
    """Whether its process runs; None on another machine, where nobody here can tell."""


@dataclass(frozen=True, kw_only=True)
class EventView:
    """A line of the outbox."""

    seq: int
    job_id: str | None
    type: str
    payload: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, kw_only=True)
class EngineView:
    """All of it."""

    at: datetime
    states: Mapping[str, int]
    """How many jobs are in which state."""
    kinds: Mapping[str, Mapping[str, int]]
    """The same, for each kind."""
    due: int
    """How many of the waiting ones could start now."""
    oldest_due_seconds: float | None
    """How long the first of them could have run."""
    live: tuple[LiveJob, ...]
    workers: tuple[WorkerView, ...]
    events: tuple[EventView, ...]
    """Oldest first."""


async def look(
    database: Database, clock: Clock, me: WorkerIdentity, *, num_events: int = 10
) -> EngineView:
    """Read the engine's state.

    Args:
        database: Where it is kept.
        clock: Tells ages.
        me: This process, which knows what runs on its machine.
        num_events: How many of the newest.
    """
    now = clock.now()
    async with database.read() as connection:
        due, oldest = await _count_due(connection, now)
        kinds = await _count_kinds(connection)
        return EngineView(
            at=now,
            states=_sum_up(kinds),
            kinds=kinds,
            due=due,
            oldest_due_seconds=None if oldest is None else (now - oldest).total_seconds(),
            live=await _list_live(connection, now),
            workers=await list_workers(connection, now, me),
            events=await _list_events(connection, num_events),
        )


async def list_workers(
    connection: AsyncConnection, now: datetime, me: WorkerIdentity
) -> tuple[WorkerView, ...]:
    """List the workers of the last hour, and older ones that own a job still.

    Args:
        connection: An open transaction.
        now: Tells ages.
        me: This process, which knows what runs on its machine.
    """
    owned = (
        select(job.c.lease_owner, func.count().label("jobs"))
        .where(job.c.state.in_(_LIVE))
        .group_by(job.c.lease_owner)
        .subquery()
    )
    query = (
        select(worker, func.coalesce(owned.c.jobs, 0).label("jobs"))
        .outerjoin(owned, owned.c.lease_owner == worker.c.id)
        .where(or_(owned.c.jobs.is_not(None), worker.c.last_seen >= now - RECENT))
        .order_by(worker.c.id)
    )
    return tuple(
        WorkerView(
            id=row.id,
            host=row.host,
            pid=row.pid,
            seen_seconds=(now - row.last_seen).total_seconds(),
            jobs=row.jobs,
            parallel_jobs=row.parallel_jobs,
            capacity=None if row.cpu_milli is None else _resources(row),
            is_alive=_is_alive(row, me),
        )
        for row in await connection.execute(query)
    )


def identify(database: Database, clock: Clock) -> WorkerIdentity:
    """Return what this process knows of itself; it does not become a worker by that.

    Args:
        database: That of the workers.
        clock: Tells the time.
    """
    return SqlWorkers(JobLedger(database, clock)).identify()


async def find_jobs(database: Database, end: str) -> list[str]:
    """Return the ids of up to two jobs that end so, newest first.

    Args:
        database: That of the jobs.
        end: At least some characters of the id; all jobs if empty.
    """
    query = select(job.c.id).where(job.c.id.endswith(end, autoescape=True))
    async with database.read() as connection:
        return list(await connection.scalars(query.order_by(job.c.id.desc()).limit(2)))


def _is_alive(row: Any, me: WorkerIdentity) -> bool | None:
    if row.host != me.host:
        return None
    return bool(row.boot_id == me.boot_id and process_start(row.pid) == row.pid_started)


async def _count_kinds(connection: AsyncConnection) -> dict[str, dict[str, int]]:
    query = select(job.c.kind, job.c.state, func.count()).group_by(job.c.kind, job.c.state)
    counted: dict[str, dict[str, int]] = {}
    for kind, state, count in await connection.execute(query.order_by(job.c.kind, job.c.state)):
        counted.setdefault(kind, {})[state] = count
    return counted


def _sum_up(kinds: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counted in kinds.values():
        total.update(counted)
    return dict(sorted(total.items()))


async def _count_due(connection: AsyncConnection, now: datetime) -> tuple[int, datetime | None]:
    query = select(func.count(), func.min(job.c.run_at))
    due = query.where(job.c.state.in_(_WAITING), job.c.run_at <= now)
    count, oldest = (await connection.execute(due)).one()
    return count, oldest


async def _list_live(connection: AsyncConnection, now: datetime) -> tuple[LiveJob, ...]:
    query = select(job).where(job.c.state.in_(_LIVE)).order_by(job.c.id)
    return tuple(
        LiveJob(
            id=row.id,
            kind=row.kind,
            state=row.state,
            desired=row.desired,
            attempt=row.attempt,
            fence=row.fence,
            worker=row.lease_owner,
            lease_left_seconds=-(_since(row.lease_until, now) or 0.0),
            done=row.progress_done,
            total=row.progress_total,
            progress_age_seconds=_since(row.progress_at, now),
            running_seconds=_since(row.started_at, now),
            resources=_resources(row),
        )
        for row in await connection.execute(query)
    )


async def _list_events(connection: AsyncConnection, count: int) -> tuple[EventView, ...]:
    query = select(event).order_by(event.c.seq.desc()).limit(count)
    rows = (await connection.execute(query)).mappings().all()
    return tuple(EventView(**row) for row in reversed(rows))


def _resources(row: Any) -> Resources:
    return Resources(
        cpu_milli=row.cpu_milli, gpu_milli=row.gpu_milli or 0, memory_mb=row.memory_mb or 0
    )


def _since(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (now - moment).total_seconds()
