"""Deleting runs in two phases: a tombstone first, and the files a grace period later.

Killed anywhere, the next collection goes on: rows leave only after their files.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import anyio.to_thread

from rl.training.checkpoint_files import PIN, TENSORS, pin
from rl.training.run_places import RunPlaces, check_at_rest
from rl.training.shared_checkpoints import list_named
from utils.errors import ConfigError
from utils.persistence import run_removal as rows
from utils.persistence.run_queries import get_run
from utils.persistence.run_removal import Kind

if TYPE_CHECKING:
    from utils.clock import Clock
    from utils.persistence.engine import Database

DEFAULT_GRACE = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What a collection of garbage came to."""

    marked: int
    """Unwanted artifacts and folders that have a tombstone from now on."""
    runs: tuple[str, ...]
    """Deleted runs whose rows and files are gone now."""
    artifacts: tuple[str, ...]
    """Hashes of artifacts that are gone now."""
    folders: tuple[str, ...]
    """Folders of no run that are gone now."""
    kept: tuple[str, ...]
    """Deleted runs of which checkpoints stay, because another run or a model is of them."""


async def delete_run(database: Database, run_id: str, *, confirm: str, clock: Clock) -> None:
    """Delete a run for everybody who looks; its files stay until a collection after the grace.

    Args:
        database: Knows the run.
        run_id: Which run.
        confirm: The same id again.
        clock: Tells when.

    Raises:
        ConfigError: The confirmation is not the run's id.
        RunNotFoundError: There is none.
        RunBusyError: Somebody still works on it.
        RunInUseError: An alias means a model of it.
    """
    if confirm != run_id:
        raise ConfigError(f"confirm={confirm!r}: to delete run {run_id}, repeat its whole id")
    async with database.write() as connection:
        check_at_rest(await get_run(connection, run_id), clock)
        await rows.mark_run(connection, run_id, clock.now())


async def keep_promoted(database: Database, agent: str, version: int) -> None:
    """Pin the checkpoint that a model was exported from, if it is still there.

    Args:
        database: Knows the model.
        agent: Whose model.
        version: Which of its versions.
    """
    async with database.read() as connection:
        files = await rows.list_files_behind(connection, agent, version)
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            await anyio.to_thread.run_sync(pin, Path(file.path))
    async with database.write() as connection:
        await rows.pin_checkpoints(connection, [file.path for file in files])


async def collect_garbage(
    database: Database,
    places: RunPlaces,
    *,
    clock: Clock,
    grace: timedelta = DEFAULT_GRACE,
) -> Collected:
    """Mark what nothing refers to, and remove what was marked long enough ago.

    Args:
        database: Knows what is wanted.
        places: Where files lie.
        clock: Tells the time, which file times are compared with.
        grace: How long unwanted things stay.

    Raises:
        ConfigError: The grace is negative.
    """
    if grace < timedelta(0):
        raise ConfigError(f"grace={grace}: choose 0 or more")
    marked = await mark_garbage(database, places, clock=clock)
    return await sweep_garbage(database, places, until=clock.now() - grace, marked=marked)


async def mark_garbage(database: Database, places: RunPlaces, *, clock: Clock) -> int:
    """Give a tombstone to each artifact and folder that no row refers to; take back others.

    Args:
        database: Knows what is wanted.
        places: Where files lie.
        clock: Tells when.

    Returns:
        How many are new.
    """
    artifacts = set(await anyio.to_thread.run_sync(places.artifacts.list_hashes))
    folders = set(await anyio.to_thread.run_sync(_list_folders, places.runs))
    shared = await _list_shared(database, places)
    marked = 0
    async with database.write() as connection:
        wanted = {
            Kind.ARTIFACT: await rows.list_wanted_artifacts(connection) | shared,
            Kind.FOLDER: await rows.list_known_runs(connection),
        }
        for kind, found in ((Kind.ARTIFACT, artifacts), (Kind.FOLDER, folders)):
            unwanted = found - wanted[kind]
            stale = set(await rows.list_tombstones(connection, kind)) - unwanted
            await rows.drop_tombstones(connection, kind, stale)
            marked += await rows.add_tombstones(connection, kind, unwanted, clock.now())
    return marked


