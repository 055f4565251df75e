"""What is read about runs: bounded answers as frozen records, for people, programs and resuming.

Functions on an open transaction; nothing here writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from utils.errors import ConfigError, QuartermasterError
from utils.persistence import experiments as tables
from utils.persistence.jobs import checkpoint
from utils.persistence.registry import artifact, model_version
from utils.persistence.run_facts import RunFacts, load_facts
from utils.persistence.run_log import RunState

MAX_POINTS = 10_000
MAX_ROWS = 1000


class RunNotFoundError(QuartermasterError, LookupError):
    """No run has this id."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One line of a list of runs."""

    id: str
    experiment: str
    job_id: str | None
    seed: int
    state: RunState
    stage: str | None
    env_steps: int
    total_env_steps: int | None
    best_score: float | None
    """The highest mean KPI on validation episodes."""
    error: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class MetricPoint:
    """A value on a curve; None if it was not finite."""

    step: int
    value: float | None
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of a policy."""

    env_steps: int
    name: str
    scores: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoint:
    """A file to resume from, as recorded; whether it is still whole is for its reader to prove."""

    path: str
    sha256: str
    step: int
    fence: int
    size_bytes: int
    created_at: datetime
    score: float | None = None
    pinned: bool = False
    run_id: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """An artifact of a run, and what it is called in the registry."""

    agent: str
    version: int
    sha256: str
    size_bytes: int
    card: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class RunDetails:
    """All that is known of a run but its curves."""

    summary: RunSummary
    config: Mapping[str, Any]
    code_commit: str
    code_dirty: bool | None
    versions: Mapping[str, str]
    latest: Mapping[str, MetricPoint]
    """By metric, the value of its newest step."""
    evaluations: tuple[Evaluation, ...]
    """Oldest first."""
    models: tuple[StoredModel, ...]
    facts: RunFacts
    """Tags, artifacts, data and parents."""


async def get_run(connection: AsyncConnection, run_id: str) -> RunDetails:
    """Load a run with its newest metrics, its evaluations and its models.

    Args:
        connection: An open transaction.
        run_id: Its id.

    Raises:
        RunNotFoundError: There is none.
    """
    table = tables.run
    names = ("config", "code_commit", "code_dirty", "versions")
    more = summaries().add_columns(*(table.c[name] for name in names))
    row = (await connection.execute(more.where(table.c.id == run_id))).mappings().first()
    if row is None:
        raise RunNotFoundError(f"no run {run_id}: list the runs to see their ids")
    fields: dict[str, Any] = dict(row)
    more_fields = {name: fields.pop(name) for name in names}
    return RunDetails(
        summary=to_summary(fields),
        latest=await latest_metrics(connection, run_id),
        evaluations=await list_evaluations(connection, run_id),
        models=await _list_models(connection, run_id),
        facts=await load_facts(connection, run_id),
        **more_fields,
    )


async def find_run_of_job(connection: AsyncConnection, job_id: str) -> str | None:
    """Return the id of the run that a job carries out, if any.

    Args:
        connection: An open transaction.
        job_id: The job.
    """
    table = tables.run
    found = await connection.scalar(select(table.c.id).where(table.c.job_id == job_id))
    return None if found is None else str(found)


async def latest_metrics(connection: AsyncConnection, run_id: str) -> dict[str, MetricPoint]:
    """Return the newest value of every metric of a run, by name.

    Args:
        connection: An open transaction.
        run_id: Which run.
    """
    table = tables.metric_latest
    query = (
        select(table.c.key, table.c.step, table.c.value, table.c.at)
        .where(table.c.run_id == run_id)
        .order_by(table.c.key)
        .limit(MAX_ROWS)
    )
    rows = (await connection.execute(query)).all()
    return {key: MetricPoint(step=step, value=value, at=at) for key, step, value, at in rows}


async def read_curve(
    connection: AsyncConnection, run_id: str, key: str, *, max_points: int = 1000
) -> list[MetricPoint]:
    """Read a metric over steps, thinned evenly if it has too many; the last point is always there.

    Args:
        connection: An open transaction.
        run_id: Which run.
        key: Which metric.
        max_points: At most so many; 1 to `MAX_POINTS`.

    Raises:
        ConfigError: The number of points is out of range.
    """
    check_limit("max_points", max_points, MAX_POINTS)
    table = tables.metric
    mine = (table.c.run_id == run_id) & (table.c.key == key)
    count = await connection.scalar(select(func.count()).where(mine)) or 0
    stride = max(1, math.ceil(count / max_points))
    place = func.row_number().over(order_by=table.c.step.desc()).label("place")
    numbered = select(table.c.step, table.c.value, table.c.at, place).where(mine).subquery()
    query = (
        select(numbered.c.step, numbered.c.value, numbered.c.at)
        .where((numbered.c.place - 1) % stride == 0)
        .order_by(numbered.c.step)
    )
    rows = (await connection.execute(query)).all()
    return [MetricPoint(step=step, value=value, at=at) for step, value, at in rows]


async def list_evaluations(connection: AsyncConnection, run_id: str) -> tuple[Evaluation, ...]:
    """List what the policies of a run scored, oldest first; of very many only the newest.

    Args:
        connection: An open transaction.
        run_id: Which run.
    """
    table = tables.evaluation
    query = (
        select(table.c.env_steps, table.c.name, table.c.scores, table.c.created_at)
        .where(table.c.run_id == run_id)
        .order_by(table.c.env_steps.desc(), table.c.name.desc())
        .limit(MAX_ROWS)
    )
    rows = (await connection.execute(query)).mappings().all()
    return tuple(Evaluation(**row) for row in reversed(rows))


async def list_checkpoints(
    connection: AsyncConnection, run_id: str, *, limit: int = 20
) -> list[StoredCheckpoint]:
    """List the recorded checkpoints of a run, newest first.

    Args:
        connection: An open transaction.
        run_id: Which run.
        limit: At most so many; 1 to `MAX_ROWS`.

    Raises:
        ConfigError: The limit is out of range.
    """
    check_limit("limit", limit, MAX_ROWS)
    table = checkpoint
    columns = [table.c[name] for name in StoredCheckpoint.__dataclass_fields__]
    query = (
        select(*columns)
        .where(table.c.run_id == run_id, table.c.state == "ready")
        .order_by(table.c.step.desc(), table.c.fence.desc())
        .limit(limit)
    )
    return [StoredCheckpoint(**row) for row in (await connection.execute(query)).mappings()]


async def _list_models(connection: AsyncConnection, run_id: str) -> tuple[StoredModel, ...]:
    query = (
        select(
            *(model_version.c.agent, model_version.c.version, artifact.c.sha256),
            *(artifact.c.size_bytes, artifact.c.card, artifact.c.created_at),
        )
        .join(artifact, artifact.c.sha256 == model_version.c.artifact_sha256)
        .where(model_version.c.run_id == run_id, model_version.c.deleted_at.is_(None))
        .order_by(model_version.c.agent, model_version.c.version)
        .limit(MAX_ROWS)
    )
    rows = (await connection.execute(query)).mappings()
    return tuple(StoredModel(**row) for row in rows)


def summaries() -> Select[Any]:
    """Return the query of every run that is not deleted, one `RunSummary` a row."""
    run = tables.run
    names = [name for name in RunSummary.__dataclass_fields__ if name != "experiment"]
    columns = [run.c[name] for name in names]
    return (
        select(tables.experiment.c.name.label("experiment"), *columns)
        .join(tables.experiment, tables.experiment.c.id == run.c.experiment_id)
        .where(run.c.deleted_at.is_(None))
    )


def to_summary(row: Mapping[Any, Any]) -> RunSummary:
    """Return a row of `summaries` as a record.

    Args:
        row: By column.
    """
    return RunSummary(**{**row, "state": RunState(row["state"])})


def check_limit(name: str, value: int, most: int) -> None:
    """Refuse to read without bounds.

    Args:
        name: Of the argument.
        value: What was asked for.
        most: The highest allowed.

    Raises:
        ConfigError: It is out of range.
    """
    if not 1 <= value <= most:
        raise ConfigError(f"{name}={value}: choose 1 to {most}")
