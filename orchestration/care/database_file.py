"""An examination of the SQLite file itself, before anything opens it as usual."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from orchestration.care.findings import Finding, fine, note, problem
from utils.persistence.revisions import known_revisions
from utils.persistence.upgrade import VERSION_TABLE

BUSY_SECONDS = 2.0
LARGE_WAL = 256 << 20


def check_database_file(path: Path) -> Iterator[Finding]:
    """Look at the file: can it be read and written, is it whole, and how old is its shape.

    Args:
        path: Of the database.
    """
    if not path.exists():
        yield fine("database", f"none yet at {path}; the first command makes it")
        return
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
        with contextlib.closing(connection):
            connection.isolation_level = None
            connection.execute(f"PRAGMA busy_timeout={int(1000 * BUSY_SECONDS)}")
            yield from _check_content(connection, path)
    except sqlite3.Error as error:
        yield problem("database", f"{path}: {error}", _advice(str(error)))


def _check_content(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    damage = [text for (text,) in connection.execute("PRAGMA integrity_check(5)")]
    if damage != ["ok"]:
        yield problem("database", f"{path} is damaged: {damage[0]}", _advice("malformed"))
        return
    dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
    if dangling is not None:
        text = f"{path}: a row of {dangling[0]} names a row of {dangling[2]} that is not there"
        yield problem("database", text, "Restore a backup, or ask whoever edited the file.")
    connection.execute("BEGIN IMMEDIATE")  # raises if it is locked or read-only
    connection.execute("ROLLBACK")
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        text = f"{path} has journal mode {mode}"
        yield note("database", text, "Any command sets it to WAL; do not change it.")
    yield fine("database", f"{path}, {path.stat().st_size / 2**20:,.1f} MiB, whole and writable")
    yield _check_revision(connection, path)
    yield _check_wal(path)


def _check_revision(connection: sqlite3.Connection, path: Path) -> Finding:
    known = known_revisions()
    newest = known[-1]
    try:
        query = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  our own constant
        row = connection.execute(query).fetchone()
    except sqlite3.OperationalError:
        row = None
    if row is None:
        text = f"{path} holds no tables of this program"
        return problem("revision", text, "Move the file away, or name another --var.")
    if row[0] == newest:
        return fine("revision", f"{newest}, the newest")
    if row[0] in known:
        text = f"{row[0]} of {newest}"
        return note("revision", text, "Any command brings it up to date; make a backup before.")
    text = f"{row[0]} is unknown: a newer program wrote this database"
    return problem("revision", text, "Update the program, or name another --var.")


def _check_wal(path: Path) -> Finding:
    wal = path.with_name(f"{path.name}-wal")
    size = wal.stat().st_size if wal.is_file() else 0
    words = f"{size / 2**20:,.1f} MiB not yet in the database file"
    if size > LARGE_WAL:
        advice = "A reader keeps an old state open: find it with `fuser` on the file and end it."
        return problem("wal", words, advice)
    return fine("wal", words)


def _advice(complaint: str) -> str:
    advices = {
        "locked": "Another process writes: find it with `fuser` on the file; end it if it hangs.",
        "readonly": "Make the file and its folder writable for this user.",
        "unable to open": "Make the file and its folder readable and writable for this user.",
        "not a database": "Restore a backup (`restore`), or name another --var.",
        "malformed": "Restore a backup (`restore`), or recover it with `sqlite3 FILE .recover`.",
    }
    found = (advice for word, advice in advices.items() if word in complaint)
    return next(found, "Check the disk, then restore a backup (`restore`).")
