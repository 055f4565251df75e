"""A run in one file: a gzipped tar whose first member, the manifest, pins the hash of the rest.

The same run gives the same bytes. Reading trusts nothing: names, sizes and hashes must be those of
the manifest, and nothing appears in its place before everything was checked.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import anyio.to_thread
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from rl.training.run_places import RUN_ID, RunPlaces, check_at_rest
from utils.clock import Clock, new_id
from utils.errors import QuartermasterError
from utils.persistence import experiments as tables
from utils.persistence.files import hash_file, sync_folder
from utils.persistence.run_facts import SHA256
from utils.persistence.run_queries import get_run
from utils.persistence.run_rows import dump_metrics, dump_run, restore_run

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.persistence.engine import Database

FORMAT, VERSION = "quartermaster-run", 1
MANIFEST, METRICS = "manifest.json", "metrics.jsonl"
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
"""No name and no time, so that equal runs are equal files; nothing else checks these bytes."""
MAX_MANIFEST_BYTES = 256 * 2**20
CHUNK = 2**20


class ArchiveError(QuartermasterError):
    """An archive is damaged, foreign or unsafe, or its run cannot be taken in; nothing was kept."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export came to."""

    path: Path
    run_id: str
    num_files: int
    size_bytes: int
    """Of the archive."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import came to."""

    run_id: str
    is_new: bool
    """False if this very run was here already; nothing was changed then."""


async def export_run(
    database: Database, places: RunPlaces, run_id: str, path: Path, *, clock: Clock
) -> Exported:
    """Write a run with its metrics, checkpoints, artifacts and report to one file.

    Args:
        database: Knows the run.
        places: Where its files lie.
        run_id: Which run.
        path: Where to write; whole or not at all.
        clock: Tells whether the run is at rest.

    Raises:
        RunNotFoundError: There is none.
        RunBusyError: Somebody still works on it.
        ArchiveError: A file of it is missing, or changed meanwhile; or the disk is full.
    """
    async with database.read() as connection:
        check_at_rest(await get_run(connection, run_id), clock)
    async with _described(database, places, run_id) as (manifest, sources):
        size = await anyio.to_thread.run_sync(_write_archive, path, manifest, sources)
    return Exported(path=path, run_id=run_id, num_files=len(sources), size_bytes=size)


async def import_run(
    database: Database, places: RunPlaces, path: Path, *, clock: Clock
) -> Imported:
    """Take in a run that was exported elsewhere, or do nothing if this very run is here.

    Args:
        database: Where its rows go; it keeps its id, its models become next versions.
        places: Where its files go.
        path: The archive.
        clock: Tells when.

    Raises:
        ArchiveError: The archive is damaged, foreign or unsafe, or another run has its id; nothing
            is left behind.
    """
    staging = places.runs / f".import-{new_id(clock)}"
    try:
        manifest = await anyio.to_thread.run_sync(_unpack, path, staging)
        async with database.read() as connection:
            known = await _is_known(connection, manifest["run_id"])
        if known:
            await _check_same(database, places, manifest)
        else:
            await _take_in(_Desk(database, places, clock), manifest, staging)
    finally:
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(staging, ignore_errors=True))
    return Imported(run_id=manifest["run_id"], is_new=not known)


@dataclass(frozen=True)
class _Desk:
    """Where a run is taken in."""

    database: Database
    places: RunPlaces
    clock: Clock


@contextlib.asynccontextmanager
async def _described(
    database: Database, places: RunPlaces, run_id: str
) -> AsyncIterator[tuple[dict[str, Any], dict[str, Path]]]:
    """Give the manifest of a run, and where each of its files lies meanwhile."""
    folder = places.folder(run_id)
    aside = places.runs / f".export-{uuid.uuid4()}"
    metrics = aside / METRICS
    aside.mkdir(parents=True)
    try:
        async with database.read() as connection:
            rows = await dump_run(connection, run_id)
            with metrics.open("w", encoding="utf-8") as file:
                async for batch in dump_metrics(connection, run_id):
                    file.writelines(json.dumps(row) + "\n" for row in batch)
        _make_paths_relative(rows, folder)
        sources = {METRICS: metrics, **_files_of(folder)}
        for row in rows["beside"]["run_artifact"]:
            sources[f"artifacts/{row['sha256']}"] = places.artifacts.path(row["sha256"])
        files = await anyio.to_thread.run_sync(_describe, sources)
        header = {"format": FORMAT, "version": VERSION, "run_id": run_id}
        yield {**header, "rows": rows, "files": files}, sources
    finally:
        shutil.rmtree(aside)


