"""Tables of the job engine: jobs, their attempts, the outbox, workers and checkpoints."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from utils.persistence.schema import UtcDateTime, metadata

TERMINAL = "state IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'dead')"
WAITING = "state IN ('queued', 'retry_wait')"
LIVE = "state IN ('leased', 'running', 'cancelling')"

worker = Table(
    "worker",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_started", BigInteger, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("parallel_jobs", Integer, nullable=False, server_default="1"),
    Column("cpu_milli", Integer),  # none: not counted
    Column("gpu_milli", Integer),
    Column("memory_mb", Integer),
)

job = Table(
    "job",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(100), nullable=False),
    Column("version", Integer, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("dedupe_key", String(255)),
    Column("idempotency_key", String(255)),
    Column("request_sha256", String(64)),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("state", String(20), nullable=False),
    Column("desired", String(20), nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False),
    Column("lost", Integer, nullable=False, server_default="0"),
    Column("max_lost", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", String(36)),
    Column("lease_until", UtcDateTime),
    Column("run_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("queue_seconds", Float),
    Column("run_seconds", Float),
    Column("progress_seconds", Float),
    Column("cpu_milli", Integer, nullable=False, server_default="0"),
    Column("gpu_milli", Integer, nullable=False, server_default="0"),
    Column("memory_mb", Integer, nullable=False, server_default="0"),
    Column("limit_key", String(100)),
    Column("pipeline_id", String(36), index=True),
    Column("step", String(100)),
    Column("has_needs", Boolean, nullable=False, server_default=false()),
    Column("progress_done", BigInteger),
    Column("progress_total", BigInteger),
    Column("progress_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("error_class", String(40)),
    Column("error", Text),
    Column("result", JSON(none_as_null=True)),
    CheckConstraint("fence >= 0", name="fence_grows"),
)
Index(
    "uq_job_unfinished_dedupe_key",
    job.c.dedupe_key,
    unique=True,
    sqlite_where=text(f"NOT ({TERMINAL})"),
    postgresql_where=text(f"NOT ({TERMINAL})"),
)
Index("uq_job_idempotency_key", job.c.idempotency_key, unique=True)
Index(
    "ix_job_ready",
    job.c.priority.desc(),
    job.c.run_at,
    job.c.id,
    sqlite_where=text(WAITING),
    postgresql_where=text(WAITING),
)
Index(
    "ix_job_lease_until",
    job.c.lease_until,
    sqlite_where=text(LIVE),
    postgresql_where=text(LIVE),
)

# What a job waits for; the result of the needed one comes to it under `name`.
job_need = Table(
    "job_need",
    metadata,
    Column("job_id", ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("needs_job_id", ForeignKey("job.id"), nullable=False, index=True),
    Column("condition", String(20), nullable=False),
)

# How many jobs with a key may hold leases at once, wherever they run.
job_limit = Table(
    "job_limit",
    metadata,
    Column("key", String(100), primary_key=True),
    Column("most", Integer, nullable=False),
    CheckConstraint("most >= 0", name="most_counts"),
)

attempt = Table(
    "attempt",
    metadata,
    Column("job_id", ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("fence", BigInteger, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("worker_id", String(36), nullable=False),
    Column("pid", Integer),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("outcome", String(20)),
    Column("error_class", String(40)),
    Column("error", Text),
    Column("resume_checkpoint", Text),
    Column("handle", JSON(none_as_null=True)),  # finds a process that outlives its supervisor
)

# Rows are added in the transaction of the change they tell of; `seq` only grows.
event = Table(
    "event",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(36), index=True),  # none: it concerns no job
    Column("type", String(60), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job_id", ForeignKey("job.id", ondelete="CASCADE")),
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), index=True),
    Column("step", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),
    Column("score", Float),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("job_id", "step", "fence"),
    CheckConstraint("job_id IS NOT NULL OR run_id IS NOT NULL", name="has_owner"),
    CheckConstraint("state IN ('ready', 'deleted')", name="known_state"),
)
