"""Which jobs wait for which: what an end releases, and what comes to a job from those it needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from orchestration.events import NeedFailed, NeedsMet
from orchestration.jobs import Condition, Job, JobState, Need
from utils.errors import ConfigError
from utils.persistence.jobs import job, job_need

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Release = tuple[str, NeedsMet | NeedFailed]


async def add_needs(connection: AsyncConnection, job_id: str, needs: Sequence[Need]) -> None:
    """Record what a new job waits for.

    Args:
        connection: The transaction that submits the job.
        job_id: Of the new job; its row exists.
        needs: Jobs that exist.

    Raises:
        ConfigError: A needed job does not exist.
    """
    # Locked, so that none of them ends unseen between this look and the commit.
    ids = [need.job_id for need in needs]
    query = select(job.c.id).where(job.c.id.in_(sorted(ids))).order_by(job.c.id).with_for_update()
    known = set((await connection.execute(query)).scalars())
    missing = [need.job_id for need in needs if need.job_id not in known]
    if missing:
        raise ConfigError(f"job {missing[0]} is needed and does not exist: submit it first")
    rows = [
        {
            "job_id": job_id,
            "name": need.name,
            "needs_job_id": need.job_id,
            "condition": need.condition.value,
        }
        for need in needs
    ]
    await connection.execute(insert(job_need), rows)


async def find_released(connection: AsyncConnection, ended: Sequence[Job]) -> list[Release]:
    """Return what happens to jobs that waited for those which have just ended.

    Args:
        connection: The transaction in which they ended.
        ended: Jobs in terminal states.
    """
    if not ended:
        return []
    waiting = (
        select(job_need.c.job_id)
        .where(job_need.c.needs_job_id.in_([one.id for one in ended]))
        .distinct()
    )
    return await judge_needs(connection, list((await connection.execute(waiting)).scalars()))


async def judge_needs(connection: AsyncConnection, job_ids: Sequence[str]) -> list[Release]:
    """Return which of the pending jobs may start now, and which never can.

    Args:
        connection: An open write transaction.
        job_ids: Jobs that wait for others.
    """
    if not job_ids:
        return []
    # The waiting rows are locked first: of two needs that end at once, the later one sees both.
    pending = (
        select(job.c.id)
        .where(job.c.id.in_(sorted(job_ids)), job.c.state == JobState.PENDING.value)
        .order_by(job.c.id)
        .with_for_update()
    )
    ids = list((await connection.execute(pending)).scalars())
    query = (
        select(job_need.c.job_id, job_need.c.name, job_need.c.condition, job.c.state)
        .join(job, job.c.id == job_need.c.needs_job_id)
        .where(job_need.c.job_id.in_(ids))
    )
    found: dict[str, list[tuple[str, Condition, JobState]]] = {one: [] for one in ids}
    for row in await connection.execute(query):
        found[row.job_id].append((row.name, Condition(row.condition), JobState(row.state)))
    releases = []
    for job_id, needs in found.items():
        release = _judge(needs)
        if release is not None:
            releases.append((job_id, release))
    return releases


async def load_inputs(connection: AsyncConnection, job_id: str) -> dict[str, Any]:
    """Return the results of the jobs that a job needed, by its names for them.

    Args:
        connection: An open transaction.
        job_id: Of the job that waited.
    """
    query = (
        select(job_need.c.name, job.c.result)
        .join(job, job.c.id == job_need.c.needs_job_id)
        .where(job_need.c.job_id == job_id)
    )
    return {row.name: row.result for row in await connection.execute(query)}


def _judge(needs: Sequence[tuple[str, Condition, JobState]]) -> NeedsMet | NeedFailed | None:
    for name, condition, state in needs:
        is_wrong = state.is_terminal and state is not JobState.SUCCEEDED
        if is_wrong and condition is Condition.SUCCEEDED:
            return NeedFailed(reason=f"{name}, which it needs, is {state.value}")
    return NeedsMet() if all(state.is_terminal for _, _, state in needs) else None
