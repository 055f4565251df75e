"""Faults at the Nth call: of the store, before or after its commit, or of one statement in it."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from utils.persistence.engine import Database
from utils.persistence.errors import DatabaseError

MODES = ("statement", "rolled back", "committed")
CUT = "cut"
"""On a server: it ends the connection before the Nth statement."""


class NthCall:
    """Counts calls and has one of them fail; `was_due` tells whether it came so far."""

    def __init__(self, number, mode):
        self.number = number
        self.mode = mode
        self.calls = 0
        self.was_due = False

    def counts(self):
        self.calls += 1
        is_it = self.calls == self.number
        self.was_due = self.was_due or is_it
        return is_it

    @contextlib.contextmanager
    def injected(self, monkeypatch, database):
        """While it is open, the Nth call fails."""
        with monkeypatch.context() as patch:
            if self.mode in {"statement", CUT}:
                engines = {database._engine.sync_engine, database._durable_engine.sync_engine}
                for engine in engines:
                    event.listen(engine, "before_cursor_execute", self._disturb)
                try:
                    yield self
                finally:
                    for engine in engines:
                        event.remove(engine, "before_cursor_execute", self._disturb)
            elif self.mode == "file":
                self._break_files(patch)
                yield self
            else:
                patch.setattr(Database, "write", self._wrap(Database.write, database))
                patch.setattr(Database, "read", self._wrap(Database.read, database))
                yield self

    def _disturb(self, connection, cursor, statement, *_):
        begins = statement.startswith(("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK"))
        if begins or not self.counts():
            return
        if self.mode == CUT:
            end_connection(connection.engine.url, connection.connection.driver_connection)
        else:
            raise OperationalError(statement, None, Exception("database or disk is full"))

    def _wrap(self, original, victim):
        @contextlib.asynccontextmanager
        async def faulty(database, **options):
            fails = database is victim and self.counts()
            async with original(database, **options) as connection:
                yield connection
                if fails and self.mode == "rolled back":
                    raise DatabaseError("injected: disk is full")
            if fails:
                raise DatabaseError("injected: timeout, and yet it was committed")

        return faulty

    def _break_files(self, patch):
        def breaking(original):
            def call(*arguments, **options):
                if self.counts():
                    raise OSError(errno.ENOSPC, "No space left on device")
                return original(*arguments, **options)

            return call

        patch.setattr(os, "fsync", breaking(os.fsync))
        patch.setattr(Path, "replace", breaking(Path.replace))


def end_connection(url, connection):
    """Have the server end a connection, and wait until it has."""
    import psycopg

    location = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(location, autocommit=True) as other:
        pid = connection.info.backend_pid
        assert other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)).fetchone() == (True,)


def numbers(most=200):
    """1, 2, ... for a loop that ends with the first call that nothing hindered."""
    yield from range(1, most)
    raise AssertionError(f"{most} calls failed one after the other: it never ends")
