"""Tables of schedules and their fires, and of webhooks and their deliveries."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    true,
)

from utils.persistence.schema import UtcDateTime, metadata

schedule = Table(
    "schedule",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("timing", JSON, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("misfire", String(20), nullable=False),
    Column("catch_up", Integer, nullable=False),
    Column("overlap", String(20), nullable=False),
    Column("max_pending", Integer, nullable=False),
    Column("active", Boolean, nullable=False, server_default=true()),
    # By the clock: fires up to here need no further look, and the next one after that.
    Column("handled_until", UtcDateTime, nullable=False),
    Column("next_time", UtcDateTime),
    # After events: of which type, the last one looked at, and how many were dropped.
    Column("event_type", String(60)),
    Column("event_seq", BigInteger, nullable=False, server_default="0"),
    Column("dropped", BigInteger, nullable=False, server_default="0"),
    Column("created_at", UtcDateTime, nullable=False),
)

# The primary key is what makes a fire happen once; `event_seq` is 0 for fires by the clock.
schedule_fire = Table(
    "schedule_fire",
    metadata,
    Column("schedule_id", ForeignKey("schedule.id", ondelete="CASCADE"), primary_key=True),
    Column("fire_time", UtcDateTime, primary_key=True),
    Column("event_seq", BigInteger, primary_key=True, server_default="0", autoincrement=False),
    Column("fired_at", UtcDateTime, nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("pipeline_id", String(36)),
    Column("error", Text),
)

webhook = Table(
    "webhook",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("url", Text, nullable=False),
    Column("events", JSON, nullable=False),
    Column("secret", String(255), nullable=False),  # where the secret is, never the secret
    Column("active", Boolean, nullable=False, server_default=true()),
    Column("event_seq", BigInteger, nullable=False),  # the last one looked at
    Column("created_at", UtcDateTime, nullable=False),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("webhook_id", ForeignKey("webhook.id", ondelete="CASCADE"), nullable=False),
    Column("event_seq", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", UtcDateTime, nullable=False),
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
)
Index("uq_delivery_webhook_id_event_seq", delivery.c.webhook_id, delivery.c.event_seq, unique=True)
Index("ix_delivery_due", delivery.c.status, delivery.c.next_at)
