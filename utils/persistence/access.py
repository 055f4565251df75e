"""Tables of access: tokens by their hash, and the log of who changed what."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Index, Integer, String, Table, text

from utils.persistence.schema import UtcDateTime, metadata

access_token = Table(
    "access_token",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)
Index(
    "uq_access_token_valid_name",
    access_token.c.name,
    unique=True,
    sqlite_where=text("revoked_at IS NULL"),
    postgresql_where=text("revoked_at IS NULL"),
)

# Append only; each line carries a hash over itself and the line before.
audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("who", String(120), nullable=False),
    Column("action", String(120), nullable=False),
    Column("target", String(300), nullable=False),
    Column("outcome", String(60), nullable=False),
    Column("digest", String(64), nullable=False),
    sqlite_autoincrement=True,
)

# One row: the newest digest. Writers lock it, so that lines follow one another on a server as well.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
)
