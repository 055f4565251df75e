"""How jobs come in: new ones, or those that their keys stand for already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from orchestration.job_store.needs import add_needs, judge_needs
from orchestration.job_store.rows import to_job
from orchestration.jobs import Job, NewJob, make_job
from utils.clock import new_id
from utils.errors import ConfigError, QuartermasterError
from utils.persistence.jobs import job as table
from utils.persistence.locks import lock_name

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.job_store.ledger import JobLedger


class IdempotencyConflictError(QuartermasterError):
    """The key of a submission was used for something else before."""


async def submit_jobs(
    ledger: JobLedger, connection: AsyncConnection, requests: Sequence[NewJob]
) -> list[Job]:
    """Queue jobs in a transaction.

    Args:
        ledger: Writes them.
        connection: An open write transaction.
        requests: What is wanted.

    Returns:
        A job for each: a new one, or the one that its key stands for.

    Raises:
        ConfigError: A needed job does not exist, or a spec is not plain JSON.
        IdempotencyConflictError: A key was used for something else before.
    """
    await _lock_keys(connection, requests)
    needed = [need.job_id for request in requests for need in request.needs]
    if needed:  # so that none of them ends unseen before the commit; in one order for all
        await ledger.load_many(connection, needed, to_write=True)
    now = await ledger.now(connection)
    jobs: list[Job] = []
    plain: list[Job] = []
    for request in requests:
        _check_json(request)
        job = make_job(request, job_id=new_id(ledger.clock), now=now)
        is_plain = not (request.needs or request.dedupe_key or request.idempotency_key)
        if is_plain:
            plain.append(job)
        jobs.append(job if is_plain else await _submit_one(ledger, connection, request, job))
    await ledger.add(connection, plain)
    return jobs


async def _submit_one(
    ledger: JobLedger, connection: AsyncConnection, request: NewJob, job: Job
) -> Job:
    if request.idempotency_key is not None:
        job = replace(job, request_sha256=request.request_sha256 or _hash(request))
    known = await _find(ledger, connection, request)
    if known is not None:
        is_repeated = request.idempotency_key in {None, known.idempotency_key}
        if is_repeated and request.idempotency_key and known.request_sha256 != job.request_sha256:
            raise IdempotencyConflictError(
                f"idempotency key {request.idempotency_key!r} was used for another request "
                f"(job {known.id}): take a new key"
            )
        return known
    await ledger.add(connection, [job])
    if not request.needs:
        return job
    await add_needs(connection, job.id, request.needs)
    await ledger.apply_many(connection, await judge_needs(connection, [job.id]))
    return await ledger.load(connection, job.id)


async def _lock_keys(connection: AsyncConnection, requests: Sequence[NewJob]) -> None:
    """Have whoever submits one of the same keys wait; in one order, so none for ever."""
    keys = {key for one in requests for key in (one.idempotency_key, one.dedupe_key) if key}
    for key in sorted(keys):
        await lock_name(connection, f"job {key}")


async def _find(ledger: JobLedger, connection: AsyncConnection, request: NewJob) -> Job | None:
    if request.idempotency_key is not None:
        query = select(table).where(table.c.idempotency_key == request.idempotency_key)
        row = (await connection.execute(query)).mappings().first()
        if row is not None:
            return to_job(row)
    if request.dedupe_key is not None:
        return await ledger.find_unfinished(connection, request.dedupe_key)
    return None


def _check_json(request: NewJob) -> None:
    try:
        json.dumps(dict(request.spec), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"spec of {request.kind!r} is not plain JSON: {error}") from error


def _hash(request: NewJob) -> str:
    content = [request.kind, request.version, dict(request.spec)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
