"""SQLAlchemy's driver for SQLite files, with one visit to the connection's thread a statement.

The original makes a cursor, executes, fetches and closes in four visits, and rolls back nothing in
a fifth. Visits are most of what a short transaction costs.
"""
# ruff: noqa: SLF001  a driver is made of the parts of those below it; requirements pin them

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.connectors.asyncio import AsyncAdapt_dbapi_cursor
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, kw_only=True)
class _Done:
    """What a statement came to; stands for its cursor, which is closed."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None
    rows: Sequence[Any] = ()


class OneVisitCursor(AsyncAdapt_dbapi_cursor):
    """A cursor whose every statement is one visit."""

    __slots__ = ()

    def __init__(self, adapt_connection: AsyncAdapt_aiosqlite_connection) -> None:
        """Stand ready; nothing happens before a statement comes.

        Args:
            adapt_connection: Whose.
        """
        self._adapt_connection = adapt_connection
        self._connection = adapt_connection._connection
        self._soft_closed_memoized = {}  # type: ignore[assignment]
        self._keep(_Done())

    async def _execute_async(self, operation: Any, parameters: Any) -> None:
        await self._visit("execute", operation, () if parameters is None else parameters)

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> None:
        await self._visit("executemany", operation, seq_of_parameters)

    async def _visit(self, how: str, operation: str, parameters: Any) -> None:
        connection: Any = self._connection
        async with self._adapt_connection._execute_mutex:
            self._keep(
                await connection._execute(_carry_out, connection._conn, how, operation, parameters)
            )

    def _keep(self, done: _Done) -> None:
        self._cursor = done  # type: ignore[assignment]
        self._rows = deque(done.rows)

    async def _async_soft_close(self) -> None:
        """It is closed already."""

    def close(self) -> None:
        """Forget the rows that nobody fetched."""
        self._rows.clear()


class OneVisitConnection(AsyncAdapt_aiosqlite_connection):
    """A connection of such cursors."""

    __slots__ = ()
    _cursor_cls = OneVisitCursor  # type: ignore[assignment]

    def rollback(self) -> None:
        """Undo what is open, if anything is."""
        raw: Any = self._connection
        if raw._connection and raw._connection.in_transaction:
            super().rollback()


def connect(
    dialect: Any, _record: Any, arguments: Sequence[Any], options: Mapping[str, Any]
) -> OneVisitConnection:
    """Connect; SQLAlchemy's listener to `do_connect`.

    Args:
        dialect: Of SQLite by aiosqlite.
        arguments: Of the driver.
        options: Likewise.
    """
    made = dialect.connect(*arguments, **options)
    return OneVisitConnection(dialect.dbapi, made._connection)


def _carry_out(connection: sqlite3.Connection, how: str, operation: str, parameters: Any) -> _Done:
    cursor = connection.cursor()
    try:
        getattr(cursor, how)(operation, parameters)
        rows = cursor.fetchall() if cursor.description else ()
        return _Done(
            description=cursor.description,
            rowcount=cursor.rowcount,
            lastrowid=cursor.lastrowid,
            rows=rows,
        )
    finally:
        cursor.close()
