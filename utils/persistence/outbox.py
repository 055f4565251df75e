"""The outbox for those who are no jobs, and how far it can be read without overtaking a writer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, text

from utils.persistence.errors import DatabaseError
from utils.persistence.jobs import event

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.persistence.engine import Database

# Whoever adds a line locks the table so, from before the line has its number until the commit.
_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE relation = 'event'::regclass"
    " AND mode = 'RowExclusiveLock' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_PAUSE = text("SELECT pg_sleep(0.01)")
_MOST_PAUSES = 200
NEWEST = select(func.coalesce(func.max(event.c.seq), 0))


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
    line = {"job_id": job_id, "type": type_, "payload": dict(payload), "at": at}
    await connection.execute(insert(event), line)


async def settled_seq(database: Database) -> int:
    """Return a number up to which every line is committed or will never be.

    A server hands numbers out before their transactions commit, so a smaller one may appear after a
    larger one. Readers that remember only the last number they saw must stop here.

    Args:
        database: Holds the outbox.

    Raises:
        DatabaseError: Somebody who adds lines does not come to an end.
    """
    async with database.read() as connection:
        newest = int(await connection.scalar(NEWEST) or 0)
        if not await await_writers(connection):
            raise DatabaseError(f"{database.path}: a transaction is open for long; try again")
        return newest


async def await_writers(connection: AsyncConnection) -> bool:
    """Wait until every transaction that is adding lines now has ended; later ones are let pass.

    Args:
        connection: An open transaction.

    Returns:
        Whether all of them have, within two seconds.
    """
    if connection.dialect.name == "sqlite":  # writers come one after the other
        return True
    earlier = set((await connection.execute(_WRITERS)).scalars())
    for _ in range(_MOST_PAUSES):
        if not earlier:
            return True
        await connection.execute(_PAUSE)
        earlier &= set((await connection.execute(_WRITERS)).scalars())
    return not earlier
