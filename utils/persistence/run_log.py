"""What is written about runs: each line once, however often it is told.

Functions on an open write transaction, so that a caller can prove a right (a fence) or change other
rows in the same one. Reading is the matter of `run_queries`, models that of `model_log`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well
from sqlalchemy.ext.asyncio import AsyncConnection

from utils.clock import Clock, new_id
from utils.errors import ConfigError
from utils.persistence import experiments as tables
from utils.persistence.jobs import checkpoint
from utils.persistence.plain_json import finite, json_safe
from utils.persistence.run_facts import RunParent, add_parents, change_tags

VALIDATION = "validation"
SCORE = "kpi"
"""Which of a validation's scores says how good a policy is; higher is better."""
MetricRow = tuple[int, Mapping[str, float]]
"""A step and the values measured there."""


LARGEST_WHOLE = 2**53
"""Whole numbers beyond it get lost where JSON is read."""


class RunState(StrEnum):
    """What became of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nobody is going to continue the run by itself."""
        return self in {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """A run to be."""

    id: str
    experiment: str
    """Name of the question it answers."""
    seed: int
    config: Mapping[str, Any]
    """The whole configuration, plain JSON."""
    state: RunState = RunState.RUNNING
    job_id: str | None = None
    total_env_steps: int | None = None
    code_commit: str = ""
    code_dirty: bool | None = None
    """Whether the code differed from that commit; None if nobody knows."""
    parents: tuple[RunParent, ...] = ()
    """Where it begins."""
    tags: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages that its numbers depend on."""

    def __post_init__(self) -> None:
        """Refuse what no database keeps.

        Raises:
            ConfigError: The seed, or the number of steps, is too large.
        """
        for name, value in (("seed", self.seed), ("total_env_steps", self.total_env_steps or 0)):
            if abs(value) > LARGEST_WHOLE:
                raise ConfigError(f"{name}={value}: choose less than 2^53")


@dataclass(frozen=True, kw_only=True)
class NewCheckpoint:
    """A checkpoint of a run without a job; a job's are written by the job engine."""

    path: str
    sha256: str
    env_steps: int
    size_bytes: int
    fence: int = 0
    score: float | None = None
    """Of the policy in it, if it was evaluated."""


async def create_experiment(
    connection: AsyncConnection, name: str, *, clock: Clock, description: str = ""
) -> str:
    """Return the id of an experiment, made if there is none of this name.

    Args:
        connection: An open write transaction.
        name: Unique.
        clock: Tells its age.
        description: For people; ignored if the experiment exists.
    """
    table = tables.experiment
    row = {
        "id": new_id(clock),
        "name": name,
        "description": description,
        "created_at": clock.now(),
    }
    await connection.execute(insert(table).values(row).on_conflict_do_nothing())
    found = await connection.scalar(select(table.c.id).where(table.c.name == name))
    return str(found)


async def create_run(connection: AsyncConnection, run: NewRun, *, clock: Clock) -> bool:
    """Write a run, its experiment and its parameters; a known run stays as it is.

    Args:
        connection: An open write transaction.
        run: With an id of its own.
        clock: Tells its age.

    Returns:
        Whether it is new.

    Raises:
        ConfigError: A tag is malformed.
    """
    config = json_safe(run.config)
    row = {
        "id": run.id,
        "experiment_id": await create_experiment(connection, run.experiment, clock=clock),
        "job_id": run.job_id,
        "seed": run.seed,
        "config": config,
        "code_commit": run.code_commit,
        "code_dirty": run.code_dirty,
        "versions": dict(run.versions),
        "state": run.state.value,
        "total_env_steps": run.total_env_steps,
        "created_at": clock.now(),
    }
    new = insert(tables.run).values(row).on_conflict_do_nothing()
    added = await connection.execute(new.execution_options(preserve_rowcount=True))
    if added.rowcount == 0:
        return False
    params = [{"run_id": run.id, "key": key, "value": value} for key, value in flatten(config)]
    if params:
        await connection.execute(insert(tables.param).on_conflict_do_nothing(), params)
    await add_parents(connection, run.id, run.parents)
    await change_tags(connection, run.id, add=run.tags)
    return True


async def set_run_state(
    connection: AsyncConnection,
    run_id: str,
    state: RunState,
    *,
    clock: Clock,
    error: str | None = None,
) -> None:
    """Say what became of a run.

    Args:
        connection: An open write transaction.
        run_id: Which run; an unknown one is ignored.
        state: What it is now; a terminal state also notes when it was reached first.
        clock: Tells that time.
        error: For people: what happened and what to do; None clears an earlier one.
    """
    table = tables.run
    ended_at = func.coalesce(table.c.ended_at, clock.now()) if state.is_terminal else None
    values = {"state": state.value, "error": error, "ended_at": ended_at}
    await connection.execute(update(table).where(table.c.id == run_id).values(values))


async def set_run_stage(connection: AsyncConnection, run_id: str, stage: str) -> None:
    """Say which stage a run is in.

    Args:
        connection: An open write transaction.
        run_id: Which run.
        stage: Its name.
    """
    await connection.execute(
        update(tables.run).where(tables.run.c.id == run_id).values(stage=stage)
    )


async def add_metrics(
    connection: AsyncConnection, run_id: str, rows: Sequence[MetricRow], *, clock: Clock
) -> None:
    """Write measured values; what is known of a step stays, and the newest step is kept at hand.

    Args:
        connection: An open write transaction.
        run_id: Which run.
        rows: In any order; values that are not finite are kept as absent ones.
        clock: Tells when they came.
    """
    at = clock.now()
    lines = [line for step, values in rows for line in _metric_lines(run_id, step, values, at)]
    if not lines:
        return
    await connection.execute(insert(tables.metric).on_conflict_do_nothing(), lines)
    latest = {line["key"]: line for line in sorted(lines, key=lambda line: line["step"])}
    await connection.execute(_keep_newest(), list(latest.values()))
    newest_step = max(step for step, _ in rows)
    run = tables.run
    await connection.execute(
        update(run)
        .where(run.c.id == run_id, run.c.env_steps < newest_step)
        .values(env_steps=newest_step)
    )


async def add_evaluation(
    connection: AsyncConnection,
    run_id: str,
    env_steps: int,
    scores: Mapping[str, Any],
    *,
    clock: Clock,
    name: str = VALIDATION,
) -> None:
    """Write the scores of a policy; known ones stay.

    Args:
        connection: An open write transaction.
        run_id: Which run.
        env_steps: How long the policy had been trained.
        scores: By name.
        clock: Tells when they came.
        name: Of the scenarios.
    """
    row = {
        "run_id": run_id,
        "env_steps": env_steps,
        "name": name,
        "scores": json_safe(scores),
        "created_at": clock.now(),
    }
    await connection.execute(insert(tables.evaluation).values(row).on_conflict_do_nothing())
    score = row["scores"].get(SCORE)
    if name == VALIDATION and score is not None:
        await _raise_best_score(connection, run_id, float(score))


async def add_checkpoint(
    connection: AsyncConnection, run_id: str, record: NewCheckpoint, *, clock: Clock
) -> None:
    """Write a checkpoint of a run that has no job; a known one stays.

    Args:
        connection: An open write transaction.
        run_id: Which run.
        record: The file, already whole on disk.
        clock: Tells its age.
    """
    table = checkpoint
    key = {"run_id": run_id, "step": record.env_steps, "fence": record.fence}
    known = await connection.scalar(select(table.c.id).filter_by(**key))
    if known is not None:
        return
    row = {
        **key,
        "path": record.path,
        "sha256": record.sha256,
        "size_bytes": record.size_bytes,
        "score": record.score,
        "state": "ready",
        "created_at": clock.now(),
    }
    await connection.execute(insert(table).values(row))


async def adopt_checkpoints(connection: AsyncConnection, run_id: str, job_id: str) -> None:
    """Give a run the checkpoints that the job engine has written for its job.

    Args:
        connection: An open write transaction.
        run_id: Which run.
        job_id: Its job.
    """
    table = checkpoint
    await connection.execute(
        update(table)
        .where(table.c.job_id == job_id, table.c.run_id.is_(None))
        .values(run_id=run_id)
    )


async def keep_checkpoints(
    connection: AsyncConnection, run_id: str, kept: Sequence[str], *, fence: int
) -> None:
    """Mark the rows of checkpoints whose files an attempt has removed.

    Told again it changes nothing, and what a crash left unmarked is marked by the next call.

    Args:
        connection: An open write transaction.
        run_id: Which run.
        kept: Paths of all manifests of the run that are still there; only their names count.
        fence: Number of the attempt; it removes no files of later ones.
    """
    table = checkpoint
    names = {PurePath(path).name for path in kept}
    mine = (table.c.run_id == run_id) & (table.c.state == "ready") & (table.c.fence <= fence)
    rows = await connection.execute(select(table.c.id, table.c.path).where(mine))
    gone = [row.id for row in rows if PurePath(row.path).name not in names]
    if gone:
        await connection.execute(
            update(table).where(table.c.id.in_(gone)).values(state="deleted", pinned=False)
        )


async def score_checkpoint(
    connection: AsyncConnection, run_id: str, step: int, *, fence: int, score: float | None
) -> None:
    """Write how good the policy of a recorded checkpoint is.

    Args:
        connection: An open write transaction.
        run_id: Which run.
        step: Of the checkpoint.
        fence: Of the attempt that wrote it.
        score: Higher is better; None if it was not evaluated.
    """
    table = checkpoint
    mine = (table.c.run_id == run_id) & (table.c.step == step) & (table.c.fence == fence)
    await connection.execute(update(table).where(mine).values(score=score))


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yield the settings of a configuration as text, inner ones by dotted names.

    Args:
        config: Plain JSON.
        prefix: Before each name.
    """
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


async def _raise_best_score(connection: AsyncConnection, run_id: str, score: float) -> None:
    table = tables.run
    is_better = table.c.best_score.is_(None) | (table.c.best_score < score)
    await connection.execute(
        update(table).where(table.c.id == run_id, is_better).values(best_score=score)
    )


def _metric_lines(
    run_id: str, step: int, values: Mapping[str, float], at: datetime
) -> list[dict[str, Any]]:
    return [
        {"run_id": run_id, "key": key, "step": step, "value": finite(value), "at": at}
        for key, value in values.items()
    ]


def _keep_newest() -> Any:
    table = tables.metric_latest
    line = insert(table)
    return line.on_conflict_do_update(
        index_elements=[table.c.run_id, table.c.key],
        set_={name: line.excluded[name] for name in ("step", "value", "at")},
        where=table.c.step < line.excluded.step,  # a step told again keeps its first value
    )
