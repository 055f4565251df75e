"""Named locks for the length of a transaction, where transactions run side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


async def lock_name(connection: AsyncConnection, name: str) -> None:
    """Wait until no other transaction holds a name, and hold it until this one ends.

    SQLite has one writer at a time anyway, so nothing happens there.

    Args:
        connection: An open write transaction.
        name: What must not be done twice at once.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(name))))
