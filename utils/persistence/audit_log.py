"""Who changed what: lines that are only added, each hashed together with the line before."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert  # compiles for SQLite as well
from sqlalchemy.ext.asyncio import AsyncConnection

from utils.persistence.access import audit, audit_head

MAX_LINES = 1000
START = "0" * 64


@dataclass(frozen=True, kw_only=True)
class AuditLine:
    """One change, or an attempt at one that was refused."""

    at: datetime
    who: str
    """`token:NAME`, `local` for a caller without one, or `cli:USER`."""
    action: str
    target: str
    outcome: str
    """An HTTP status, or `done`."""


@dataclass(frozen=True, kw_only=True)
class StoredAuditLine(AuditLine):
    """A line as it is kept."""

    seq: int
    digest: str
    """Over the line and the digest of the line before."""


async def add_audit(connection: AsyncConnection, line: AuditLine) -> None:
    """Add a line.

    Args:
        connection: An open write transaction.
        line: What happened; overlong texts are cut.
    """
    head = upsert(audit_head).values(id=1, digest=START).on_conflict_do_nothing()
    await connection.execute(head)
    before = await connection.scalar(select(audit_head.c.digest).with_for_update())
    row: dict[str, Any] = {
        name: getattr(line, name)[: audit.c[name].type.length]  # type: ignore[attr-defined]
        for name in ("who", "action", "target", "outcome")
    }
    row |= {"at": line.at}
    row |= {"digest": _digest(str(before), row)}
    await connection.execute(insert(audit), row)
    await connection.execute(update(audit_head), {"digest": row["digest"]})


async def list_audit(
    connection: AsyncConnection, *, before: int | None = None, limit: int = 100
) -> list[StoredAuditLine]:
    """List lines, newest first.

    Args:
        connection: An open transaction.
        before: Only older ones than this `seq`.
        limit: At most so many.
    """
    query = select(audit).order_by(audit.c.seq.desc()).limit(min(limit, MAX_LINES))
    if before is not None:
        query = query.where(audit.c.seq < before)
    return [StoredAuditLine(**row) for row in (await connection.execute(query)).mappings()]


async def find_break(connection: AsyncConnection) -> int | None:
    """Return the first line that was changed, or follows a removed one; None if all is whole.

    Args:
        connection: An open transaction.
    """
    before, seq = START, 0
    async with connection.stream(select(audit).order_by(audit.c.seq)) as rows:
        async for row in rows.mappings():
            seq = row["seq"]
            if row["digest"] != _digest(before, row):
                return int(seq)
            before = row["digest"]
    head = await connection.scalar(select(audit_head.c.digest))
    return None if (head or START) == before else seq + 1


def _digest(before: str, row: Any) -> str:
    names = ("at", "who", "action", "target", "outcome")
    content = [before, *(row[name] for name in names)]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()
