"""The owners' side: submit jobs, look at them, ask for another fate."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from orchestration.events import Requested
from orchestration.job_store.ledger import JobLedger, to_job
from orchestration.jobs import Desired, Job, JobState
from utils.clock import new_id
from utils.persistence import jobs as tables


@dataclass(frozen=True, kw_only=True)
class OutboxEvent:
    """One line of the outbox."""

    seq: int
    job_id: str
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
        async with self._database.write() as connection:
            if dedupe_key is not None:
                unfinished = await self._ledger.find_unfinished(connection, dedupe_key)
                if unfinished is not None:
                    return unfinished
            now = self._ledger.clock.now()
            job = Job(
                id=new_id(self._ledger.clock),
                kind=kind,
                version=version,
                spec=dict(spec),
                dedupe_key=dedupe_key,
                priority=priority,
                max_attempts=max_attempts,
                max_lost=max_lost,
                run_at=now,
                created_at=now,
            )
            await self._ledger.add(connection, job)
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
        self, *, states: Collection[JobState] = (), kind: str | None = None, limit: int = 100
    ) -> list[Job]:
        """List jobs, newest first.

        Args:
            states: Only these; all if empty.
            kind: Only this kind.
            limit: At most so many.
        """
        query = select(tables.job).order_by(tables.job.c.id.desc()).limit(limit)
        if states:
            query = query.where(tables.job.c.state.in_([state.value for state in states]))
        if kind is not None:
            query = query.where(tables.job.c.kind == kind)
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
            rows = (await connection.execute(query)).mappings()
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
            return await self._ledger.apply(connection, job_id, Requested(desired=desired))
