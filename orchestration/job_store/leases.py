"""The workers' side: claim, renew, prove, conclude, and take over from the dead."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from orchestration.events import Claimed, Failed, Lost, Renewed, Stopped
from orchestration.job_store.ledger import JobLedger, to_job
from orchestration.jobs import LIVE, WAITING, Desired, Job, prove_lease
from orchestration.retry import ErrorClass, RetryPolicy
from utils.persistence import jobs as tables

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


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
        now = self._clock.now()
        table = tables.job
        due = (
            select(table.c.id)
            .where(table.c.state.in_([state.value for state in WAITING]))
            .where(table.c.run_at <= now, table.c.kind.in_(list(kinds)))
            .order_by(table.c.priority.desc(), table.c.run_at, table.c.id)
            .limit(1)
        )
        async with self._database.read() as connection:
            if await connection.scalar(due) is None:  # the usual case costs no write lock
                return None
        async with self._database.write() as connection:
            job_id = await connection.scalar(due)
            if job_id is None:
                return None
            until = now + timedelta(seconds=lease_seconds)
            return await self.ledger.apply(
                connection, job_id, Claimed(worker_id=worker_id, lease_until=until)
            )

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
        until = self._clock.now() + timedelta(seconds=lease_seconds)
        async with self._database.write() as connection:
            return await self.ledger.apply(
                connection, job_id, Renewed(fence=fence, lease_until=until, progress=progress)
            )

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
    async def fenced(self, job_id: str, fence: int) -> AsyncIterator[AsyncConnection]:
        """Open a transaction for an attempt; it first proves that the attempt owns the job.

        Args:
            job_id: Which job.
            fence: The attempt's fence.

        Raises:
            LeaseLostError: The attempt no longer owns the job; nothing can be written.
        """
        async with self._database.write() as connection:
            prove_lease(await self.ledger.load(connection, job_id), fence)
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
            job = await self.ledger.load(connection, job_id)
            retry_at = self._retry.retry_at(error_class, job.attempt, self._clock.now())
            event = Failed(
                fence=fence, error_class=error_class.value, error=error, retry_at=retry_at
            )
            return await self.ledger.apply(connection, job_id, event)

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
        """Take jobs from workers whose lease ran out or who are known to be dead.

        Args:
            dead_workers: Ids of workers whose process is gone.
        """
        now = self._clock.now()
        table = tables.job
        gone = (table.c.lease_until < now) | table.c.lease_owner.in_(list(dead_workers))
        query = select(table).where(table.c.state.in_([state.value for state in LIVE]), gone)
        async with self._database.read() as connection:
            if (await connection.execute(query)).first() is None:
                return []
        async with self._database.write() as connection:
            lost = [to_job(row) for row in (await connection.execute(query)).mappings()]
            return [await self._lose(connection, job, now) for job in lost]

    async def _lose(self, connection: AsyncConnection, job: Job, now: datetime) -> Job:
        expired = job.lease_until is not None and job.lease_until < now
        reason = "its lease ran out" if expired else "its process is gone"
        retry_at = self._retry.retry_at(ErrorClass.LOST, job.lost + 1, now) or now
        event = Lost(
            fence=job.fence,
            reason=f"worker {job.lease_owner} was lost: {reason}",
            retry_at=retry_at,
        )
        return await self.ledger.apply(connection, job.id, event)
