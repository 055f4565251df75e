"""Tables of supervision: settings of agents, decisions that wait for a person, kept requests."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, Index, Integer, String, Table, Text

from utils.persistence.schema import UtcDateTime, metadata

agent_setting = Table(
    "agent_setting",
    metadata,
    Column("agent", String(100), primary_key=True),
    Column("needs_approval", Boolean, nullable=False),
    Column("approval_seconds", Float, nullable=False),
    Column("keep_requests", Integer, nullable=False),
    Column("expert_on_drift", Boolean, nullable=False),
    Column("regret_limit", Float),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", String(120), nullable=False),
)

approval = Table(
    "approval",
    metadata,
    Column("decision_id", String(36), primary_key=True),
    Column("agent", String(100), nullable=False),
    Column("version", String(64), nullable=False),
    Column("request_id", String(200), nullable=False),
    Column("state", String(20), nullable=False),
    Column("request", Text, nullable=False),
    Column("proposed", Text, nullable=False),
    Column("given", Text),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("decided_at", UtcDateTime),
    Column("decided_by", String(120)),
    Column("reason", String(1000), nullable=False),
    Index("ix_approval_state_expires_at", "state", "expires_at"),
    Index("ix_approval_agent_decision_id", "agent", "decision_id"),
)

kept_request = Table(
    "kept_request",
    metadata,
    Column("decision_id", String(36), primary_key=True),
    Column("agent", String(100), nullable=False),
    Column("version", String(64), nullable=False),
    Column("request", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("ix_kept_request_agent_decision_id", "agent", "decision_id"),
)

drift_reference = Table(
    "drift_reference",
    metadata,
    Column("agent", String(100), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("samples", JSON, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
)
