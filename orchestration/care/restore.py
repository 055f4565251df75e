"""A backup put back: unpacked beside, checked as a whole, then moved in by one rename."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from sqlalchemy import select, update

from orchestration.care.archive import BackupError, read_archive
from orchestration.care.backup import DATABASE, FOLDERS, FORMAT, VERSION, check_integrity
from orchestration.care.named_files import list_artifact_files, list_checkpoint_files
from utils.persistence.engine import open_database
from utils.persistence.files import sync_folder
from utils.persistence.jobs import attempt, checkpoint, job

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.engine import Database


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was put back."""

    var: Path
    num_files: int
    has_database: bool
    """False if a server keeps it; load its own dump."""
    moved_aside: Path | None
    """Where what was there before lies now."""


async def restore(
    path: Path, var: Path, *, clock: Clock, force: bool = False, on_server: bool = False
) -> Restored:
    """Put a backup back; nothing changes unless all of it is whole.

    Args:
        path: As `back_up` wrote it.
        var: Folder of the state; absent or empty.
        clock: Names what is moved aside.
        force: Move aside what is in the folder, which nobody may be using.
        on_server: A server has the database, so the file must hold none.

    Raises:
        BackupError: The file is damaged or foreign, the folder is not empty, or is in use.
        DatabaseError: A newer program wrote it.
    """
    var = Path(await anyio.Path(var).absolute())
    _check_place(var, force=force)
    staging = var.with_name(f".{var.name}.restoring")
    try:
        await anyio.to_thread.run_sync(_clear, staging)
        manifest = await anyio.to_thread.run_sync(read_archive, path, staging)
        old = _check_manifest(path, manifest, var)
        if on_server and manifest["has_database"]:
            raise BackupError(f"{path} holds a SQLite database: restore it without --database")
        if manifest["has_database"]:
            await _check_database(staging, old, var, gone=set(manifest["gone"]))
        _check_place(var, force=force)
        aside = await anyio.to_thread.run_sync(_move_in, staging, var, clock)
    except OSError as error:
        raise BackupError(
            f"{var}: {error.strerror or error}. Free some space, try again"
        ) from error
    finally:
        await anyio.to_thread.run_sync(_clear, staging)
    return Restored(
        var=var,
        num_files=len(manifest["files"]),
        has_database=manifest["has_database"],
        moved_aside=aside,
    )


def _check_place(var: Path, *, force: bool) -> None:
    if var.is_symlink() or (var.exists() and not var.is_dir()):
        raise BackupError(f"{var} is no folder: name another with --var")
    if not var.is_dir() or not any(var.iterdir()):
        return
    if not force:
        raise BackupError(
            f"{var} is not empty: name another folder with --var, or add --force, which moves "
            "what is there aside"
        )
    users = find_users(var / DATABASE)
    if users:
        raise BackupError(f"{var} is in use by process {users[0]}: stop it first")


def find_users(path: Path) -> list[int]:
    """Return the processes that have a file open, as far as this user may see.

    Args:
        path: The file.
    """
    target = str(path.resolve())
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(link.readlink()) == target:
                found.add(int(link.parts[2]))
    return sorted(found - {os.getpid()})


def _check_manifest(path: Path, manifest: Mapping[str, Any], var: Path) -> Path:
    if manifest.get("format") != FORMAT:
        raise BackupError(f"{path} is no backup of this program")
    if manifest.get("version") != VERSION:
        raise BackupError(f"{path} was written by another version of the program: update this one")
    roots = {name.partition("/")[0] for name in manifest["files"]}
    is_odd = not isinstance(manifest.get("gone"), list) or not roots <= {DATABASE, *FOLDERS}
    if is_odd or (DATABASE in roots) != manifest.get("has_database"):
        raise BackupError(f"{path} holds files that are not ours")
    old = Path(str(manifest.get("var")))
    if not manifest["has_database"] and old != var:
        raise BackupError(
            f"{path} belongs to a database on a server, whose rows name files in {old}: restore it "
            f"there, with --var {old}"
        )
    return old


async def _check_database(staging: Path, old: Path, var: Path, *, gone: set[str]) -> None:
    place = staging / DATABASE
    await anyio.to_thread.run_sync(check_integrity, place, Path(DATABASE))
    database = await open_database(place)
    try:
        await _check_files(database, staging, old, gone)
        if old != var:
            async with database.write() as connection:
                await _move_paths(connection, f"{old}/", f"{var}/")
    finally:
        await database.aclose()


async def _check_files(database: Database, staging: Path, old: Path, gone: set[str]) -> None:
    async with database.read() as connection:
        files = await list_artifact_files(connection, old / "artifacts")
        files += await list_checkpoint_files(connection, old / "artifacts")
    for file in files:
        known = [place for place in file.places if place.is_relative_to(old)]
        is_here = any((staging / place.relative_to(old)).is_file() for place in known)
        if is_here or str(file.path) in gone:
            continue
        raise BackupError(f"the backup lacks {file.path}, which its database names")


async def _move_paths(connection: AsyncConnection, old: str, new: str) -> None:
    """Let rows name files where they are now."""
    for column in (checkpoint.c.path, attempt.c.resume_checkpoint):
        query = select(column).where(column.startswith(old, autoescape=True)).distinct()
        for value in (await connection.scalars(query)).all():
            moved = update(column.table).where(column == value)
            await connection.execute(moved.values({column.name: new + value.removeprefix(old)}))
    for row in (await connection.execute(select(job.c.id, job.c.spec, job.c.result))).all():
        spec, result = _moved(row.spec, old, new), _moved(row.result, old, new)
        if (spec, result) != (row.spec, row.result):
            mine = update(job).where(job.c.id == row.id)
            await connection.execute(mine.values(spec=spec, result=result))


def _moved(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return new + value.removeprefix(old) if value.startswith(old) else value
    if isinstance(value, dict):
        return {key: _moved(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, old, new) for item in value]
    return value


def _move_in(staging: Path, var: Path, clock: Clock) -> Path | None:
    for folder in [path for path in staging.rglob("*") if path.is_dir()]:
        sync_folder(folder)
    sync_folder(staging)
    aside = None
    if var.is_dir() and any(var.iterdir()):
        aside = var.with_name(f"{var.name}.before-{clock.now():%Y%m%dT%H%M%S}")
        var.rename(aside)
    elif var.is_dir():
        var.rmdir()
    try:
        staging.rename(var)
    except OSError:
        if aside is not None:
            aside.rename(var)
        raise
    sync_folder(var.parent)
    return aside


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
