"""Experiments to keep: tags, artifacts, data and parents of runs, scores, pins and tombstones."""

from __future__ import annotations

import math
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

RUN_ID = sa.String(length=36)


def upgrade() -> None:
    """Add columns and tables; derive what 0001 knew already."""
    op.add_column("run", sa.Column("code_dirty", sa.Boolean(), nullable=True))
    op.add_column("run", sa.Column("best_score", sa.Float(), nullable=True))
    op.add_column("run", sa.Column("deleted_at", sa.DateTime(), nullable=True))
    op.add_column("artifact", sa.Column("deleted_at", sa.DateTime(), nullable=True))
    op.add_column("model_version", sa.Column("deleted_at", sa.DateTime(), nullable=True))
    op.add_column("checkpoint", sa.Column("score", sa.Float(), nullable=True))
    op.add_column(
        "checkpoint",
        sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    _create_tables()
    _find_best_scores()
    _name_models_as_artifacts()


def _create_tables() -> None:
    op.create_table(
        "tag",
        sa.Column("run_id", RUN_ID, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        _of_run("tag"),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_tag")),
    )
    op.create_index(op.f("ix_tag_name"), "tag", ["name"], unique=False)
    op.create_table(
        "run_artifact",
        sa.Column("run_id", RUN_ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        _of_run("run_artifact"),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_artifact")),
    )
    op.create_index(op.f("ix_run_artifact_sha256"), "run_artifact", ["sha256"], unique=False)
    op.create_table(
        "run_data",
        sa.Column("run_id", RUN_ID, nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("about", sa.Text(), server_default="", nullable=False),
        sa.Column("sha256", sa.String(length=64), server_default="", nullable=False),
        _of_run("run_data"),
        sa.PrimaryKeyConstraint("run_id", "role", name=op.f("pk_run_data")),
    )
    op.create_table(
        "run_parent",
        sa.Column("run_id", RUN_ID, nullable=False),
        sa.Column("relation", sa.String(length=20), nullable=False),
        sa.Column("parent_run_id", sa.String(length=36), nullable=False),
        sa.Column("checkpoint_sha256", sa.String(length=64), server_default="", nullable=False),
        _of_run("run_parent"),
        sa.PrimaryKeyConstraint(
            *("run_id", "relation", "parent_run_id", "checkpoint_sha256"),
            name=op.f("pk_run_parent"),
        ),
    )
    op.create_table(
        "tombstone",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("deleted_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_tombstone")),
    )


def _of_run(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_run_id")
    return sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=name, ondelete="CASCADE")


def _find_best_scores() -> None:
    connection = op.get_bind()
    evaluation = sa.table(
        "evaluation", sa.column("run_id"), sa.column("name"), sa.column("scores", sa.JSON())
    )
    run = sa.table("run", sa.column("id"), sa.column("best_score"))
    best: dict[str, float] = {}
    rows = connection.execute(
        sa.select(evaluation.c.run_id, evaluation.c.scores).where(evaluation.c.name == "validation")
    )
    for run_id, scores in rows:
        kpi: Any = scores.get("kpi")
        if isinstance(kpi, (int, float)) and math.isfinite(kpi):
            best[run_id] = max(best.get(run_id, -math.inf), float(kpi))
    for run_id, score in best.items():
        connection.execute(sa.update(run).where(run.c.id == run_id).values(best_score=score))


def _name_models_as_artifacts() -> None:
    op.execute(
        "INSERT INTO run_artifact (run_id, name, kind, sha256, size_bytes, created_at) "
        "SELECT v.run_id, min(v.agent || '.policy'), min(a.kind), a.sha256, min(a.size_bytes), "
        "min(a.created_at) FROM model_version v JOIN artifact a ON a.sha256 = v.artifact_sha256 "
        "WHERE v.run_id IS NOT NULL AND v.version = (SELECT max(w.version) FROM model_version w "
        "WHERE w.run_id = v.run_id AND w.agent = v.agent) GROUP BY v.run_id, a.sha256"
    )
