"""A tar whose last member, the manifest, pins the hash of all others.

Whole under its name or not there at all; reading trusts nothing but the manifest's hashes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from utils.errors import QuartermasterError
from utils.persistence.files import sync_folder

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 256 << 20
CHUNK = 1 << 20


class BackupError(QuartermasterError):
    """A backup cannot be made, or is damaged or foreign; what was there is untouched."""


class ArchiveWriter:
    """Writes members beside the final name; `writing` puts the whole file in place."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, name: str, source: Path) -> None:
        """Add a file as it is now; of one that grows meanwhile, what was there.

        Args:
            name: In the archive.
            source: On disk.

        Raises:
            FileNotFoundError: It is not there; nothing was added.
            BackupError: It shrank meanwhile.
        """
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            reader = _HashingReader(file)
            try:
                self._tar.addfile(_describe(name, size), cast("IO[bytes]", reader))
            except OSError as error:
                raise BackupError(f"{source}: {error}. Free some space or try again") from error
        self.files[name] = {"sha256": reader.sha256, "size_bytes": size}

    def finish(self, header: Mapping[str, Any]) -> None:
        """Add the manifest.

        Args:
            header: What else it says.
        """
        content = json.dumps({**header, "files": self.files}, indent=1).encode()
        self._tar.addfile(_describe(MANIFEST, len(content)), io.BytesIO(content))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[ArchiveWriter]:
    """Write an archive; it appears, checked, when the block ends, and not if it raises.

    Args:
        path: Where it shall be.

    Raises:
        BackupError: The disk is full or not writable, or another process writes this file.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("ab") as file:
            if not _is_locked(file, aside):
                raise BackupError(f"{path}: another backup is being written there")
            file.seek(0)
            file.truncate()  # of a backup that was killed
            try:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    yield ArchiveWriter(tar)
                file.flush()
                os.fsync(file.fileno())
                read_archive(aside)
                aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
        sync_folder(path.parent)
    except OSError as error:
        raise BackupError(
            f"{path}: {error.strerror or error}. Free some space or choose another place"
        ) from error


def read_archive(path: Path, folder: Path | None = None) -> dict[str, Any]:
    """Return the manifest once all members were checked against it.

    Args:
        path: The archive.
        folder: Where to unpack the members, if they are wanted; it fills before the check ends.

    Raises:
        BackupError: It is damaged or foreign.
    """
    try:
        with tarfile.open(path, mode="r:") as tar:
            found, manifest = _read_members(path, tar, folder)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BackupError(f"{path} is no whole backup: {error}. Copy or make it again") from error
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror or error}") from error
    if not isinstance(manifest, dict):
        raise BackupError(f"{path} is no whole backup: its end is missing. Copy or make it again")
    _compare(path, found, manifest.get("files"))
    return manifest


def _read_members(
    path: Path, tar: tarfile.TarFile, folder: Path | None
) -> tuple[dict[str, dict[str, Any]], Any]:
    found: dict[str, dict[str, Any]] = {}
    manifest: Any = None
    for member in tar:
        if manifest is not None:
            raise BackupError(f"{path}: something follows its manifest")
        content = _open_member(path, tar, member)
        if member.name == MANIFEST:
            manifest = json.loads(content.read(MAX_MANIFEST_BYTES))
        else:
            place = None if folder is None else folder / member.name
            found[member.name] = _take(content, place)
    return found, manifest


def _is_locked(file: IO[bytes], path: Path) -> bool:
    """Lock a file; False if somebody else has, or has just put it in place."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _compare(path: Path, found: Mapping[str, Any], promised: Any) -> None:
    if not isinstance(promised, dict):
        raise BackupError(f"{path}: its manifest names no files; it is no backup")
    wrong = sorted(name for name in {*found, *promised} if found.get(name) != promised.get(name))
    if wrong:
        raise BackupError(f"{path} is damaged: {wrong[0]} is not as it was. Copy it again")


def _open_member(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    parts = PurePosixPath(member.name).parts
    is_safe = bool(parts) and ".." not in parts and not member.name.startswith("/")
    content = tar.extractfile(member) if member.isreg() and is_safe else None
    if content is None or (member.size > MAX_MANIFEST_BYTES and member.name == MANIFEST):
        raise BackupError(f"{path}: its member {member.name!r} is no file of ours")
    return content


def _take(content: IO[bytes], place: Path | None) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        file = None
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(place.open("xb"))
        while piece := content.read(CHUNK):
            digest.update(piece)
            size += len(piece)
            if file is not None:
                file.write(piece)
        if file is not None:
            file.flush()
            os.fsync(file.fileno())
    return {"sha256": digest.hexdigest(), "size_bytes": size}


def _describe(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


class _HashingReader:
    """Hashes what is read through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        self._digest.update(piece)
        return piece

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
