"""Tables of the model registry: artifacts by hash, versions of agents, and who is champion."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    String,
    Table,
    Text,
)

from utils.persistence.schema import UtcDateTime, metadata

artifact = Table(
    "artifact",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("run_id", ForeignKey("run.id"), index=True),
    Column("card", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("deleted_at", UtcDateTime),
)

model_version = Table(
    "model_version",
    metadata,
    Column("agent", String(100), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("artifact_sha256", ForeignKey("artifact.sha256"), nullable=False),
    Column("run_id", ForeignKey("run.id")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("deleted_at", UtcDateTime),
)

model_alias = Table(
    "model_alias",
    metadata,
    Column("agent", String(100), primary_key=True),
    Column("alias", String(60), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(["agent", "version"], ["model_version.agent", "model_version.version"]),
)

# Append only: which version an alias meant, when, and why it was moved.
alias_history = Table(
    "alias_history",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("agent", String(100), nullable=False),
    Column("alias", String(60), nullable=False),
    Column("version", Integer, nullable=False),
    Column("previous_version", Integer),
    Column("reason", Text, nullable=False, server_default=""),
    Column("changed_at", UtcDateTime, nullable=False),
)
