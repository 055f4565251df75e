"""All rows of a run as plain JSON and back, for archives; ids of this database stay out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, insert, select

from utils.persistence import experiments as tables
from utils.persistence.jobs import checkpoint
from utils.persistence.model_log import NewArtifact, register_model
from utils.persistence.registry import artifact, model_version
from utils.persistence.run_log import create_experiment
from utils.persistence.run_queries import RunNotFoundError
from utils.persistence.schema import UtcDateTime

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock

BESIDE = (
    tables.param,
    tables.metric_latest,
    tables.evaluation,
    tables.tag,
    tables.run_artifact,
    tables.run_data,
    tables.run_parent,
    checkpoint,
)
"""Tables of which a run owns rows, beside its metrics."""
OF_THIS_DATABASE = {"id", "run_id", "job_id", "experiment_id", "deleted_at"}
BATCH = 1000


async def dump_run(connection: AsyncConnection, run_id: str) -> dict[str, Any]:
    """Return all rows of a run but its metrics.

    Args:
        connection: An open transaction.
        run_id: Which run.

    Raises:
        RunNotFoundError: There is none.
    """
    run, experiment = tables.run, tables.experiment
    query = select(run, experiment.c.name, experiment.c.description)
    query = query.join(experiment, experiment.c.id == run.c.experiment_id)
    found = await connection.execute(query.where(run.c.id == run_id, run.c.deleted_at.is_(None)))
    row = found.mappings().first()
    if row is None:
        raise RunNotFoundError(f"no run {run_id}: list the runs to see their ids")
    return {
        "experiment": {"name": row["name"], "description": row["description"]},
        "run": {name: _plain(row[name]) for name in _columns(run)},
        "beside": {table.name: await _dump(connection, table, run_id) for table in BESIDE},
        "models": await _dump_models(connection, run_id),
    }


async def dump_metrics(
    connection: AsyncConnection, run_id: str
) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield the metrics of a run, one metric at a time, by step.

    Args:
        connection: An open transaction.
        run_id: Which run.
    """
    table, latest = tables.metric, tables.metric_latest
    keys = await connection.scalars(select(latest.c.key).where(latest.c.run_id == run_id))
    for key in sorted(keys):
        query = select(table.c.key, table.c.step, table.c.value, table.c.at)
        query = query.where(table.c.run_id == run_id, table.c.key == key).order_by(table.c.step)
        rows = (await connection.execute(query)).mappings()
        yield [{name: _plain(value) for name, value in row.items()} for row in rows]


async def restore_run(
    connection: AsyncConnection,
    run_id: str,
    rows: Mapping[str, Any],
    metrics: Iterable[Mapping[str, Any]],
    *,
    clock: Clock,
) -> None:
    """Write the rows of a run that this database does not know; its models get new versions.

    Args:
        connection: An open write transaction.
        run_id: Its id.
        rows: As `dump_run` returned them.
        metrics: As `dump_metrics` returned them.
        clock: Tells the age of the experiment and the models, if they are new.

    Raises:
        KeyError: A part is missing.
        ValueError: A column or a time is unknown.
        IntegrityError: The run is known.
    """
    about = rows["experiment"]
    experiment_id = await create_experiment(
        connection, about["name"], clock=clock, description=about["description"]
    )
    line = _parse(tables.run, rows["run"])
    await connection.execute(
        insert(tables.run).values(**line, id=run_id, experiment_id=experiment_id)
    )
    for table in BESIDE:
        await _insert(connection, table, run_id, rows["beside"][table.name])
    await _insert(connection, tables.metric, run_id, metrics)
    for model in rows["models"]:
        content = NewArtifact(
            sha256=model["sha256"],
            size_bytes=model["size_bytes"],
            card=model["card"],
            kind=model["kind"],
            run_id=run_id,
        )
        await register_model(connection, model["agent"], content, clock=clock)


async def _dump(connection: AsyncConnection, table: Table, run_id: str) -> list[dict[str, Any]]:
    query = select(*(table.c[name] for name in _columns(table))).where(table.c.run_id == run_id)
    rows = (await connection.execute(query)).mappings()
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    return sorted(plain, key=lambda row: [str(row[name]) for name in sorted(row)])


async def _dump_models(connection: AsyncConnection, run_id: str) -> list[dict[str, Any]]:
    query = (
        select(
            *(model_version.c.agent, artifact.c.sha256, artifact.c.kind),
            *(artifact.c.size_bytes, artifact.c.card),
        )
        .join(artifact, artifact.c.sha256 == model_version.c.artifact_sha256)
        .where(model_version.c.run_id == run_id, model_version.c.deleted_at.is_(None))
        .order_by(model_version.c.version)
    )
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def _insert(
    connection: AsyncConnection, table: Table, run_id: str, rows: Iterable[Mapping[str, Any]]
) -> None:
    lines: list[dict[str, Any]] = []
    for row in rows:
        lines.append({"run_id": run_id, **_parse(table, row)})
        if len(lines) == BATCH:
            await connection.execute(insert(table), lines)
            lines = []
    if lines:
        await connection.execute(insert(table), lines)


def _columns(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name not in OF_THIS_DATABASE]


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _parse(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    if set(row) != set(_columns(table)):
        raise ValueError(f"a row of {table.name} has the columns {', '.join(sorted(row))}")
    return {name: _read(table, name, value) for name, value in row.items()}


def _read(table: Table, name: str, value: Any) -> Any:
    is_moment = isinstance(table.c[name].type, UtcDateTime) and value is not None
    return datetime.fromisoformat(value) if is_moment else value
