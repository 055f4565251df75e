"""The workers' side: claim, renew, prove, conclude, and take over from the dead."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, select

from orchestration.events import Expired, Failed, Lost, Renewed, Stopped
from orchestration.job_store.claims import Offer, claim_jobs, find_rival, is_due
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.rows import to_job
from orchestration.jobs import LIVE, WAITING, Desired, Job, prove_lease
from orchestration.retry import ErrorClass, RetryPolicy
from utils.persistence import jobs as tables

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A right to work on a job, and how far the work is."""

    fence: int
    progress: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a worker sees of the queue."""

    due: tuple[bool, ...]
    """For each group of kinds, whether a job is due."""
    is_quiet: bool
    """Whether no job waits or is carried, so that nothing comes by time alone."""


class SqlLeases:
    """Rights to work on jobs; every write for a job proves the right in its own transaction."""

    def __init__(self, ledger: JobLedger, *, retry: RetryPolicy | None = None) -> None:
        self.ledger = ledger
        self._database = ledger.database
        self._clock = ledger.clock
        self._retry = retry or RetryPolicy()

    async def claim(
        self, worker_id: str, kinds: Collection[str], *, lease_seconds: float
    ) -> Job | None:
        """Take the most urgent due job, or None; the job's new fence is the right to write for it.

        Args:
            worker_id: Unique to the worker's process.
            kinds: What the worker can run.
            lease_seconds: How long the job is ours unless renewed.
        """
        offer = Offer(worker_id=worker_id, kinds=kinds, lease_seconds=lease_seconds)
        return next(iter(await self.claim_many(offer)), None)

    async def claim_many(self, offer: Offer) -> list[Job]:
        """Take the most urgent due jobs that fit an offer.

        Args:
            offer: What the worker can take.
        """
        look = await self.look([offer.kinds])
        return await self.take(offer) if any(look.due) else []  # the usual case costs no write lock

    async def look(self, groups: Sequence[Collection[str]]) -> Look:
        """Say for each of several groups of kinds whether a job is due, without writing.

        Args:
            groups: What a worker can run.
        """
        open_ = [state.value for state in WAITING | LIVE]
        is_open = select(tables.job.c.id).where(tables.job.c.state.in_(open_)).exists()
        async with self._database.read() as connection:
            now = await self.ledger.now(connection)
            query = select(is_open, *(is_due(one, now) for one in groups))
            any_open, *due = (await connection.execute(query)).one()
        return Look(due=tuple(bool(one) for one in due), is_quiet=not any_open)

    async def take(self, offer: Offer) -> list[Job]:
        """Take the most urgent due jobs that fit an offer, where some are known to be due.

        Args:
            offer: What the worker can take.
        """
        async with self._database.write() as connection:
            return await claim_jobs(self.ledger, connection, offer)

    async def find_rival(self, offer: Offer, *, above: int) -> Job | None:
        """Return the most urgent due job that a worker could run, if it outranks a priority.

        Args:
            offer: What the worker can take.
            above: The priority.
        """
        async with self._database.read() as connection:
            now = await self.ledger.now(connection)
            return await find_rival(connection, offer, now, above=above)

    async def heartbeat(
        self,
        job_id: str,
        fence: int,
        *,
        lease_seconds: float,
        progress: tuple[int, int] | None = None,
    ) -> Job:
        """Renew a lease and return the job, whose `desired` the worker follows.

        Args:
            job_id: Which job.
            fence: The attempt's fence.
            lease_seconds: How long from now.
            progress: Work done and in all, as last heard.

        Raises:
            LeaseLostError: The attempt no longer owns the job.
        """
        async with self._database.write() as connection:
            until = await self.ledger.now(connection) + timedelta(seconds=lease_seconds)
            return await self.ledger.apply(
                connection, job_id, Renewed(fence=fence, lease_until=until, progress=progress)
            )

    async def renew_all(
        self, leases: Mapping[str, Lease], *, lease_seconds: float
    ) -> dict[str, Desired | None]:
        """Renew several leases in one transaction.

        Args:
            leases: By job.
            lease_seconds: How long from now.

        Returns:
            What the owner of each job wants; None where the lease is lost.
        """
        async with self._database.write() as connection:
            until = await self.ledger.now(connection) + timedelta(seconds=lease_seconds)
            events = [
                (id_, Renewed(fence=lease.fence, lease_until=until, progress=lease.progress))
                for id_, lease in leases.items()
            ]
            outcomes = await self.ledger.apply_many(connection, events)
        return {
            job_id: outcome.desired if isinstance(outcome, Job) else None
            for job_id, outcome in zip(leases, outcomes, strict=True)
        }

    async def check(self, job_id: str, fence: int) -> Desired:
        """Return what the owner wants, without writing.

        Args:
            job_id: Which job.
            fence: The attempt's fence.

        Raises:
            LeaseLostError: The attempt no longer owns the job.
        """
        async with self._database.read() as connection:
            job = await self.ledger.load(connection, job_id)
        prove_lease(job, fence)
        return job.desired

    @contextlib.asynccontextmanager
    async def fenced(
        self, job_id: str, fence: int, *, durable: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """Open a transaction for an attempt; it first proves that the attempt owns the job.

        Args:
            job_id: Which job.
            fence: The attempt's fence.
            durable: Whether it must survive a power cut too.

        Raises:
            LeaseLostError: The attempt no longer owns the job; nothing can be written.
        """
        async with self._database.write(durable=durable) as connection:
            prove_lease(await self.ledger.load(connection, job_id, to_write=True), fence)
            yield connection

    async def fail(self, job_id: str, fence: int, error_class: ErrorClass, error: str) -> Job:
        """Record that the attempt broke; the retry policy says what follows.

        Args:
            job_id: Which job.
            fence: The attempt's fence.
            error_class: Why.
            error: For people: what happened and what to do.

        Raises:
            LeaseLostError: The attempt no longer owns the job.
        """
        async with self._database.write() as connection:
            job = await self.ledger.load(connection, job_id, to_write=True)
            event: Failed | Lost = self.judge_failure(job, fence, error_class, error)
            if error_class is ErrorClass.LOST:  # it did nothing wrong: its machine is gone
                event = self._lose(job, fence, error, self._clock.now())
            return await self.ledger.apply(connection, job_id, event)

    def judge_failure(self, job: Job, fence: int, error_class: ErrorClass, error: str) -> Failed:
        """Say what a broken attempt means: whether and when the job is tried again.

        Args:
            job: The job, with the attempt counted.
            fence: The attempt's fence.
            error_class: Why.
            error: For people.
        """
        now = self._clock.now()
        retry_at = self._retry.retry_at(error_class, job.attempt, now, salt=job.id)
        return Failed(fence=fence, error_class=error_class.value, error=error, retry_at=retry_at)

    async def wishes(self, fences: Mapping[str, int]) -> dict[str, Desired | None]:
        """Return what the owners of several jobs want, without writing.

        Args:
            fences: Of the attempts, by job.

        Returns:
            By job; None where the lease is lost.
        """
        table = tables.job
        query = select(table.c.id, table.c.fence, table.c.desired).where(
            table.c.id.in_(list(fences)), table.c.state.in_([state.value for state in LIVE])
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        found = {row.id: Desired(row.desired) for row in rows if row.fence == fences[row.id]}
        return {job_id: found.get(job_id) for job_id in fences}

    async def release(self, job_id: str, fence: int) -> Job:
        """Give a stopped job back: cancelled, paused or queued, as its owner wants.

        Args:
            job_id: Which job.
            fence: The attempt's fence.

        Raises:
            LeaseLostError: The attempt no longer owns the job.
        """
        async with self._database.write() as connection:
            return await self.ledger.apply(connection, job_id, Stopped(fence=fence))

    async def reap(self, dead_workers: Collection[str] = ()) -> list[Job]:
        """Take jobs from lost workers, and end those that have waited for too long.

        Args:
            dead_workers: Ids of workers whose process is gone.

        Returns:
            The jobs that this changed.
        """
        async with self._database.read() as connection:
            now = await self.ledger.now(connection)
            if (await connection.execute(_overdue(now, dead_workers).limit(1))).first() is None:
                return []
        async with self._database.write() as connection:
            now = await self.ledger.now(connection)
            query = _overdue(now, dead_workers).order_by(tables.job.c.id)
            found = await connection.execute(query.with_for_update(skip_locked=True))
            jobs = {row["id"]: to_job(row) for row in found.mappings()}
            events = [(job_id, self._ending(job, now)) for job_id, job in jobs.items()]
            outcomes = await self.ledger.apply_many(connection, events, locked=jobs)
        return [job for job in outcomes if isinstance(job, Job)]

    def _ending(self, job: Job, now: datetime) -> Lost | Expired:
        if not job.state.is_live:
            return Expired()
        expired = job.lease_until is not None and job.lease_until < now
        reason = "its lease ran out" if expired else "its process is gone"
        return self._lose(job, job.fence, f"worker {job.lease_owner} was lost: {reason}", now)

    def _lose(self, job: Job, fence: int, reason: str, now: datetime) -> Lost:
        retry_at = self._retry.retry_at(ErrorClass.LOST, job.lost + 1, now, salt=job.id) or now
        return Lost(fence=fence, reason=reason, retry_at=retry_at)


def _overdue(now: datetime, dead_workers: Collection[str]) -> Select[Any]:
    table = tables.job
    gone = (table.c.lease_until < now) | table.c.lease_owner.in_(list(dead_workers))
    lost = table.c.state.in_([state.value for state in LIVE]) & gone
    expired = table.c.state.in_([state.value for state in WAITING]) & (table.c.expires_at <= now)
    return select(table).where(lost | expired)
