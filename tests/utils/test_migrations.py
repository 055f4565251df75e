"""A database of the first revision becomes one of the newest, its rows intact."""

from __future__ import annotations

import contextlib

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import JSON, column, create_engine, insert, pool, select, table, text

from tests.postgres import missing, run_server
from utils.persistence import experiments, jobs, registry
from utils.persistence.schema import metadata
from utils.persistence.upgrade import VERSION_TABLE, upgrade_connection

AT = "2026-01-01 00:00:00"
RUN = {"experiment_id": "e", "seed": 1, "state": "succeeded", "created_at": AT}
MODEL = {"agent": "trader", "created_at": AT}
FILE = {"kind": "policy", "size_bytes": 3, "created_at": AT}
ROWS = {
    "experiment": [{"id": "e", "name": "question", "created_at": AT}],
    "run": [
        {**RUN, "id": "r1", "config": {"seed": 1}, "versions": {}},
        {**RUN, "id": "r2", "config": {}, "versions": {}},
    ],
    "metric": [{"run_id": "r1", "key": "loss", "step": 3, "value": 0.5, "at": AT}],
    "evaluation": [
        {"run_id": "r1", "env_steps": step, "name": name, "scores": scores, "created_at": AT}
        for step, name, scores in [
            (1, "validation", {"kpi": 2.5}),
            (2, "validation", {"kpi": 1.5}),
            (3, "validation", {"kpi": None}),
            (4, "stress", {"kpi": 99.0}),
        ]
    ],
    "checkpoint": [
        {
            "run_id": "r1",
            "step": 3,
            "path": "/x",
            "sha256": "c" * 64,
            "size_bytes": 1,
            "state": "ready",
            "created_at": AT,
        }
    ],
    "artifact": [{**FILE, "sha256": digit * 64, "run_id": "r1", "card": {}} for digit in "ab"],
    "model_version": [
        {**MODEL, "version": 1, "artifact_sha256": "a" * 64, "run_id": "r1"},
        {**MODEL, "version": 2, "artifact_sha256": "b" * 64, "run_id": None},
    ],
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            yield f"sqlite:///{tmp_path}/q.sqlite"
        elif missing():
            pytest.skip(missing())
        else:
            yield stack.enter_context(run_server())


def write_rows(connection):
    for name, rows in ROWS.items():
        for row in rows:
            columns = [
                column(key, JSON) if isinstance(value, dict) else column(key)
                for key, value in row.items()
            ]
            values = {
                key: text(f"TIMESTAMP '{value}'")
                if value is AT and is_server(connection)
                else value
                for key, value in row.items()
            }
            connection.execute(insert(table(name, *columns)).values(values))


def is_server(connection):
    return connection.dialect.name == "postgresql"


def test_rows_of_the_first_revision_stay_and_gain_what_they_told(url):
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.begin() as connection:
        upgrade_connection(connection, url, "0001")
        write_rows(connection)
    with engine.begin() as connection:
        upgrade_connection(connection, url)
        upgrade_connection(connection, url)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        run = experiments.run
        told = connection.execute(
            select(run.c.id, run.c.config, run.c.best_score).order_by(run.c.id)
        )
        assert list(told) == [("r1", {"seed": 1}, 2.5), ("r2", {}, None)]
        assert connection.scalar(select(experiments.metric.c.value)) == 0.5
        row = connection.execute(select(jobs.checkpoint)).mappings().one()
        assert (row["path"], row["pinned"], row["score"]) == ("/x", False, None)
        artifact = experiments.run_artifact
        (one,) = connection.execute(select(artifact.c.run_id, artifact.c.name, artifact.c.sha256))
        assert tuple(one) == ("r1", "trader.policy", "a" * 64)
        versions = connection.execute(select(registry.model_version.c.deleted_at))
        assert list(versions) == [(None,), (None,)]
    engine.dispose()
