"""How far the outbox can be read without overtaking a line that is still being written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select, text

from utils.persistence.jobs import event

if TYPE_CHECKING:
    from utils.persistence.engine import Database

NEWEST = select(func.coalesce(func.max(event.c.seq), 0))


async def newest_seq(database: Database) -> int:
    """Return the number of the newest line that can be seen; 0 if there is none.

    Args:
        database: Holds the outbox.
    """
    async with database.read() as connection:
        return int(await connection.scalar(NEWEST) or 0)


async def settled_seq(database: Database) -> int:
    """Return a number up to which every line is committed or will never be.

    A server hands numbers out before their transactions commit, so a smaller one may appear after a
    larger one. Readers that remember only the last number they saw must stop here.

    Args:
        database: Holds the outbox.
    """
    async with database.read() as connection:
        if connection.dialect.name == "sqlite":  # writers come one after the other
            return int(await connection.scalar(NEWEST) or 0)
    async with database.write() as connection:
        await connection.execute(text("LOCK TABLE event IN SHARE MODE"))  # waits for writers
        return int(await connection.scalar(NEWEST) or 0)
