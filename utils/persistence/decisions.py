"""Tables of delegation: decisions that agents gave, and facts that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from utils.persistence.schema import UtcDateTime, metadata

LONGEST_REQUEST_ID = 200

decision = Table(
    "decision",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("request_id", String(LONGEST_REQUEST_ID), nullable=False, index=True),
    Column("agent", String(100), nullable=False),
    Column("version", String(64), nullable=False),
    Column("request_sha256", String(64)),
    Column("latency_seconds", Float, nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("fallback_reason", String(40)),
    Column("at", UtcDateTime, nullable=False),
    Column("realised", JSON(none_as_null=True)),
    Column("result_known_at", UtcDateTime),
    Index("ix_decision_agent_id", "agent", "id"),
)

fact = Table(
    "fact",
    metadata,
    Column("topic", String(200), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("author", String(200), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, index=True),
    UniqueConstraint("version"),
)

# One row: the version of the newest fact ever written. Who raises it holds it until the commit, so
# facts become visible in the order of their versions.
fact_counter = Table(
    "fact_counter",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)


@dataclass(frozen=True, kw_only=True)
class DecisionRecord:
    """What is kept of one request to an agent."""

    id: str
    request_id: str
    """The caller's name for the request; not unique, callers may repeat theirs."""
    agent: str
    version: str
    request_sha256: str | None
    """Of the request as read, written as JSON: its fields in a fixed order, names within a field
    such as `capacity` in the caller's. Of the text where it could not be read; None where there was
    no text either."""
    latency_seconds: float
    outcome: str
    """`decision`, `fallback`, `refused` or `error`, as in the metrics."""
    fallback_reason: str | None
    at: datetime
    realised: Mapping[str, Any] | None = None
    """What came of the decision, as reported later."""
    result_known_at: datetime | None = None
