"""Tables of experiments: questions, their seeded runs, and what the runs measured."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from utils.persistence.schema import UtcDateTime, metadata

experiment = Table(
    "experiment",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("created_at", UtcDateTime, nullable=False),
)

run = Table(
    "run",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("experiment_id", ForeignKey("experiment.id"), nullable=False, index=True),
    Column("job_id", ForeignKey("job.id"), unique=True),
    Column("seed", BigInteger, nullable=False),
    Column("config", JSON, nullable=False),
    Column("code_commit", String(64), nullable=False, server_default=""),
    Column("code_dirty", Boolean),
    Column("versions", JSON, nullable=False),
    Column("state", String(20), nullable=False),
    Column("stage", String(60)),
    Column("env_steps", BigInteger, nullable=False, server_default="0"),
    Column("total_env_steps", BigInteger),
    Column("best_score", Float),
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
)

param = Table(
    "param",
    metadata,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("value", Text, nullable=False),
)

metric = Table(
    "metric",
    metadata,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("value", Float),
    Column("at", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,
)

metric_latest = Table(
    "metric_latest",
    metadata,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("step", BigInteger, nullable=False),
    Column("value", Float),
    Column("at", UtcDateTime, nullable=False),
)

evaluation = Table(
    "evaluation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
    Column("env_steps", BigInteger, nullable=False),
    Column("name", String(100), nullable=False),
    Column("scores", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("run_id", "env_steps", "name"),
)

tag = Table(
    "tag",
    metadata,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(100), primary_key=True, index=True),
)

# Files of a run in the artifact store; two runs may name the same bytes.
run_artifact = Table(
    "run_artifact",
    metadata,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("sha256", String(64), nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# What a run's numbers come from: its training source and the sets that it was judged on.
run_data = Table(
    "run_data",
    metadata,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("role", String(40), primary_key=True),
    Column("about", Text, nullable=False, server_default=""),
    Column("sha256", String(64), nullable=False, server_default=""),
)

# Where a run began; the parent may be elsewhere or gone, so it is named and not referred to.
run_parent = Table(
    "run_parent",
    metadata,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("relation", String(20), primary_key=True),
    Column("parent_run_id", String(36), primary_key=True),
    Column("checkpoint_sha256", String(64), primary_key=True, server_default=""),
)

# Files that nothing refers to, and since when; the sweep removes them after a grace period.
tombstone = Table(
    "tombstone",
    metadata,
    Column("kind", String(20), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("deleted_at", UtcDateTime, nullable=False),
)
