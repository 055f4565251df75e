"""The outbox, whose lines are numbered before they are committed where the database is a server.

A reader that goes on from the last number it saw would never see a line with a smaller number
that is committed later. So writers share a lock from before they take a number until they commit,
and a reader waits for those that held it when it looked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, text

from utils.persistence.jobs import event

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.persistence.engine import Database

NEWEST = select(func.coalesce(func.max(event.c.seq), 0))
_KEYS = {"space": 0x514D, "key": 1}
_SHARE = text("SELECT pg_advisory_xact_lock_shared(:space, :key)")
_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND classid = :space AND objid = :key AND objsubid = 2"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_PAUSE = text("SELECT pg_sleep(0.01)")
_MOST_PAUSES = 200


async def add_line(
    connection: AsyncConnection,
    type_: str,
    payload: Mapping[str, Any],
    *,
    at: datetime,
    job_id: str | None = None,
) -> None:
    """Tell the outbox, in the transaction of what is told.

    Args:
        connection: An open write transaction.
        type_: What happened, in snake_case.
        payload: Plain JSON.
        at: When.
        job_id: The job it concerns, if it concerns one.
    """
    if connection.dialect.name == "postgresql":
        await announce_writer(connection)
    line = {"job_id": job_id, "type": type_, "payload": dict(payload), "at": at}
    await connection.execute(insert(event), line)


async def settled_seq(database: Database) -> int:
    """Return a number up to which every line is committed or will never be; 0 if none is known.

    Args:
        database: Holds the outbox.
    """
    async with database.read() as connection:
        newest = int(await connection.scalar(NEWEST) or 0)
        if database.is_server and not await await_writers(connection):
            return 0
        return newest


async def announce_writer(connection: AsyncConnection) -> None:
    """Let readers know that this transaction is about to number lines.

    Args:
        connection: An open write transaction on a server.
    """
    await connection.execute(_SHARE, _KEYS)


async def await_writers(connection: AsyncConnection) -> bool:
    """Wait until every transaction that is numbering lines now has ended.

    Args:
        connection: An open transaction on a server.

    Returns:
        Whether all of them have, within two seconds.
    """
    earlier = set((await connection.execute(_WRITERS, _KEYS)).scalars())
    for _ in range(_MOST_PAUSES):
        if not earlier:
            return True
        await connection.execute(_PAUSE)
        earlier &= set((await connection.execute(_WRITERS, _KEYS)).scalars())
    return not earlier
