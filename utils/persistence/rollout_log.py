"""What is written and read about canaries, the promotion gate and second answers.

Functions on an open transaction. When to try, judge or promote is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert  # compiles for SQLite as well

from utils.persistence.locks import lock_name
from utils.persistence.outbox import add_line
from utils.persistence.rollouts import canary_plan, gate_result, promotion_evidence, second_answer

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


class CanaryState(StrEnum):
    """What has become of a trial."""

    RUNNING = "running"
    PROMOTED = "promoted"
    """Its version is champion."""
    ROLLED_BACK = "rolled_back"
    """A limit was broken."""
    OFF = "off"
    """A person ended it."""


EVENTS = {
    CanaryState.RUNNING: "agent_canary_started",
    CanaryState.PROMOTED: "agent_canary_promoted",
    CanaryState.ROLLED_BACK: "agent_rolled_back",
    CanaryState.OFF: "agent_canary_stopped",
}


async def list_plans(
    connection: AsyncConnection, *, agent: str | None = None, state: CanaryState | None = None
) -> list[Mapping[str, Any]]:
    """Return the rows of `canary_plan`, by agent.

    Args:
        connection: An open transaction.
        agent: Only of this one.
        state: Only those in it.
    """
    query = select(canary_plan).order_by(canary_plan.c.agent)
    if agent is not None:
        query = query.where(canary_plan.c.agent == agent)
    if state is not None:
        query = query.where(canary_plan.c.state == state.value)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def start_plan(
    connection: AsyncConnection, plan: Mapping[str, Any], *, at: datetime
) -> Mapping[str, Any]:
    """Begin a trial, in place of any that the agent has.

    Args:
        connection: An open write transaction.
        plan: `agent`, `version`, `share`, `limits` and `reason`.
        at: When.

    Returns:
        Its row.
    """
    agent = str(plan["agent"])
    await lock_name(connection, f"canary {agent}")
    former = select(func.max(canary_plan.c.revision)).where(canary_plan.c.agent == agent)
    revision = (await connection.scalar(former) or 0) + 1
    state = CanaryState.RUNNING
    row = {**plan, "revision": revision, "state": state.value, "since": at, "changed_at": at}
    changed = {name: value for name, value in row.items() if name != "agent"}
    started = upsert(canary_plan).values(**row)
    await connection.execute(started.on_conflict_do_update(index_elements=["agent"], set_=changed))
    await _tell(connection, row, at)
    return row


async def end_plan(
    connection: AsyncConnection,
    agent: str,
    state: CanaryState,
    *,
    revision: int,
    reason: str,
    at: datetime,
    figures: Mapping[str, Any] | None = None,
) -> bool:
    """End a trial, unless somebody ended or changed it before.

    Args:
        connection: An open write transaction.
        agent: Whose.
        state: How it ends.
        revision: Of the plan as it was read.
        reason: In words.
        at: When.
        figures: What was measured, for the event.

    Returns:
        Whether it was this call that ended it.
    """
    mine = (canary_plan.c.agent == agent) & (canary_plan.c.revision == revision)
    running = canary_plan.c.state == CanaryState.RUNNING.value
    ended = update(canary_plan).where(mine, running)
    changed = {"state": state.value, "revision": revision + 1, "reason": reason, "changed_at": at}
    rows = await connection.execute(ended.values(**changed).returning(*canary_plan.c))
    row = rows.mappings().one_or_none()
    if row is None:
        return False
    await _tell(connection, dict(row), at, figures)
    return True


async def end_plan_of(
    connection: AsyncConnection, agent: str, version: int, *, reason: str, at: datetime
) -> None:
    """End the trial of a version that is champion now, if there is one.

    Args:
        connection: The write transaction in which it became champion.
        agent: Whose.
        version: The new champion.
        reason: Why it is.
        at: When.
    """
    for row in await list_plans(connection, agent=agent, state=CanaryState.RUNNING):
        if row["version"] == version:
            state, revision = CanaryState.PROMOTED, row["revision"]
            await end_plan(connection, agent, state, revision=revision, reason=reason, at=at)


async def add_evidence(
    connection: AsyncConnection, job_id: str, evidence: Mapping[str, Any], *, at: datetime
) -> None:
    """Keep what an evaluation found; a second report of the same job changes nothing.

    Args:
        connection: An open write transaction.
        job_id: Of the evaluation.
        evidence: A `rl.training.promotion.Evidence` as JSON.
        at: When.
    """
    key = {name: evidence[name] for name in ("agent", "sha256")}
    row = {"job_id": job_id, **key, "evidence": dict(evidence), "at": at}
    await connection.execute(upsert(promotion_evidence).values(**row).on_conflict_do_nothing())


async def find_evidence(
    connection: AsyncConnection, agent: str, sha256: str
) -> Mapping[str, Any] | None:
    """Return what the newest evaluation of a policy found; None if there was none.

    Args:
        connection: An open transaction.
        agent: Whose policy.
        sha256: Of its artifact.
    """
    query = select(promotion_evidence.c.evidence).filter_by(agent=agent, sha256=sha256)
    newest = query.order_by(promotion_evidence.c.at.desc(), promotion_evidence.c.job_id.desc())
    found: Mapping[str, Any] | None = await connection.scalar(newest.limit(1))
    return found


async def add_gate_result(connection: AsyncConnection, result: Mapping[str, Any]) -> None:
    """Remember what the gate said.

    Args:
        connection: An open write transaction.
        result: A row of `gate_result` without its `seq`.
    """
    await connection.execute(insert(gate_result), dict(result))


async def list_gate_results(
    connection: AsyncConnection, agent: str, *, limit: int
) -> list[Mapping[str, Any]]:
    """Return what the gate said of an agent's versions, newest first.

    Args:
        connection: An open transaction.
        agent: Whose.
        limit: At most so many.
    """
    query = select(gate_result).where(gate_result.c.agent == agent)
    rows = await connection.execute(query.order_by(gate_result.c.seq.desc()).limit(limit))
    return [dict(row) for row in rows.mappings()]


async def add_second_answers(
    connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Keep second answers; those that are there already stay as they are.

    Args:
        connection: An open write transaction.
        rows: Of `second_answer`, at least one.
    """
    new = upsert(second_answer).on_conflict_do_nothing()
    await connection.execute(new, [dict(row) for row in rows])


async def list_second_answers(
    connection: AsyncConnection, agent: str, *, limit: int
) -> list[Mapping[str, Any]]:
    """Return an agent's second answers, newest first.

    Args:
        connection: An open transaction.
        agent: Whose.
        limit: At most so many.
    """
    query = select(second_answer).where(second_answer.c.agent == agent)
    query = query.order_by(second_answer.c.at.desc(), second_answer.c.decision_id.desc())
    rows = await connection.execute(query.limit(limit))
    return [dict(row) for row in rows.mappings()]


async def _tell(
    connection: AsyncConnection,
    row: Mapping[str, Any],
    at: datetime,
    figures: Mapping[str, Any] | None = None,
) -> None:
    told = {name: row[name] for name in ("agent", "version", "share", "reason")}
    payload = told if figures is None else {**told, "figures": dict(figures)}
    await add_line(connection, EVENTS[CanaryState(row["state"])], payload, at=at)