def _make_paths_relative(rows: Mapping[str, Any], folder: Path) -> None:
    for row in rows["beside"]["checkpoint"]:
        place = Path(row["path"])
        if place.is_file() and place.absolute().is_relative_to(folder.absolute()):
            row["path"] = place.absolute().relative_to(folder.absolute()).as_posix()
        else:  # removed, or kept where this database keeps nothing
            row.update(path="", state="deleted", pinned=False)
    rows["beside"]["checkpoint"].sort(key=lambda row: (row["fence"], row["step"]))


def _files_of(folder: Path) -> dict[str, Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = {path: path.relative_to(folder).as_posix() for path in files}
    return {f"run/{name}": path for path, name in names.items() if not name.endswith(".tmp")}


def _describe(sources: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    return {
        name: {"sha256": hash_file(path), "size_bytes": path.stat().st_size}
        for name, path in sources.items()
    }


def _write_archive(path: Path, manifest: Mapping[str, Any], sources: Mapping[str, Path]) -> int:
    content = json.dumps(manifest, indent=1, sort_keys=True).encode()
    aside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            with (
                gzip.GzipFile("", "wb", 9, file, mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
            ):
                _add(archive, MANIFEST, len(content), io.BytesIO(content))
                for name, place in sources.items():
                    with place.open("rb") as source:
                        _add(archive, name, manifest["files"][name]["size_bytes"], source)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
        return path.stat().st_size
    except OSError as error:
        raise ArchiveError(f"{path} could not be written ({error.strerror or error})") from error
    finally:
        aside.unlink(missing_ok=True)


def _add(archive: tarfile.TarFile, name: str, size: int, source: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    archive.addfile(member, source)


def _unpack(path: Path, staging: Path) -> dict[str, Any]:
    """Unpack into the staging folder what hashes as the manifest says, and return the manifest."""
    with _explained(path), path.open("rb") as file:
        if file.read(len(GZIP_HEADER)) != GZIP_HEADER:
            raise ArchiveError(f"{path} is no archive of a run: its first bytes are not")
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as packed:
            with tarfile.open(fileobj=packed, mode="r|") as archive:
                manifest = _unpack_members(path, archive, staging)
            while packed.read(CHUNK):  # to the end, where the checksum of everything is
                pass
    return manifest


def _unpack_members(path: Path, archive: tarfile.TarFile, staging: Path) -> dict[str, Any]:
    members = iter(archive)
    manifest = _read_manifest(path, archive, next(members, None))
    expected = dict(manifest["files"])
    staging.mkdir(parents=True)
    for member in members:
        entry = expected.pop(member.name, None)
        if entry is None or not member.isreg():
            raise ArchiveError(f"{path}: it holds {member.name!r}, which its manifest does not")
        if not _unpack_one(archive, member, staging / member.name, entry):
            raise ArchiveError(f"{path}: {member.name} is damaged. Export or copy the run again")
    if expected:
        raise ArchiveError(f"{path} is cut: {min(expected)} is missing. Export the run again")
    return manifest


def _unpack_one(
    archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path, entry: Mapping[str, Any]
) -> bool:
    """Write a file and say whether it is what the manifest promised."""
    place.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    source = archive.extractfile(member)
    if source is None or member.size != entry["size_bytes"]:
        return False
    with place.open("xb") as target:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            target.write(chunk)
    return bool(digest.hexdigest() == entry["sha256"])


def _read_manifest(
    path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo | None
) -> dict[str, Any]:
    source = archive.extractfile(member) if member is not None else None
    if member is None or member.name != MANIFEST or source is None:
        raise ArchiveError(f"{path} is no archive of a run: it does not begin with {MANIFEST}")
    if member.size > MAX_MANIFEST_BYTES:
        raise ArchiveError(f"{path}: its manifest has {member.size} bytes, which is no manifest")
    manifest = json.loads(source.read())
    if (manifest["format"], manifest["version"]) != (FORMAT, VERSION):
        raise ArchiveError(
            f"{path} has format {manifest['format']} {manifest['version']}, this program reads "
            f"{FORMAT} {VERSION}"
        )
    if not RUN_ID.fullmatch(manifest["run_id"]):
        raise ArchiveError(f"{path}: {manifest['run_id']!r} cannot be the id of a run")
    for name in manifest["files"]:
        if not _is_safe(name):
            raise ArchiveError(f"{path}: {name!r} would leave the folder of the run; refused")
    return dict(manifest)


def _is_safe(name: str) -> bool:
    if name == METRICS:
        return True
    root, _, rest = name.partition("/")
    if root == "artifacts":
        return SHA256.fullmatch(rest) is not None
    return root == "run" and _stays_inside(rest)


def _stays_inside(name: str) -> bool:
    parts = name.split("/")
    return not any(part in {"", ".", ".."} or "\\" in part or "\0" in part for part in parts)


async def _take_in(desk: _Desk, manifest: dict[str, Any], staging: Path) -> None:
    places, run_id = desk.places, manifest["run_id"]
    folder, unpacked = places.folder(run_id), staging / "run"
    unpacked.mkdir(exist_ok=True)
    with _explained(staging):
        _make_paths_absolute(manifest, folder)
    stored = await anyio.to_thread.run_sync(_store_artifacts, places, manifest, staging)
    placed = False
    try:
        with _explained(staging), (staging / METRICS).open(encoding="utf-8") as lines:
            async with desk.database.write() as connection:
                metrics = (json.loads(line) for line in lines)
                rows = manifest["rows"]
                await restore_run(connection, run_id, rows, metrics, clock=desk.clock)
                _clear(folder, staging)
                unpacked.replace(folder)
                placed = True
                sync_folder(places.runs)
    except BaseException:
        if placed:
            shutil.rmtree(folder)
        for sha256, touched_at in stored.items():
            places.artifacts.remove(sha256, touched_by=touched_at)
        raise


def _clear(folder: Path, staging: Path) -> None:
    """Move away what lies where the run goes: no row knows it, so a killed import left it."""
    if folder.exists():
        folder.replace(staging / "left_behind")


async def _is_known(connection: AsyncConnection, run_id: str) -> bool:
    return (
        await connection.scalar(select(tables.run.c.id).where(tables.run.c.id == run_id))
        is not None
    )


async def _check_same(database: Database, places: RunPlaces, manifest: dict[str, Any]) -> None:
    run_id = manifest["run_id"]
    async with database.read() as connection:
        run = tables.run
        deleted_at = await connection.scalar(select(run.c.deleted_at).where(run.c.id == run_id))
    if deleted_at is not None:
        raise ArchiveError(
            f"run {run_id} was deleted here and is not swept yet: run `gc --grace-days 0` first"
        )
    async with _described(database, places, run_id) as (described, _):
        ours = json.loads(json.dumps(described))
    for part in ("rows", "files"):
        with _explained(places.folder(run_id)):
            mine, other = ours[part], dict(manifest[part])
        different = sorted(name for name in {*mine, *other} if mine.get(name) != other.get(name))
        if different:
            raise ArchiveError(
                f"run {run_id} is here already, and not the same: {part} differ in "
                f"{', '.join(different[:3])}. Delete it here first, or keep it"
            )


def _make_paths_absolute(manifest: Mapping[str, Any], folder: Path) -> None:
    """Point the rows of checkpoints to where their files go, once these are proved to be theirs."""
    for row in manifest["rows"]["beside"]["checkpoint"]:
        if row["state"] != "ready":
            continue
        name = PurePosixPath("run", row["path"]).as_posix()
        if manifest["files"].get(name, {}).get("sha256") != row["sha256"]:
            raise ArchiveError(f"checkpoint {row['path']!r} is not among the files; refused")
        row["path"] = str(folder / row["path"])
    held = {name.removeprefix("artifacts/") for name in manifest["files"]}
    for row in [*manifest["rows"]["beside"]["run_artifact"], *manifest["rows"]["models"]]:
        if row["sha256"] not in held:
            raise ArchiveError(f"artifact {row['sha256']} is not among the files; refused")


def _store_artifacts(
    places: RunPlaces, manifest: Mapping[str, Any], staging: Path
) -> dict[str, float]:
    """Put the artifacts into the store; return those that were not there, with their times."""
    store, added = places.artifacts, {}
    for name in manifest["files"]:
        root, _, sha256 = name.partition("/")
        if root == "artifacts":
            is_new = not store.holds(sha256)
            store.put((staging / name).read_bytes())
            if is_new:
                added[sha256] = store.touched_at(sha256)
    return added


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what reading of foreign bytes can raise into one error."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArchiveError(f"{path} is damaged ({error}). Export or copy the run again") from error
    except OSError as error:
        raise ArchiveError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, SQLAlchemyError) as error:
        raise ArchiveError(f"{path}: its manifest is malformed ({error})") from error
