"""All state in one tar, made while the work goes on, and put back as it was.

The database is copied first, then every file that its rows name, then the copy itself: so no row
of the copy names a file that the archive lacks. A file that went away or is damaged is noted as
gone in the copy, and told.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from sqlalchemy import update

from orchestration.care.archive import ArchiveWriter, BackupError, writing
from orchestration.care.named_files import (
    NamedFile,
    list_artifact_files,
    list_checkpoint_files,
)
from utils.clock import Clock
from utils.persistence.engine import Database, open_database
from utils.persistence.jobs import checkpoint

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

FORMAT, VERSION = "quartermaster-backup", 1
DATABASE = "quartermaster.sqlite"
FOLDERS = ("artifacts", "runs")
TRIES = 3
"""How often all is looked at anew because files went away meanwhile."""


@dataclass(frozen=True, kw_only=True)
class BackedUp:
    """What a backup holds."""

    path: Path
    size_bytes: int
    num_files: int
    has_database: bool
    """False if a server keeps it; that has tools of its own."""
    left_out: tuple[str, ...]
    """What is wrong with files that rows name; the copy of the database says that they are gone."""


class _WentAwayError(Exception):
    """A file that the copied rows name is not as they say; they may be out of date by now."""


async def back_up(database: Database, var: Path, path: Path, *, clock: Clock) -> BackedUp:
    """Write database, artifacts, checkpoints and reports to one file; work may go on meanwhile.

    Args:
        database: Of the state.
        var: Folder of the state.
        path: The file; whole or not there.
        clock: Tells when.

    Raises:
        BackupError: The disk is full or not writable; nothing is left behind.
    """
    var, path = Path(await anyio.Path(var).absolute()), Path(await anyio.Path(path).absolute())
    for tries_left in reversed(range(TRIES)):
        with contextlib.suppress(_WentAwayError):
            return await _write(database, var, path, clock=clock, tolerant=tries_left == 0)
    raise AssertionError("the last try tolerates what is missing")


async def _write(
    database: Database, var: Path, path: Path, *, clock: Clock, tolerant: bool
) -> BackedUp:
    with writing(path) as writer, _scratch(path) as scratch:
        async with _copied(database, scratch) as copy:
            faults = await _add_named(writer, copy, var, tolerant=tolerant)
            await anyio.to_thread.run_sync(_add_others, writer, var)
        has_database = copy is not database
        if has_database:
            await anyio.to_thread.run_sync(writer.add, DATABASE, scratch / DATABASE)
        header = {"format": FORMAT, "version": VERSION, "created_at": clock.now().isoformat()}
        gone = [str(file.path) for file, _ in faults]
        writer.finish({**header, "var": str(var), "has_database": has_database, "gone": gone})
    return BackedUp(
        path=path,
        size_bytes=(await anyio.Path(path).stat()).st_size,
        num_files=len(writer.files),
        has_database=has_database,
        left_out=tuple(fault for _, fault in faults),
    )


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Give a folder beside the archive, which only one backup uses at a time."""
    folder = path.with_name(f".{path.name}.copy")
    shutil.rmtree(folder, ignore_errors=True)  # of a backup that was killed
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def _copied(database: Database, scratch: Path) -> AsyncIterator[Database]:
    """Give a copy of the database; or, of one on a server, itself."""
    if database.is_server:
        yield database
        return
    await anyio.to_thread.run_sync(_copy, database.path, scratch / DATABASE)
    copy = await open_database(scratch / DATABASE)
    try:
        yield copy
    finally:
        await copy.aclose()


def _copy(source: Path, place: Path) -> None:
    try:
        reading = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)
        with contextlib.closing(reading), contextlib.closing(sqlite3.connect(place)) as copy:
            reading.backup(copy)
    except sqlite3.Error as error:
        raise BackupError(f"{source} cannot be copied: {error}. Free some space") from error
    check_integrity(place, source)


def check_integrity(path: Path, name: Path) -> None:
    """Refuse a damaged database.

    Args:
        path: The file.
        name: What it is a copy of, for the message.

    Raises:
        BackupError: SQLite finds damage.
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise BackupError(f"{name} is damaged ({found}): see what `doctor` says")


async def _add_named(
    writer: ArchiveWriter, copy: Database, var: Path, *, tolerant: bool
) -> list[tuple[NamedFile, str]]:
    async with copy.read() as connection:
        artifacts = await list_artifact_files(connection, var / "artifacts")
        checkpoints = await list_checkpoint_files(connection, var / "artifacts")
    faults = await anyio.to_thread.run_sync(_add_whole, writer, [*artifacts, *checkpoints], var)
    if faults and not tolerant:
        raise _WentAwayError
    gone = [file.checkpoint_id for file, _ in faults if file.checkpoint_id is not None]
    if gone and not copy.is_server:
        async with copy.write() as connection:
            await _note_gone(connection, gone)
    return faults


async def _note_gone(connection: AsyncConnection, ids: Iterable[int]) -> None:
    for one in ids:
        mine = update(checkpoint).where(checkpoint.c.id == one)
        await connection.execute(mine.values(state="deleted"))


def _add_whole(
    writer: ArchiveWriter, files: Iterable[NamedFile], var: Path
) -> list[tuple[NamedFile, str]]:
    faults = []
    for file in files:
        fault = file.find_fault()
        if fault is None and not file.place.is_relative_to(var):
            fault = f"{file.place} lies outside {var}"
        if fault is None:
            fault = _add_parts(writer, file, var)
        if fault is not None:
            faults.append((file, fault))
    return faults


def _add_parts(writer: ArchiveWriter, file: NamedFile, var: Path) -> str | None:
    for part in file.parts():
        name = part.relative_to(var).as_posix()
        try:
            if name not in writer.files:  # two rows may name one file
                writer.add(name, part)
        except FileNotFoundError:
            return f"{part} went away"
    return None


def _add_others(writer: ArchiveWriter, var: Path) -> None:
    """Add what else lies among the runs, such as reports; not what no row names any more."""
    for path in sorted((var / "runs").rglob("*")):
        name = path.relative_to(var).as_posix()
        is_checkpoint = path.parent.name == "checkpoints"
        if is_checkpoint or name in writer.files or path.is_symlink() or not path.is_file():
            continue
        if not name.endswith(".tmp"):
            with contextlib.suppress(FileNotFoundError):
                writer.add(name, path)
