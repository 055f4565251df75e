"""Metric families of jobs, from a snapshot of the database that a background task renews.

A scrape thus never waits for the database, and the figures outlive a restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, Select, case, extract, func, select

from orchestration.job_store.workers import SEEN_SECONDS
from orchestration.jobs import LIVE, WAITING, JobState
from orchestration.scheduler.firing import FAILED, LAUNCHED, SKIPPED
from orchestration.webhooks.deliveries import DELIVERED, GAVE_UP, PENDING
from utils.logs import get_logger
from utils.persistence.jobs import attempt, job, worker
from utils.persistence.polling import Quiet, look_for_ever
from utils.persistence.schedules import delivery, schedule_fire

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.engine import Database

SECONDS_PER_DAY = 86_400.0
Rows = tuple[tuple[Any, ...], ...]
logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobSnapshot:
    """Figures of all jobs at one moment; rows start with their labels."""

    taken_at: float
    """Unix time in seconds."""
    jobs: Rows
    """Kind, state, number."""
    outcomes: Rows
    """Kind, outcome, ended attempts, seconds that they ran."""
    waits: Rows
    """Kind, started jobs, seconds that they had waited."""
    repeats: Rows
    """Kind, failed attempts that were repeated, lost ones."""
    oldest_waiting_seconds: float
    lease_remaining_seconds: float | None
    workers: tuple[int, int, int]
    """Live workers, jobs that they carry, jobs that they can carry at once."""
    fires: Rows
    """Outcome, number."""
    deliveries: Rows
    """State, number."""


class JobMetrics(Collector):
    """Exposes the newest snapshot."""

    def __init__(
        self,
        registry: CollectorRegistry,
        database: Database,
        clock: Clock,
        *,
        refresh_seconds: float = 5.0,
    ) -> None:
        """Declare the families; samples appear with the first refresh.

        Args:
            registry: Where they are exposed.
            database: Holds the jobs.
            clock: Tells how old things are.
            refresh_seconds: How old a snapshot gets.
        """
        self._database = database
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._snapshot: JobSnapshot | None = None
        self._quiet = Quiet(database, clock)
        registry.register(self)

    async def run(self) -> None:
        """Renew the snapshot until cancelled."""
        await look_for_ever(self.refresh, self._clock, self._refresh_seconds, logger)

    async def refresh(self) -> None:
        """Read the figures now.

        Raises:
            DatabaseError: It cannot be read; the former snapshot stays.
        """
        if self._snapshot is not None and self._quiet.lasts:
            self._snapshot = replace(self._snapshot, taken_at=self._clock.now().timestamp())
            return
        self._quiet.begin()
        async with self._database.read() as connection:
            now, server = self._clock.now(), self._database.is_server
            oldest = await connection.scalar(_OLDEST_WAITING)
            lease = await connection.scalar(_FIRST_LEASE_END)
            self._snapshot = JobSnapshot(
                taken_at=now.timestamp(),
                jobs=await _rows(connection, _JOBS),
                outcomes=await _rows(connection, _outcomes(is_server=server)),
                waits=await _rows(connection, _waits(is_server=server)),
                repeats=await _rows(connection, _REPEATS),
                oldest_waiting_seconds=0.0 if oldest is None else (now - oldest).total_seconds(),
                lease_remaining_seconds=None if lease is None else (lease - now).total_seconds(),
                workers=await _workers(connection, now),
                fires=await _rows(connection, _FIRES),
                deliveries=await _rows(connection, _DELIVERIES),
            )
        if oldest is None and lease is None:  # nothing grows older
            self._quiet.settle(None)

    def collect(self) -> Iterator[Metric]:
        """Yield the families; called by the registry, in any thread."""
        snapshot = self._snapshot
        yield from _states(snapshot)
        yield from _attempts(snapshot)
        yield from _ages(snapshot)
        yield from _places(snapshot)
        yield from _automation(snapshot)


async def _rows(connection: AsyncConnection, query: Select[Any]) -> Rows:
    return tuple(tuple(row) for row in await connection.execute(query))


def _states(snapshot: JobSnapshot | None) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("job_jobs", "Jobs by what they do now", labels=["kind", "state"])
    queue = SummaryMetricFamily(
        "job_queue_seconds", "Time from submission to the first start", labels=["kind"]
    )
    if snapshot is not None:
        known = {(kind, state): number for kind, state, number in snapshot.jobs}
        for kind in dict.fromkeys(kind for kind, _ in known):
            for state in JobState:  # zeros too, so that no series goes stale
                jobs.add_metric([kind, state.value], known.get((kind, state.value), 0))
        for kind, number, seconds in snapshot.waits:
            queue.add_metric([kind], count_value=number, sum_value=seconds)
    yield from (jobs, queue)


def _attempts(snapshot: JobSnapshot | None) -> Iterator[Metric]:
    run = SummaryMetricFamily(
        "job_run_seconds", "Time that ended attempts ran, by outcome", labels=["kind", "outcome"]
    )
    retries = CounterMetricFamily(
        "job_retries_total", "Attempts after an attempt that failed", labels=["kind"]
    )
    lost = CounterMetricFamily("job_lost_total", "Attempts whose worker vanished", labels=["kind"])
    if snapshot is not None:
        for kind, outcome, number, seconds in snapshot.outcomes:
            run.add_metric([kind, outcome], count_value=number, sum_value=seconds)
        for kind, repeated, vanished in snapshot.repeats:
            retries.add_metric([kind], repeated)
            lost.add_metric([kind], vanished)
    yield from (run, retries, lost)


def _ages(snapshot: JobSnapshot | None) -> Iterator[Metric]:
    oldest = GaugeMetricFamily(
        "job_oldest_waiting_seconds", "How long the job that is due longest has waited"
    )
    lease = GaugeMetricFamily(
        "job_lease_remaining_seconds",
        "Least time left on the lease of a running job; negative once no worker renews it",
    )
    taken = GaugeMetricFamily(
        "job_snapshot_timestamp_seconds", "When the figures of jobs were read, in Unix time"
    )
    if snapshot is not None:
        oldest.add_metric([], snapshot.oldest_waiting_seconds)
        taken.add_metric([], snapshot.taken_at)
        if snapshot.lease_remaining_seconds is not None:
            lease.add_metric([], snapshot.lease_remaining_seconds)
    yield from (oldest, lease, taken)


def _places(snapshot: JobSnapshot | None) -> Iterator[Metric]:
    workers = GaugeMetricFamily("job_workers", "Workers that were heard of in the last minute")
    slots = GaugeMetricFamily(
        "job_slots", "Places for jobs at those workers, by whether a job is in it", labels=["state"]
    )
    if snapshot is not None:
        alive, carried, most = snapshot.workers
        workers.add_metric([], alive)
        slots.add_metric(["busy"], carried)
        slots.add_metric(["free"], max(most - carried, 0))
    yield from (workers, slots)


async def _workers(connection: AsyncConnection, now: datetime) -> tuple[int, int, int]:
    """Count the workers that live, the jobs that they carry, and their places."""
    since = now - timedelta(seconds=SEEN_SECONDS)
    live = worker.c.last_seen > since
    query = select(func.count(), func.coalesce(func.sum(worker.c.parallel_jobs), 0)).where(live)
    alive, places = (await connection.execute(query)).one()
    carried = select(func.count()).select_from(job.join(worker, worker.c.id == job.c.lease_owner))
    is_live = job.c.state.in_([state.value for state in LIVE])
    busy = await connection.scalar(carried.where(live, is_live))
    return int(alive), int(busy or 0), int(places)


def _automation(snapshot: JobSnapshot | None) -> Iterator[Metric]:
    fires = GaugeMetricFamily(
        "job_schedule_fires",
        "Fires of schedules on record, by what came of them",
        labels=["outcome"],
    )
    deliveries = GaugeMetricFamily(
        "job_webhook_deliveries",
        "Deliveries to webhooks on record, by what came of them",
        labels=["state"],
    )
    if snapshot is not None:
        for family, rows, words in (
            (fires, snapshot.fires, (LAUNCHED, SKIPPED, FAILED)),
            (deliveries, snapshot.deliveries, (PENDING, DELIVERED, GAVE_UP)),
        ):
            known: dict[str, int] = dict(rows)
            for word in words:
                family.add_metric([word], known.get(word, 0))
    yield from (fires, deliveries)


def _elapsed(start: ColumnElement[Any], end: ColumnElement[Any], *, is_server: bool) -> Any:
    if is_server:
        return func.sum(extract("epoch", end - start))
    return func.sum((func.julianday(end) - func.julianday(start)) * SECONDS_PER_DAY)


def _outcomes(*, is_server: bool) -> Select[Any]:
    seconds = _elapsed(attempt.c.started_at, attempt.c.ended_at, is_server=is_server)
    return (
        select(job.c.kind, attempt.c.outcome, func.count(), seconds)
        .join(job, job.c.id == attempt.c.job_id)
        .where(attempt.c.ended_at.is_not(None), attempt.c.outcome.is_not(None))
        .group_by(job.c.kind, attempt.c.outcome)
    )


def _waits(*, is_server: bool) -> Select[Any]:
    seconds = _elapsed(job.c.created_at, job.c.started_at, is_server=is_server)
    return (
        select(job.c.kind, func.count(), seconds)
        .where(job.c.started_at.is_not(None))
        .group_by(job.c.kind)
    )


_JOBS: Select[Any] = select(job.c.kind, job.c.state, func.count()).group_by(job.c.kind, job.c.state)
_REPEATS: Select[Any] = select(
    job.c.kind,
    func.sum(case((job.c.attempt > 1, job.c.attempt - 1), else_=0)),
    func.sum(job.c.lost),
).group_by(job.c.kind)
_FIRES: Select[Any] = select(schedule_fire.c.outcome, func.count()).group_by(
    schedule_fire.c.outcome
)
_DELIVERIES: Select[Any] = select(delivery.c.status, func.count()).group_by(delivery.c.status)
_OLDEST_WAITING: Select[Any] = select(func.min(job.c.run_at)).where(
    job.c.state.in_([state.value for state in WAITING])
)
_FIRST_LEASE_END: Select[Any] = select(func.min(job.c.lease_until)).where(
    job.c.state.in_([state.value for state in LIVE])
)
