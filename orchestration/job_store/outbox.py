"""The outbox on a server, where lines are numbered before they are committed.

A reader that goes on from the last number it saw would never see a line with a smaller number
that is committed later. So writers share a lock from before they take a number until they commit,
and a reader waits for those that held it when it looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_KEYS = {"space": 0x514D, "key": 1}
_SHARE = text("SELECT pg_advisory_xact_lock_shared(:space, :key)")
_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND classid = :space AND objid = :key AND objsubid = 2"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_PAUSE = text("SELECT pg_sleep(0.01)")
_MOST_PAUSES = 200


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
