"""The engine in full: needs, limits, resources, timeouts and idempotency of jobs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TERMINAL = "state IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'dead')"
JOB_ID = sa.String(length=36)


def upgrade() -> None:
    """Add columns and tables; events may concern no job."""
    for column in _job_columns():
        op.add_column("job", column)
    _renew_job_indexes()
    for column in _worker_columns():
        op.add_column("worker", column)
    op.add_column("attempt", sa.Column("handle", sa.JSON(none_as_null=True), nullable=True))
    with op.batch_alter_table("event", table_kwargs={"sqlite_autoincrement": True}) as event:
        event.alter_column("job_id", existing_type=JOB_ID, nullable=True)
    _create_tables()


def _job_columns() -> list[sa.Column[Any]]:
    counts: list[sa.Column[Any]] = [
        sa.Column(name, sa.Integer(), server_default="0", nullable=False)
        for name in ("cpu_milli", "gpu_milli", "memory_mb")
    ]
    seconds = [
        sa.Column(name, sa.Float(), nullable=True)
        for name in ("queue_seconds", "run_seconds", "progress_seconds")
    ]
    texts = [
        sa.Column(name, sa.String(length=length), nullable=True)
        for name, length in (
            ("idempotency_key", 255),
            ("request_sha256", 64),
            ("limit_key", 100),
            ("pipeline_id", 36),
            ("step", 100),
        )
    ]
    others = [
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("has_needs", sa.Boolean(), server_default=sa.false(), nullable=False),
    ]
    return [*others, *counts, *seconds, *texts]


def _worker_columns() -> list[sa.Column[Any]]:
    counts = [
        sa.Column(name, sa.Integer(), nullable=True)
        for name in ("cpu_milli", "gpu_milli", "memory_mb")
    ]
    parallel = sa.Column("parallel_jobs", sa.Integer(), server_default="1", nullable=False)
    return [parallel, *counts]


def _renew_job_indexes() -> None:
    unfinished = sa.text(f"NOT ({TERMINAL})")
    op.drop_index("uq_job_unfinished_dedupe_key", table_name="job")
    op.create_index(
        "uq_job_unfinished_dedupe_key",
        "job",
        ["dedupe_key"],
        unique=True,
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    op.create_index("uq_job_idempotency_key", "job", ["idempotency_key"], unique=True)
    op.create_index(op.f("ix_job_pipeline_id"), "job", ["pipeline_id"], unique=False)


def _create_tables() -> None:
    op.create_table(
        "job_need",
        sa.Column("job_id", JOB_ID, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("needs_job_id", JOB_ID, nullable=False),
        sa.Column("condition", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_job_need_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["needs_job_id"], ["job.id"], name=op.f("fk_job_need_needs_job_id")
        ),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_job_need")),
    )
    op.create_index(op.f("ix_job_need_needs_job_id"), "job_need", ["needs_job_id"], unique=False)
    op.create_table(
        "job_limit",
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.CheckConstraint("most >= 0", name=op.f("ck_job_limit_most_counts")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_job_limit")),
    )
