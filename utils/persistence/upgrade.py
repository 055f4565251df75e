"""Bring a database to the newest revision, one process at a time."""

from __future__ import annotations

import fcntl
import importlib
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, event, inspect, pool, text

from utils.persistence.errors import DatabaseError
from utils.persistence.revisions import known_revisions

VERSION_TABLE = "quartermaster_revision"
SERVER_DRIVER = "postgresql+psycopg"
_UPGRADE_LOCK = 0x5153_4D52
"""Advisory lock on a server: one program upgrades at a time."""


def upgrade(path: Path, timeout_seconds: float) -> None:
    """Run the missing migrations, all in one transaction.

    Args:
        path: The SQLite file; its folder exists.
        timeout_seconds: How long to wait for other writers of the file.

    Raises:
        DatabaseError: The file was written by a newer program.
    """
    with path.with_name(f".{path.name}.upgrade").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": timeout_seconds, "isolation_level": None},
            poolclass=pool.NullPool,
        )
        event.listen(engine, "begin", _begin)
        try:
            with engine.connect() as connection:
                connection.connection.cursor().execute("PRAGMA journal_mode=WAL").close()
                with connection.begin():
                    upgrade_connection(connection, str(path))
        finally:
            engine.dispose()


def upgrade_server(url: URL) -> None:
    """Run the missing migrations of a PostgreSQL database, all in one transaction.

    Args:
        url: Of the database, for psycopg.

    Raises:
        DatabaseError: The database was written by a newer program.
    """
    engine = create_engine(url, poolclass=pool.NullPool, connect_args={"connect_timeout": 10})
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
            upgrade_connection(connection, url.render_as_string(hide_password=True))
    finally:
        engine.dispose()


def upgrade_connection(connection: Connection, name: str, revision: str = "head") -> None:
    """Run the missing migrations in a transaction that somebody has begun.

    Args:
        connection: To SQLite or PostgreSQL.
        name: Of the database, for the message.
        revision: How far.

    Raises:
        DatabaseError: The database was written by a newer program.
    """
    known = known_revisions()
    current = _current_revision(connection)
    if current == known[-1]:
        return
    if current is not None and current not in known:
        raise DatabaseError(
            f"{name} has revision {current}, which this program does not know: it was written by a "
            "newer version. Update the program, or name another database."
        )
    importlib.import_module("utils.persistence.migration_run").migrate(connection, revision)


def _current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608
    return None if found is None else str(found)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
