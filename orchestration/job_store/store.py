"""The owners' side: submit jobs, look at them, ask for another fate."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from orchestration.events import Requested
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.rows import to_job
from orchestration.job_store.submission import submit_jobs
from orchestration.jobs import Desired, Job, JobState, NewJob
from utils.errors import ConfigError
from utils.persistence import jobs as tables
from utils.persistence.outbox import await_writers

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


MOST_AT_ONCE = 10**6


@dataclass(frozen=True, kw_only=True)
class OutboxEvent:
    """One line of the outbox."""

    seq: int
    job_id: str | None
    type: str
    payload: Mapping[str, Any]
    at: datetime


class SqlJobStore:
    """What users and programs ask of jobs; any process may, the workers follow."""

    def __init__(self, ledger: JobLedger) -> None:
        self._ledger = ledger
        self._database = ledger.database

    async def submit(
        self,
        kind: str,
        spec: Mapping[str, Any],
        *,
        version: int = 1,
        dedupe_key: str | None = None,
        priority: int = 0,
        max_attempts: int = 3,
        max_lost: int = 10,
    ) -> Job:
        """Queue a job; while one with the same key is unfinished, return that one instead.

        Args:
            kind: Which task runs it.
            spec: The task's argument, plain JSON.
            version: Version of the task's spec.
            dedupe_key: Names the work; unique among unfinished jobs.
            priority: Higher ones are claimed first.
            max_attempts: Failures it may take.
            max_lost: Losses of its worker it may take.
        """
        new = NewJob(
            kind=kind,
            spec=spec,
            version=version,
            dedupe_key=dedupe_key,
            priority=priority,
            max_attempts=max_attempts,
            max_lost=max_lost,
        )
        (job,) = await self.submit_all([new])
        return job

    async def submit_all(self, requests: Sequence[NewJob]) -> list[Job]:
        """Queue jobs, all or none.

        Args:
            requests: What is wanted.

        Returns:
            A job for each: a new one, or the one that its key stands for.

        Raises:
            ConfigError: A needed job does not exist.
            IdempotencyConflictError: A key was used for something else before.
        """
        async with self._database.write() as connection:
            return await submit_jobs(self._ledger, connection, requests)

    async def submit_in(self, connection: AsyncConnection, request: NewJob) -> Job:
        """Queue a job in a transaction of the caller, with which it stands or falls.

        Args:
            connection: An open write transaction.
            request: What is wanted.

        Raises:
            ConfigError: A needed job does not exist.
            IdempotencyConflictError: Its key was used for something else before.
        """
        (job,) = await submit_jobs(self._ledger, connection, [request])
        return job

    async def get(self, job_id: str) -> Job:
        """Load a job.

        Args:
            job_id: Its id.

        Raises:
            JobNotFoundError: There is none.
        """
        async with self._database.read() as connection:
            return await self._ledger.load(connection, job_id)

    async def find_unfinished(self, dedupe_key: str) -> Job | None:
        """Find the unfinished job of this key, if any.

        Args:
            dedupe_key: As submitted.
        """
        async with self._database.read() as connection:
            return await self._ledger.find_unfinished(connection, dedupe_key)

    async def list_jobs(
        self,
        *,
        states: Collection[JobState] = (),
        kind: str | None = None,
        pipeline_id: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """List jobs, newest first.

        Args:
            states: Only these; all if empty.
            kind: Only this kind.
            pipeline_id: Only of this pipeline.
            before: Only those submitted before the job with this id: for the next page.
            limit: At most so many.
        """
        query = select(tables.job).order_by(tables.job.c.id.desc()).limit(limit)
        if states:
            query = query.where(tables.job.c.state.in_([state.value for state in states]))
        if kind is not None:
            query = query.where(tables.job.c.kind == kind)
        if pipeline_id is not None:
            query = query.where(tables.job.c.pipeline_id == pipeline_id)
        if before is not None:
            query = query.where(tables.job.c.id < before)
        async with self._database.read() as connection:
            return [to_job(row) for row in (await connection.execute(query)).mappings()]

    async def events(self, since: int = 0, *, job_id: str | None = None) -> list[OutboxEvent]:
        """Read up to 1,000 lines of the outbox in order.

        Args:
            since: The last `seq` already seen.
            job_id: Only of this job.
        """
        table = tables.event
        query = select(table).where(table.c.seq > since).order_by(table.c.seq).limit(1000)
        if job_id is not None:
            query = query.where(table.c.job_id == job_id)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
            if rows and self._database.is_server:  # smaller numbers may be committed still
                if not await await_writers(connection):
                    return []
                upto = table.c.seq <= rows[-1]["seq"]
                rows = (await connection.execute(query.where(upto))).mappings().all()
            return [OutboxEvent(**row) for row in rows]

    async def request(self, job_id: str, desired: Desired) -> Job:
        """Ask for a cancel, a pause or a resume; a finished or cancelled job stays as it is.

        Args:
            job_id: Which job.
            desired: What its owner wants now.

        Raises:
            JobNotFoundError: There is none.
        """
        async with self._database.write() as connection:
            job = await self._ledger.apply(connection, job_id, Requested(desired=desired))
            await self._ledger.notify(connection)
            return job

    async def request_all(self, job_ids: Collection[str], desired: Desired) -> None:
        """Ask the same of many jobs in one transaction; those that are not there are passed over.

        Args:
            job_ids: Which jobs.
            desired: What their owner wants now.
        """
        asked = [(job_id, Requested(desired=desired)) for job_id in job_ids]
        async with self._database.write() as connection:
            await self._ledger.apply_many(connection, asked)
            await self._ledger.notify(connection)

    async def limits(self) -> dict[str, int]:
        """Return how many jobs with each limited key may hold leases at once."""
        table = tables.job_limit
        async with self._database.read() as connection:
            rows = await connection.execute(select(table).order_by(table.c.key))
            return {row.key: row.most for row in rows}

    async def set_limit(self, key: str, most: int | None) -> None:
        """Say how many jobs with a key may hold leases at once, wherever they run.

        Args:
            key: As in `NewJob.limit_key`.
            most: So many; None lifts the limit.

        Raises:
            ConfigError: `most` is negative, or beyond all sense.
        """
        if most is not None and not 0 <= most <= MOST_AT_ONCE:
            raise ConfigError(f"most={most}: write 0 or more, {MOST_AT_ONCE} at most")
        table = tables.job_limit
        async with self._database.write() as connection:
            if most is None:
                await connection.execute(delete(table).where(table.c.key == key))
            else:  # in place: who waits for the row must find it
                row = insert(table).values(key=key, most=most)
                await connection.execute(
                    row.on_conflict_do_update(index_elements=["key"], set_={"most": most})
                )
            await self._ledger.notify(connection)
