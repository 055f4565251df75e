"""What a list of runs shows beside their summaries, and which stages a run went through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from utils.persistence import experiments as tables
from utils.persistence.jobs import event
from utils.persistence.run_queries import MAX_ROWS, RunSummary

STAGE_CHANGED = "stage_changed"


@dataclass(frozen=True, kw_only=True)
class RunLine(RunSummary):
    """A line of a list of runs, with what people tell runs apart by."""

    environment: str
    algorithm: str
    tags: tuple[str, ...]
    expert: float | None
    """Mean KPI of the best expert on the same episodes, as far as it was told."""


async def describe_runs(
    connection: AsyncConnection, runs: Sequence[RunSummary]
) -> tuple[RunLine, ...]:
    """Say what each run trains, how it is tagged, and what its expert scores.

    Args:
        connection: An open transaction.
        runs: Up to a page of them.
    """
    ids = [run.id for run in runs]
    table, tag = tables.run, tables.tag
    configs = select(table.c.id, table.c.config).where(table.c.id.in_(ids))
    made = {row.id: row.config for row in await connection.execute(configs)}
    tags: dict[str, list[str]] = {}
    tagged = select(tag.c.run_id, tag.c.name).where(tag.c.run_id.in_(ids)).order_by(tag.c.name)
    for run_id, name in await connection.execute(tagged):
        tags.setdefault(run_id, []).append(name)
    experts = await _experts(connection, ids)
    return tuple(
        RunLine(
            **{name: getattr(run, name) for name in RunSummary.__dataclass_fields__},
            environment=str(made[run.id].get("environment", "")),
            algorithm=str(made[run.id].get("algorithm", "")),
            tags=tuple(tags.get(run.id, ())),
            expert=experts.get(run.id),
        )
        for run in runs
    )


async def list_stage_changes(connection: AsyncConnection, job_id: str) -> list[tuple[str, int]]:
    """Return the stages that the attempts of a job told, in order: name and env steps.

    Args:
        connection: An open transaction.
        job_id: Which job; of very many changes only the first.
    """
    query = (
        select(event.c.payload)
        .where(event.c.job_id == job_id, event.c.type == STAGE_CHANGED)
        .order_by(event.c.seq)
        .limit(MAX_ROWS)
    )
    told = await connection.scalars(query)
    return [(str(one["stage"]), int(one["env_steps"])) for one in told]


async def _experts(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, float]:
    table = tables.evaluation
    newest = select(func.max(table.c.id)).where(table.c.run_id.in_(ids)).group_by(table.c.run_id)
    query = select(table.c.run_id, table.c.scores).where(table.c.id.in_(newest))
    rows = (await connection.execute(query)).all()
    found = {run_id: scores.get("expert") for run_id, scores in rows}
    return {run_id: float(score) for run_id, score in found.items() if score is not None}
