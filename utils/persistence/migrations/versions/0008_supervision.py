"""Supervision: settings of agents, decisions that wait for a person, kept requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "agent_setting",
        sa.Column("agent", sa.String(length=100), nullable=False),
        sa.Column("needs_approval", sa.Boolean(), nullable=False),
        sa.Column("approval_seconds", sa.Float(), nullable=False),
        sa.Column("keep_requests", sa.Integer(), nullable=False),
        sa.Column("expert_on_drift", sa.Boolean(), nullable=False),
        sa.Column("regret_limit", sa.Float(), nullable=True),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.Column("changed_by", sa.String(length=120), nullable=False),
        sa.PrimaryKeyConstraint("agent", name=op.f("pk_agent_setting")),
    )
    op.create_table(
        "approval",
        sa.Column("decision_id", sa.String(length=36), nullable=False),
        sa.Column("agent", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("proposed", sa.Text(), nullable=False),
        sa.Column("given", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("decided_at", sa.DateTime(), nullable=True),
        sa.Column("decided_by", sa.String(length=120), nullable=True),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_approval")),
    )
    op.create_index("ix_approval_state_expires_at", "approval", ["state", "expires_at"])
    op.create_index("ix_approval_agent_decision_id", "approval", ["agent", "decision_id"])
    op.create_table(
        "kept_request",
        sa.Column("decision_id", sa.String(length=36), nullable=False),
        sa.Column("agent", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_kept_request")),
    )
    op.create_index("ix_kept_request_agent_decision_id", "kept_request", ["agent", "decision_id"])
    op.create_table(
        "drift_reference",
        sa.Column("agent", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("samples", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("agent", "version", name=op.f("pk_drift_reference")),
    )
