"""The database: SQLite in a file or a PostgreSQL server, short shielded transactions.

Writers of one process on a SQLite file queue on a lock and begin at once (`BEGIN IMMEDIATE`), so
that none of them meets a reader's snapshot halfway. A transaction is never cancelled in its middle:
it is short, and a cancelled commit would leave unknown what happened. So await only the connection
inside.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool, StaticPool

from utils.persistence.errors import DatabaseError
from utils.persistence.files import make_folder
from utils.persistence.plain_json import write_json
from utils.persistence.sqlite_driver import connect
from utils.persistence.tables import metadata
from utils.persistence.traffic import PoolUse, Traffic
from utils.persistence.upgrade import SERVER_DRIVER, upgrade, upgrade_server

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_SECONDS = 10
ANSWER_SECONDS = 30
"""A server that has not carried out a transaction by then counts as out of reach."""
SERVER_CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""How soon a connection that a network lost without a word is given up."""


class Database:
    """Transactions on one database."""

    def __init__(
        self,
        engine: AsyncEngine,
        path: Path,
        *,
        durable_engine: AsyncEngine | None = None,
        file: tuple[int, int] | None = None,
    ) -> None:
        """Take what `open_database` has made.

        Args:
            engine: Connects to it.
            path: The SQLite file, or what stands for it in messages.
            durable_engine: Connects so that a commit survives a power cut; absent where all do.
            file: Which file is at the path, as `identify_file` says; absent where there is none.
        """
        self._file = file
        self._engine = engine
        self._durable_engine = durable_engine or engine
        self.path = path
        self.is_server = engine.dialect.name == "postgresql"
        """Whether it is PostgreSQL, which several machines can share."""
        self.url = engine.url
        self.traffic = Traffic()
        shares_one = isinstance(engine.pool, StaticPool)
        self._writers = None if self.is_server else anyio.Lock()
        self._readers = self._writers if shares_one else None

    @contextlib.asynccontextmanager
    async def write(self, *, durable: bool = False) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that may write; it commits unless the body raises.

        Args:
            durable: Whether it must survive a power cut too; kill -9 it survives anyway.

        Raises:
            DatabaseError: The file is locked, full or damaged, or the server is away.
        """
        engine = self._durable_engine if durable else self._engine
        queue = self._writers or contextlib.nullcontext()
        with self.traffic.ask("write") as asked:
            async with queue, self._transacting(), engine.connect() as connection:
                if not self.is_server:
                    await connection.execution_options(begin="BEGIN IMMEDIATE")
                async with connection.begin():
                    asked.begun()
                    yield connection

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees one state of the database and changes nothing.

        Raises:
            DatabaseError: The file is locked or damaged, or the server is away.
        """
        queue = self._readers or contextlib.nullcontext()
        with self.traffic.ask("read") as asked:
            async with queue, self._transacting(), self._engine.begin() as connection:
                asked.begun()
                yield connection

    @contextlib.asynccontextmanager
    async def _transacting(self) -> AsyncIterator[None]:
        """Keep cancellation away, and waiting for ever for a server that does not answer."""
        limit = anyio.current_time() + ANSWER_SECONDS if self.is_server else math.inf
        self._require_file()
        with explained(self.path):
            with anyio.CancelScope(shield=True, deadline=limit) as scope:
                yield
        if scope.cancelled_caught:
            await self.aclose()  # connections that idle in the pool are as deaf as this one
            raise DatabaseError(f"{self.path}: no answer in {ANSWER_SECONDS} s. {_SERVER_AWAY}")

    def _require_file(self) -> None:
        """Refuse to go on with a file that nobody else sees: what is written there is lost."""
        if self._file is not None and identify_file(self.path) != self._file:
            raise DatabaseError(
                f"{self.path}: it was removed or replaced while this program used it. Put it back, "
                "or start this program again with what is there now."
            )

    def fingerprint(self) -> tuple[int, ...] | None:
        """Return what changes whenever anybody writes to the file; None where nothing tells."""
        if self.is_server or self._readers is not None:
            return None
        try:
            stat = self.path.with_name(f"{self.path.name}-wal").stat()
        except OSError:
            return None
        return stat.st_size, stat.st_mtime_ns

    def pools(self) -> dict[str, PoolUse]:
        """Return how many connections are in use, by what they are for; none in memory."""
        engines = {"usual": self._engine}
        if self._durable_engine is not self._engine:
            engines["durable"] = self._durable_engine
        pools = {name: engine.pool for name, engine in engines.items()}
        return {
            name: PoolUse(in_use=pool.checkedout(), size=pool.size())
            for name, pool in pools.items()
            if isinstance(pool, QueuePool)
        }

    async def aclose(self) -> None:
        """Close every connection; needed before the event loop ends."""
        with anyio.CancelScope(shield=True):
            await self._durable_engine.dispose()
            await self._engine.dispose()