async def sweep_garbage(
    database: Database, places: RunPlaces, *, until: datetime, marked: int = 0
) -> Collected:
    """Remove deleted runs, and marked files that are still unwanted.

    Args:
        database: Knows what is wanted.
        places: Where files lie.
        until: Only what was marked by then.
        marked: For the answer.
    """
    async with database.read() as connection:
        due = await rows.list_deleted_runs(connection, until=until)
    swept = {run_id: await _sweep_run(database, places, run_id) for run_id in due}
    return Collected(
        marked=marked,
        runs=tuple(run_id for run_id, is_gone in swept.items() if is_gone),
        artifacts=await _sweep_artifacts(database, places, until),
        folders=await _sweep_folders(database, places, until),
        kept=tuple(run_id for run_id, is_gone in swept.items() if not is_gone),
    )


async def _sweep_run(database: Database, places: RunPlaces, run_id: str) -> bool:
    """Remove a run, or all of it but the checkpoints that others need; say whether it is gone."""
    async with database.read() as connection:
        wanted = await rows.list_wanted_checkpoints(connection)
        files = await rows.list_checkpoint_files(connection, run_id)
    kept = {PurePath(file.path).name for file in files if file.sha256 in wanted}
    await anyio.to_thread.run_sync(_remove_files, places.folder(run_id), kept)
    async with database.write() as connection:
        if kept:
            await rows.drop_checkpoints(connection, run_id, but=kept)
        else:
            await rows.drop_run(connection, run_id)
    return not kept


async def _sweep_artifacts(
    database: Database, places: RunPlaces, until: datetime
) -> tuple[str, ...]:
    gone = []
    async with database.read() as connection:
        due = await rows.list_tombstones(connection, Kind.ARTIFACT, until=until)
    shared = await _list_shared(database, places)  # newer ones are touched, so they stay
    for sha256 in due:
        async with database.write() as connection:  # nobody refers to it meanwhile
            wanted = await rows.list_wanted_artifacts(connection) | shared
            if sha256 not in wanted and places.artifacts.remove(
                sha256, touched_by=until.timestamp()
            ):
                gone.append(sha256)
            await rows.drop_tombstones(connection, Kind.ARTIFACT, [sha256])
    return tuple(gone)


async def _sweep_folders(database: Database, places: RunPlaces, until: datetime) -> tuple[str, ...]:
    gone = []
    async with database.read() as connection:
        due = await rows.list_tombstones(connection, Kind.FOLDER, until=until)
    for name in due:
        async with database.write() as connection:
            if name not in await rows.list_known_runs(connection):
                _remove_folder(places.runs / PurePath(name).name)
                gone.append(name)
            await rows.drop_tombstones(connection, Kind.FOLDER, [name])
    return tuple(gone)


async def _list_shared(database: Database, places: RunPlaces) -> set[str]:
    """Return the hashes of what checkpoints consist of that other machines may go on from."""
    async with database.read() as connection:
        ready = await rows.list_ready_checkpoints(connection)
    return await anyio.to_thread.run_sync(list_named, places.artifacts, ready)


def _list_folders(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    return [path.name for path in root.iterdir() if path.is_dir() and not path.is_symlink()]


def _remove_files(folder: Path, kept: set[str]) -> None:
    """Remove a folder, or all of its files but some checkpoints'."""
    if not kept:
        _remove_folder(folder)
        return
    stems = {PurePath(name).stem for name in kept}
    for path in folder.rglob("*"):
        is_kept = path.stem in stems and path.suffix in {".json", TENSORS, PIN}
        if not is_kept and not path.is_dir():
            path.unlink(missing_ok=True)


def _remove_folder(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
