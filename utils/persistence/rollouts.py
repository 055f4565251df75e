"""Tables of how versions come into use: canaries, what gates go by and said, shadows' answers."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from utils.persistence.schema import UtcDateTime, metadata

# One row per agent: which version is tried on which share of the requests.
canary_plan = Table(
    "canary_plan",
    metadata,
    Column("agent", String(100), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("share", Float, nullable=False),
    Column("state", String(20), nullable=False),
    Column("limits", JSON, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("since", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(["agent", "version"], ["model_version.agent", "model_version.version"]),
)

# What evaluations found of a policy, by the job that judged it.
promotion_evidence = Table(
    "promotion_evidence",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("agent", String(100), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("ix_promotion_evidence_agent_sha256", "agent", "sha256"),
)

# Append only: each time a challenger stood before the gate.
gate_result = Table(
    "gate_result",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("agent", String(100), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("champion", Integer),
    Column("is_passed", Boolean, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("evidence", JSON(none_as_null=True)),
    Column("forced_because", Text),
    Column("at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

# What another version would have decided, asked behind the caller's back.
second_answer = Table(
    "second_answer",
    metadata,
    Column("decision_id", String(36), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("agent", String(100), nullable=False),
    Column("served_version", String(64), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("distance", Float),
    Column("regret", Float),
    Column("latency_seconds", Float, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("ix_second_answer_agent_at", "agent", "at"),
)
