"""The one place that changes a job: decide, write the row, write the effects, tell the observer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import insert, select, update

from orchestration.events import (
    Announce,
    CloseAttempt,
    Effect,
    JobEvent,
    NoteProcess,
    OpenAttempt,
    decide,
)
from orchestration.jobs import TERMINAL, Desired, Job, JobState
from utils.errors import QuartermasterError
from utils.persistence import jobs as tables

if TYPE_CHECKING:
    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.engine import Database


class JobNotFoundError(QuartermasterError, LookupError):
    """No job has this id."""


class JobObserver(Protocol):
    """Who wants to keep other tables in step with jobs."""

    async def changed(self, connection: AsyncConnection, job: Job) -> None:
        """Follow a change, inside its transaction.

        Args:
            connection: The open transaction.
            job: The job after the change; also called for a new one.
        """
        ...


class JobLedger:
    """Reads and changes jobs inside transactions of its callers."""

    def __init__(
        self, database: Database, clock: Clock, *, observer: JobObserver | None = None
    ) -> None:
        self.database = database
        self.clock = clock
        self._observer = observer

    async def load(self, connection: AsyncConnection, job_id: str) -> Job:
        """Load a job.

        Args:
            connection: An open transaction.
            job_id: Its id.

        Raises:
            JobNotFoundError: There is none.
        """
        query = select(tables.job).where(tables.job.c.id == job_id)
        row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise JobNotFoundError(f"no job {job_id}: list the jobs to see their ids")
        return to_job(row)

    async def find_unfinished(self, connection: AsyncConnection, dedupe_key: str) -> Job | None:
        """Find the unfinished job of this key, if any.

        Args:
            connection: An open transaction.
            dedupe_key: As submitted.
        """
        finished = [state.value for state in TERMINAL]
        query = select(tables.job).where(
            tables.job.c.dedupe_key == dedupe_key, tables.job.c.state.not_in(finished)
        )
        row = (await connection.execute(query)).mappings().first()
        return None if row is None else to_job(row)

    async def add(self, connection: AsyncConnection, job: Job) -> None:
        """Write a new job.

        Args:
            connection: An open write transaction.
            job: With an id of its own.
        """
        await connection.execute(insert(tables.job), _to_row(job))
        await self.announce(connection, job.id, "job_submitted", {"kind": job.kind})
        await self._tell_observer(connection, job)

    async def apply(self, connection: AsyncConnection, job_id: str, event: JobEvent) -> Job:
        """Let an event happen to a job and write all that follows.

        Args:
            connection: An open write transaction.
            job_id: Which job.
            event: What happened.

        Returns:
            The job afterwards.

        Raises:
            LeaseLostError: The event comes from an attempt that no longer owns the job.
            JobTransitionError: The event cannot happen in this state.
            JobNotFoundError: There is no such job.
        """
        before = await self.load(connection, job_id)
        after, effects = decide(before, event, self.clock.now())
        if after == before:
            return before
        table = tables.job
        await connection.execute(update(table).where(table.c.id == job_id), _to_row(after))
        for effect in effects:
            await self._write(connection, after, effect)
        if effects:
            await self._tell_observer(connection, after)
        return after

    async def announce(
        self, connection: AsyncConnection, job_id: str, type_: str, payload: Mapping[str, Any]
    ) -> None:
        """Add a line to the outbox.

        Args:
            connection: The transaction of what the line tells of.
            job_id: Whose.
            type_: Its name in snake_case.
            payload: Plain JSON.
        """
        line = {
            "job_id": job_id,
            "type": type_,
            "payload": dict(payload),
            "at": self.clock.now(),
        }
        await connection.execute(insert(tables.event), line)

    async def _write(self, connection: AsyncConnection, job: Job, effect: Effect) -> None:
        now = self.clock.now()
        key = {"job_id": job.id, "fence": job.fence}
        this_attempt = update(tables.attempt).filter_by(**key)
        match effect:
            case OpenAttempt():
                opened = {"number": job.attempt, "worker_id": effect.worker_id, "started_at": now}
                await connection.execute(insert(tables.attempt), {**key, **opened})
            case NoteProcess():
                await connection.execute(this_attempt, {"pid": effect.pid})
            case CloseAttempt():
                closed = {**dataclasses.asdict(effect), "ended_at": now}
                await connection.execute(this_attempt, closed)
            case Announce():
                await self.announce(connection, job.id, effect.type, effect.payload)

    async def _tell_observer(self, connection: AsyncConnection, job: Job) -> None:
        if self._observer is not None:
            await self._observer.changed(connection, job)


def to_job(row: RowMapping) -> Job:
    """Read a row of the job table.

    Args:
        row: All of its columns by name.
    """
    fields: dict[str, Any] = dict(row)
    fields["state"] = JobState(fields["state"])
    fields["desired"] = Desired(fields["desired"])
    return Job(**fields)


def _to_row(job: Job) -> dict[str, Any]:
    row = {f.name: getattr(job, f.name) for f in dataclasses.fields(job)}
    return {**row, "state": job.state.value, "desired": job.desired.value}
