"""Which due jobs a worker may take now: by urgency, its own room, and limits that all share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, func, or_, select

from orchestration.events import Claimed
from orchestration.job_store.rows import to_job
from orchestration.jobs import LIVE, WAITING, Job, Resources
from utils.persistence.jobs import job as table
from utils.persistence.jobs import job_limit

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.job_store.ledger import JobLedger

_LIVE = [state.value for state in LIVE]
_WAITING = [state.value for state in WAITING]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a worker can take."""

    worker_id: str
    """Unique to the worker's process."""
    kinds: Collection[str]
    """What it can run."""
    lease_seconds: float
    """How long a job is its own unless renewed."""
    most: int = 1
    """How many jobs it takes at once."""
    capacity: Resources | None = None
    """All that it has, what its live jobs occupy included; None counts nothing."""
    runs: bool = False
    """Whether jobs run from the moment they are taken."""


def is_due(kinds: Collection[str], now: datetime) -> ColumnElement[bool]:
    """Return the clause that says whether a job is due.

    Args:
        kinds: Only of these.
        now: By the clock that decides.
    """
    return select(table.c.id).where(*_are_due(kinds, now)).exists()


async def claim_jobs(ledger: JobLedger, connection: AsyncConnection, offer: Offer) -> list[Job]:
    """Take the most urgent due jobs; the new fence of each is the right to write for it.

    Jobs are taken strictly in order, so that large ones are not overtaken for ever: where the next
    one does not fit into what is free now, nothing after it is taken either. What could never fit
    is left to other workers.

    Args:
        ledger: Writes the claims.
        connection: An open write transaction.
        offer: What the worker can take.
    """
    now = await ledger.now(connection)
    room = None if offer.capacity is None else await _find_room(connection, offer)
    shares = await _find_shares(connection)
    query = _candidates(offer, shares, now)
    chosen: dict[str, Job] = {}
    for row in (await connection.execute(query)).mappings():
        job = to_job(row)
        if job.limit_key is not None and job.limit_key in shares:
            if shares[job.limit_key] < 1:
                continue
            shares[job.limit_key] -= 1
        if room is not None:
            if not job.resources.fits_into(room):
                break
            room = room.without(job.resources)
        chosen[job.id] = job
    until = now + timedelta(seconds=offer.lease_seconds)
    event = Claimed(worker_id=offer.worker_id, lease_until=until, runs=offer.runs)
    events = [(job_id, event) for job_id in chosen]
    taken = await ledger.apply_many(connection, events, locked=chosen)
    return [job for job in taken if isinstance(job, Job)]


async def find_rival(
    connection: AsyncConnection, offer: Offer, now: datetime, *, above: int
) -> Job | None:
    """Return the most urgent due job that this worker could run, if it outranks a priority.

    Args:
        connection: An open transaction.
        offer: What the worker can take.
        now: By the clock that decides.
        above: The priority.
    """
    shares = await _find_shares(connection)
    query = _candidates(offer, shares, now).where(table.c.priority > above).limit(1)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else to_job(row)


def _are_due(kinds: Collection[str], now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        table.c.state.in_(_WAITING),
        table.c.run_at <= now,
        table.c.kind.in_(list(kinds)),
        or_(table.c.expires_at.is_(None), table.c.expires_at > now),
    )


def _candidates(offer: Offer, shares: Mapping[str, int], now: datetime) -> Select[Any]:
    full = [key for key, left in shares.items() if left < 1]
    query = (
        select(table)
        .where(*_are_due(offer.kinds, now))
        .order_by(table.c.priority.desc(), table.c.run_at, table.c.id)
        .limit(offer.most)
        .with_for_update(skip_locked=True)
    )
    if full:
        query = query.where(or_(table.c.limit_key.is_(None), table.c.limit_key.not_in(full)))
    if offer.capacity is not None:
        query = query.where(
            table.c.cpu_milli <= offer.capacity.cpu_milli,
            table.c.gpu_milli <= offer.capacity.gpu_milli,
            table.c.memory_mb <= offer.capacity.memory_mb,
        )
    return query


async def _find_room(connection: AsyncConnection, offer: Offer) -> Resources:
    """Return what is free: a sum over live leases, so that no counter can drift."""
    names = ("cpu_milli", "gpu_milli", "memory_mb")
    sums = select(*(func.coalesce(func.sum(table.c[name]), 0).label(name) for name in names))
    mine = sums.where(table.c.state.in_(_LIVE), table.c.lease_owner == offer.worker_id)
    row = (await connection.execute(mine)).mappings().one()
    used = Resources(**{name: int(row[name]) for name in names})
    return (offer.capacity or Resources()).without(used)


async def _find_shares(connection: AsyncConnection) -> dict[str, int]:
    """Return how many more jobs each limited key allows.

    The rows of the limits are locked: peers that skip each other's jobs would otherwise all count
    the same share.
    """
    limits = select(job_limit).order_by(job_limit.c.key).with_for_update()
    most = {row.key: row.most for row in await connection.execute(limits)}
    if not most:
        return {}
    counted = (
        select(table.c.limit_key, func.count())
        .where(table.c.state.in_(_LIVE), table.c.limit_key.in_(list(most)))
        .group_by(table.c.limit_key)
    )
    used = {row[0]: int(row[1]) for row in await connection.execute(counted)}
    return {key: limit - used.get(key, 0) for key, limit in most.items()}
