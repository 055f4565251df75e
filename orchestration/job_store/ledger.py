"""The one place that changes jobs: decide, write the rows, write the effects, tell the observer."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import bindparam, func, insert, select, text, update

from orchestration.events import (
    Announce,
    CloseAttempt,
    Effect,
    JobEvent,
    NoteProcess,
    OpenAttempt,
    decide,
)
from orchestration.job_store.needs import find_released
from orchestration.job_store.rows import JobNotFoundError, changed_columns, to_job, to_row
from orchestration.jobs import TERMINAL, Job, JobTransitionError, LeaseLostError
from utils.persistence import jobs as tables

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.engine import Database

WAKE_CHANNEL = "quartermaster_jobs"
"""On a PostgreSQL server: told when a job may be due or its owner wants something else."""
Change = tuple[Job, Job, tuple[Effect, ...]]
"""A job before and after a decision, and what else to record."""
Refusal = LeaseLostError | JobTransitionError | JobNotFoundError


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
        self,
        database: Database,
        clock: Clock,
        *,
        observer: JobObserver | None = None,
        trusts_server_clock: bool = False,
    ) -> None:
        """Keep the parts.

        Args:
            database: Holds the jobs.
            clock: Tells the time.
            observer: Follows changes.
            trusts_server_clock: Whether a PostgreSQL server's clock decides about leases, as it
                must where several machines share it.
        """
        self.database = database
        self.clock = clock
        self._observer = observer
        self._asks_server = trusts_server_clock and database.is_server

    async def now(self, connection: AsyncConnection) -> datetime:
        """Return the time by the clock that decides.

        Args:
            connection: An open transaction.
        """
        if not self._asks_server:
            return self.clock.now()
        told: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
        return told

    async def load(
        self, connection: AsyncConnection, job_id: str, *, to_write: bool = False
    ) -> Job:
        """Load a job.

        Args:
            connection: An open transaction.
            job_id: Its id.
            to_write: Whether nobody else may change it before the transaction ends.

        Raises:
            JobNotFoundError: There is none.
        """
        found = await self.load_many(connection, [job_id], to_write=to_write)
        if not found:
            raise _not_found(job_id)
        return found[job_id]

    async def load_many(
        self, connection: AsyncConnection, job_ids: Collection[str], *, to_write: bool = False
    ) -> dict[str, Job]:
        """Load those of the jobs that exist, by id.

        Args:
            connection: An open transaction.
            job_ids: Their ids.
            to_write: Whether nobody else may change them before the transaction ends.
        """
        table = tables.job
        query = select(table).where(table.c.id.in_(sorted(set(job_ids)))).order_by(table.c.id)
        if to_write:
            query = query.with_for_update()
        return {row["id"]: to_job(row) for row in (await connection.execute(query)).mappings()}

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

    async def add(self, connection: AsyncConnection, jobs: Sequence[Job]) -> None:
        """Write new jobs.

        Args:
            connection: An open write transaction.
            jobs: Each with an id of its own.
        """
        if not jobs:
            return
        await connection.execute(insert(tables.job), [to_row(job) for job in jobs])
        announced = Announce(type="job_submitted")
        payloads = [(job.id, dataclasses.replace(announced, payload=_facts(job))) for job in jobs]
        await self._announce_all(connection, payloads)
        for job in jobs:
            await self._tell_observer(connection, job)
        await self.notify(connection)

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
        (outcome,) = await self.apply_many(connection, [(job_id, event)])
        if not isinstance(outcome, Job):
            raise outcome
        return outcome

    async def apply_many(
        self,
        connection: AsyncConnection,
        events: Sequence[tuple[str, JobEvent]],
        *,
        locked: Mapping[str, Job] | None = None,
    ) -> list[Job | Refusal]:
        """Let one event happen to each of several jobs; a refused one changes nothing.

        Args:
            connection: An open write transaction.
            events: Ids of different jobs, each with what happened to it.
            locked: These jobs, where the transaction has read and locked them already.

        Returns:
            Each job afterwards, or why its event was refused.
        """
        if not events:
            return []
        now = await self.now(connection)
        before = locked or await self._lock(connection, events)
        outcomes, ended = await self._apply_once(connection, events, before, now)
        while released := await find_released(connection, ended):
            before = await self._lock(connection, released)
            _, ended = await self._apply_once(connection, released, before, now)
        return outcomes

    async def _lock(
        self, connection: AsyncConnection, events: Sequence[tuple[str, JobEvent]]
    ) -> Mapping[str, Job]:
        return await self.load_many(connection, [job_id for job_id, _ in events], to_write=True)

    async def _apply_once(
        self,
        connection: AsyncConnection,
        events: Sequence[tuple[str, JobEvent]],
        before: Mapping[str, Job],
        now: datetime,
    ) -> tuple[list[Job | Refusal], list[Job]]:
        outcomes: list[Job | Refusal] = []
        changes: list[Change] = []
        for job_id, event in events:
            if job_id not in before:
                outcomes.append(_not_found(job_id))
                continue
            try:
                after, effects = decide(before[job_id], event, now)
            except (LeaseLostError, JobTransitionError) as refusal:
                outcomes.append(refusal)
                continue
            outcomes.append(after)
            if after != before[job_id]:
                changes.append((before[job_id], after, effects))
        await self._write(connection, changes, now)
        return outcomes, [job for _, job, _ in changes if job.state.is_terminal]

    async def announce(
        self,
        connection: AsyncConnection,
        job_id: str | None,
        type_: str,
        payload: Mapping[str, Any],
    ) -> None:
        """Add a line to the outbox.

        Args:
            connection: The transaction of what the line tells of.
            job_id: Whose; None if it concerns no job.
            type_: Its name in snake_case.
            payload: Plain JSON.
        """
        await self._announce_all(connection, [(job_id, Announce(type=type_, payload=payload))])

    async def notify(self, connection: AsyncConnection) -> None:
        """Wake the workers of other processes when the transaction commits; only a hint.

        Args:
            connection: An open write transaction.
        """
        if self.database.is_server:
            await connection.execute(text(f"NOTIFY {WAKE_CHANNEL}"))

    async def _write(
        self,
        connection: AsyncConnection,
        changes: Sequence[Change],
        now: datetime,
    ) -> None:
        # Changes of one kind touch the same columns, and share a statement.
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for before, job, _ in changes:
            row = changed_columns(before, job)
            alike.setdefault(tuple(row), []).append({**row, "its_id": job.id})
        for rows in alike.values():
            await connection.execute(_THIS_JOB, rows)
        flat = [(job, effect) for _, job, effects in changes for effect in effects]
        opened = [_opening(job, one, now) for job, one in flat if isinstance(one, OpenAttempt)]
        noted = [_of(job) | {"pid": one.pid} for job, one in flat if isinstance(one, NoteProcess)]
        closed = [_closing(job, one, now) for job, one in flat if isinstance(one, CloseAttempt)]
        if opened:
            await connection.execute(insert(tables.attempt), opened)
        for told in (noted, closed):
            if told:
                await connection.execute(_THIS_ATTEMPT, told)
        lines = [(job.id, one) for job, one in flat if isinstance(one, Announce)]
        await self._announce_all(connection, lines)
        for _, job, effects in changes:
            if effects:
                await self._tell_observer(connection, job)

    async def _announce_all(
        self, connection: AsyncConnection, lines: Sequence[tuple[str | None, Announce]]
    ) -> None:
        if not lines:
            return
        at = self.clock.now()
        rows = [
            {"job_id": job_id, "type": line.type, "payload": dict(line.payload), "at": at}
            for job_id, line in lines
        ]
        await connection.execute(insert(tables.event), rows)

    async def _tell_observer(self, connection: AsyncConnection, job: Job) -> None:
        if self._observer is not None:
            await self._observer.changed(connection, job)


_THIS_JOB = update(tables.job).where(tables.job.c.id == bindparam("its_id"))
_THIS_ATTEMPT = update(tables.attempt).where(
    tables.attempt.c.job_id == bindparam("its_job"),
    tables.attempt.c.fence == bindparam("its_fence"),
)


def _facts(job: Job) -> dict[str, Any]:
    facts = {"kind": job.kind, "pipeline": job.pipeline_id, "step": job.step}
    return {name: fact for name, fact in facts.items() if fact is not None}


def _opening(job: Job, effect: OpenAttempt, now: datetime) -> dict[str, Any]:
    key = {"job_id": job.id, "fence": job.fence}
    return {**key, "number": job.attempt, "worker_id": effect.worker_id, "started_at": now}


def _closing(job: Job, effect: CloseAttempt, now: datetime) -> dict[str, Any]:
    return {**_of(job), **dataclasses.asdict(effect), "ended_at": now}


def _of(job: Job) -> dict[str, Any]:
    return {"its_job": job.id, "its_fence": job.fence}


def _not_found(job_id: str) -> JobNotFoundError:
    return JobNotFoundError(f"no job {job_id}: list the jobs to see their ids")
