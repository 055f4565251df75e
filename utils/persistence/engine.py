"""The database: one SQLite file, short shielded transactions, errors that say what to do.

Writers of one process queue on a lock and begin at once (`BEGIN IMMEDIATE`), so that none of them
meets a reader's snapshot halfway. A transaction is never cancelled in its middle: it is short, and
a cancelled commit would leave unknown what happened. So await only the connection inside.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from utils.persistence.errors import DatabaseError
from utils.persistence.upgrade import upgrade

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_SECONDS = 10


class Database:
    """Transactions on one database."""

    def __init__(self, engine: AsyncEngine, path: Path) -> None:
        self._engine = engine
        self._writers = anyio.Lock()
        self.path = path

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that may write; it commits unless the body raises.

        Raises:
            DatabaseError: The file is locked, full or damaged.
        """
        async with self._writers:
            with anyio.CancelScope(shield=True), explained(self.path):
                async with self._engine.connect() as connection:
                    await connection.execution_options(begin="BEGIN IMMEDIATE")
                    async with connection.begin():
                        yield connection

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees one state of the database and changes nothing.

        Raises:
            DatabaseError: The file is locked or damaged.
        """
        with anyio.CancelScope(shield=True), explained(self.path):
            async with self._engine.connect() as connection, connection.begin():
                yield connection

    async def aclose(self) -> None:
        """Close every connection; needed before the event loop ends."""
        with anyio.CancelScope(shield=True):
            await self._engine.dispose()


async def open_database(location: Path | str) -> Database:
    """Open a database file, made if absent, and bring its tables up to date.

    Args:
        location: Path of the SQLite file, or its URL (`sqlite:///path`).

    Raises:
        DatabaseError: It is not a database, is newer than this program, or stays locked.
    """
    path = _file_path(location)
    await anyio.to_thread.run_sync(_prepare, path)
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
    )
    event.listen(engine.sync_engine, "connect", _set_up_connection)
    event.listen(engine.sync_engine, "begin", _begin)
    return Database(engine, path)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the driver's complaints about the file into ours; leave those about rows alone.

    Args:
        path: The database file, named in the message.

    Raises:
        DatabaseError: The file is locked, full, read-only or damaged.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        complaint = str(error.orig if isinstance(error, DBAPIError) else error)
        advice = _advice(complaint.lower())
        if advice is None:
            raise
        raise DatabaseError(f"{path}: {complaint}. {advice}") from error


def _advice(complaint: str) -> str | None:
    advices = {
        "locked": f"Another process wrote for more than {BUSY_TIMEOUT_SECONDS} s; "
        "find and stop it (`fuser` on the file), then try again.",
        "disk is full": "Free some space and try again; nothing of this transaction was kept.",
        "not a database": "Move the file away, or name another database.",
        "malformed": "Restore it from a backup, or recover it with `sqlite3 FILE .recover`.",
        "readonly": "Make the file and its folder writable for this user.",
        "unable to open": "Check that the folder exists and is writable.",
        "disk i/o error": "Check the disk; nothing of this transaction was kept.",
    }
    return next((advice for word, advice in advices.items() if word in complaint), None)


def _prepare(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with explained(path):
        upgrade(path, BUSY_TIMEOUT_SECONDS)


def _file_path(location: Path | str) -> Path:
    text = str(location)
    scheme, separator, rest = text.partition(":///")
    if not separator:
        return Path(text).absolute()
    if scheme not in {"sqlite", "sqlite+aiosqlite"}:
        raise DatabaseError(f"{scheme}: only SQLite is supported; write sqlite:///PATH or a path")
    return Path(rest).absolute()


def _set_up_connection(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver must not begin by itself
    cursor = connection.cursor()
    for setting in ("foreign_keys=ON", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