async def open_database(location: Path | str) -> Database:
    """Open a database, a file being made if absent, and bring its tables up to date.

    Args:
        location: Path of the SQLite file, its URL (`sqlite:///path`), or that of a PostgreSQL
            database (`postgresql+psycopg://user@host/name`).

    Raises:
        DatabaseError: It is not a database, is newer than this program, stays locked, or the
            server cannot be reached.
    """
    text = str(location)
    if text.startswith("postgres"):
        return await _open_server(text)
    path = _file_path(location)
    await anyio.to_thread.run_sync(_prepare, path)
    url = URL.create("sqlite+aiosqlite", database=str(path))
    return Database(
        _file_engine(url, "NORMAL"),
        path,
        durable_engine=_file_engine(url, "FULL"),
        file=identify_file(path),
    )


def identify_file(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from any other that may come to its path; None if none is there.

    Args:
        path: Of the file.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


async def open_memory_database() -> Database:
    """Open a database of this process only, in memory, for tests."""
    engine = create_async_engine(
        "sqlite+aiosqlite://", poolclass=StaticPool, json_serializer=write_json
    )
    _listen(engine, "OFF")
    database = Database(engine, Path(":memory:"))
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
    return database


async def _open_server(text: str) -> Database:
    try:
        url = make_url(text).set(drivername=SERVER_DRIVER)
    except ArgumentError as error:
        raise DatabaseError(f"database URL: {error}") from error
    name = Path(url.render_as_string(hide_password=True))
    with explained(name):
        await anyio.to_thread.run_sync(upgrade_server, url)
    engine = create_async_engine(
        url,
        pool_size=10,
        json_serializer=write_json,
        pool_pre_ping=True,  # the server may have been restarted since
        connect_args={
            **SERVER_CONNECTION,
            # The locks of one who was cut off halfway keep others from taking over.
            "options": "-c lock_timeout=10s -c idle_in_transaction_session_timeout=10s",
        },
    )
    return Database(engine, name)


def _file_engine(url: URL, synchronous: str) -> AsyncEngine:
    engine = create_async_engine(
        url, json_serializer=write_json, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}
    )
    _listen(engine, synchronous)
    return engine


def _listen(engine: AsyncEngine, synchronous: str) -> None:
    set_up = partial(_set_up_connection, synchronous=synchronous)
    event.listen(engine.sync_engine, "do_connect", connect)
    event.listen(engine.sync_engine, "connect", set_up)
    event.listen(engine.sync_engine, "begin", _begin)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the driver's complaints about the database into ours; leave those about rows alone.

    Args:
        path: The database file or what stands for it, named in the message.

    Raises:
        DatabaseError: The file is locked, full, read-only or damaged, or the server is away.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        complaint = str(error.orig if isinstance(error, DBAPIError) else error)
        is_away = isinstance(error, DBAPIError) and _has_no_server(error)
        advice = _advice(complaint.lower()) or (_SERVER_AWAY if is_away else None)
        if advice is None:
            raise
        raise DatabaseError(f"{path}: {complaint}. {advice}") from error


def _has_no_server(error: DBAPIError) -> bool:
    """Whether the driver lost the server, or never reached it: no complaint of the server's own."""
    is_own = getattr(error.orig, "sqlstate", "none at all") is not None
    return error.connection_invalidated or (isinstance(error, OperationalError) and not is_own)


_SERVER_AWAY = "Check that the server runs and can be reached; nothing of this was kept for sure."


def _advice(complaint: str) -> str | None:
    advices = {
        "deadlock detected": "Two programs waited for each other; try again.",
        "locked": f"Another process wrote for more than {BUSY_TIMEOUT_SECONDS} s; "
        "find and stop it (`fuser` on the file), then try again.",
        "disk is full": "Free some space and try again; nothing of this transaction was kept.",
        "not a database": "Move the file away, or name another database.",
        "malformed": "Restore it from a backup, or recover it with `sqlite3 FILE .recover`.",
        "readonly": "Make the file and its folder writable for this user.",
        "unable to open": "Check that the folder exists and is writable.",
        "disk i/o error": "Check the disk; nothing of this transaction was kept.",
        "no space left": "Free some space on the server; nothing of this transaction was kept.",
        "connection failed": _SERVER_AWAY,
        "connection refused": _SERVER_AWAY,
        "server closed the connection": _SERVER_AWAY,
        "terminating connection": _SERVER_AWAY,
        "connection is lost": _SERVER_AWAY,
        "connection timeout": _SERVER_AWAY,
        "consuming input failed": _SERVER_AWAY,
        "the connection is closed": _SERVER_AWAY,
        "database system is": _SERVER_AWAY,
        "lock timeout": "Another program holds the row; try again.",
    }
    return next((advice for word, advice in advices.items() if word in complaint), None)


def _prepare(path: Path) -> None:
    make_folder(path.parent)
    with explained(path):
        upgrade(path, BUSY_TIMEOUT_SECONDS)


def _file_path(location: Path | str) -> Path:
    text = str(location)
    scheme, separator, rest = text.partition(":///")
    if not separator:
        return Path(text).absolute()
    if scheme not in {"sqlite", "sqlite+aiosqlite"}:
        raise DatabaseError(
            f"{scheme}: write a path, sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME"
        )
    return Path(rest).absolute()


def _set_up_connection(
    connection: DBAPIConnection, _entry: ConnectionPoolEntry, *, synchronous: str
) -> None:
    connection.isolation_level = None  # the driver must not begin by itself
    cursor = connection.cursor()
    for setting in ("foreign_keys=ON", f"synchronous={synchronous}"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
