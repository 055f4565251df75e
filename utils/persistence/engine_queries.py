"""What is read about the job engine: attempts, workers, counts by state, where aliases have been.

Functions on an open transaction; nothing here writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from utils.persistence.jobs import LIVE, attempt, event, job, job_need, worker
from utils.persistence.registry import alias_history

MAX_ROWS = 1000
RETRIED = "job_retry_of"
"""Type of the event that names the job which a new one repeats."""


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One try of a job."""

    fence: int
    """Names the attempt within its job; only grows."""
    number: int
    """Counts the tries that count."""
    worker_id: str
    pid: int | None
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error_class: str | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A worker process."""

    id: str
    host: str
    pid: int
    last_seen: datetime
    parallel_jobs: int
    cpu_milli: int | None
    """Thousandths of a core for jobs; None counts nothing. So with the next two."""
    gpu_milli: int | None
    memory_mb: int | None
    jobs: int
    """How many it holds leases on."""


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """When an alias came to mean another version."""

    seq: int
    alias: str
    version: int
    previous_version: int | None
    reason: str
    changed_at: datetime


async def list_attempts(connection: AsyncConnection, job_id: str) -> list[AttemptRecord]:
    """List the newest attempts of a job, newest first.

    Args:
        connection: An open transaction.
        job_id: Which job.
    """
    columns = [attempt.c[name] for name in AttemptRecord.__dataclass_fields__]
    query = select(*columns).where(attempt.c.job_id == job_id)
    return await _records(connection, query.order_by(attempt.c.fence.desc()), AttemptRecord)


async def list_workers(connection: AsyncConnection) -> list[WorkerRecord]:
    """List the workers that were heard of last, newest first.

    Args:
        connection: An open transaction.
    """
    live = select(job.c.lease_owner, func.count().label("jobs")).where(text(LIVE))
    held = live.group_by(job.c.lease_owner).subquery()
    names = [name for name in WorkerRecord.__dataclass_fields__ if name != "jobs"]
    query = (
        select(*(worker.c[name] for name in names), func.coalesce(held.c.jobs, 0).label("jobs"))
        .outerjoin(held, held.c.lease_owner == worker.c.id)
        .order_by(worker.c.last_seen.desc(), worker.c.id)
    )
    return await _records(connection, query, WorkerRecord)


async def count_states(connection: AsyncConnection) -> dict[str, int]:
    """Return how many jobs are in each state that any is in.

    Args:
        connection: An open transaction.
    """
    query = select(job.c.state, func.count().label("number")).group_by(job.c.state)
    return {row.state: row.number for row in await connection.execute(query)}


async def find_retried(connection: AsyncConnection, job_id: str) -> str | None:
    """Return the job that this one repeats, if any.

    Args:
        connection: An open transaction.
        job_id: Which job.
    """
    query = select(event.c.payload).where(event.c.job_id == job_id, event.c.type == RETRIED)
    payload = await connection.scalar(query.limit(1))
    return None if payload is None else str(payload["job_id"])


async def list_needs(connection: AsyncConnection, job_id: str) -> list[dict[str, Any]]:
    """List what a job needs: `job_id`, `name` and `condition` of each.

    Args:
        connection: An open transaction.
        job_id: Which job.
    """
    table = job_need
    columns = (table.c.needs_job_id.label("job_id"), table.c.name, table.c.condition)
    query = select(*columns).where(table.c.job_id == job_id).order_by(table.c.name)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def list_alias_moves(
    connection: AsyncConnection, agent: str, *, before: int | None = None, limit: int = 100
) -> list[AliasMove]:
    """List what the aliases of an agent have meant, newest first.

    Args:
        connection: An open transaction.
        agent: Its name.
        before: Only older ones than this `seq`.
        limit: At most so many.
    """
    columns = [alias_history.c[name] for name in AliasMove.__dataclass_fields__]
    query = select(*columns).where(alias_history.c.agent == agent)
    if before is not None:
        query = query.where(alias_history.c.seq < before)
    query = query.order_by(alias_history.c.seq.desc())
    return await _records(connection, query, AliasMove, min(limit, MAX_ROWS))


async def _records(
    connection: AsyncConnection, query: Select[Any], kind: Any, limit: int = MAX_ROWS
) -> list[Any]:
    rows = await connection.execute(query.limit(limit))
    return [kind(**row) for row in rows.mappings()]
