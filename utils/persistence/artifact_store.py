"""Immutable bytes under the name of their hash."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Protocol

from utils.persistence.errors import ArtifactCorruptError, ArtifactMissingError
from utils.persistence.file_upload import FileUpload
from utils.persistence.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path


class ArtifactStore(Protocol):
    """Where artifacts lie; every store gives the same bytes for the same hash."""

    def put(self, content: bytes) -> str:
        """Keep bytes and return their sha256; known content costs nothing.

        Args:
            content: All of it.
        """
        ...

    def holds(self, sha256: str) -> bool:
        """Say whether bytes are stored under this hash.

        Args:
            sha256: As `put` returned it.
        """
        ...

    def get(self, sha256: str) -> bytes:
        """Load bytes and prove their hash.

        Args:
            sha256: As `put` returned it.

        Raises:
            ArtifactMissingError: Nothing is stored under this hash.
            ArtifactCorruptError: The stored bytes have another hash.
        """
        ...

    def path(self, sha256: str) -> Path:
        """Return where the bytes lie, for readers that want a file; not verified.

        Args:
            sha256: As `put` returned it.

        Raises:
            ArtifactMissingError: Nothing is stored under this hash.
        """
        ...

    def close(self) -> None:
        """Let go of connections; no use afterwards."""
        ...


class DirectoryArtifactStore:
    """Artifacts as files of one directory, spread over folders by the first two digits."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, content: bytes) -> str:
        """Keep bytes and return their sha256; known content costs nothing.

        Args:
            content: All of it.

        Raises:
            OSError: The disk is full or not writable; nothing is left behind.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        place = self._place(sha256)
        if not _is_there(place, sha256):
            write_atomically(place, content)
        return sha256

    def holds(self, sha256: str) -> bool:
        """Say whether bytes are stored under this hash; not verified.

        Args:
            sha256: As `put` returned it.
        """
        return is_sha256(sha256) and self._place(sha256).is_file()

    def renew(self, sha256: str) -> bool:
        """Say whether the bytes are there and whole; they then count as put just now.

        Args:
            sha256: As `put` returned it.
        """
        return is_sha256(sha256) and _is_there(self._place(sha256), sha256)

    def receive(self, sha256: str) -> FileUpload:
        """Begin to keep bytes that come piece by piece; nobody sees them before the last.

        Args:
            sha256: What they must hash to.

        Raises:
            ArtifactMissingError: It is no sha256.
            OSError: The disk is full or not writable.
        """
        return FileUpload(self._place(sha256), sha256)

    def touched_at(self, sha256: str) -> float:
        """Return when somebody last put these bytes, in seconds since 1970.

        Args:
            sha256: As `put` returned it.

        Raises:
            ArtifactMissingError: Nothing is stored under this hash.
        """
        return self.path(sha256).stat().st_mtime

    def list_hashes(self) -> list[str]:
        """Return the hashes of all that is stored, sorted."""
        files = self._root.glob("[0-9a-f][0-9a-f]/*")
        return sorted(path.name for path in files if is_sha256(path.name))

    def remove(self, sha256: str, *, touched_by: float) -> bool:
        """Forget bytes, unless somebody put them again since; gone ones stay gone.

        The file is set aside before its time is read, so that whoever puts the same bytes in this
        moment either writes them anew or is seen here.

        Args:
            sha256: As `put` returned it.
            touched_by: The latest `touched_at` that may be removed.

        Returns:
            Whether nothing is stored under this hash now.
        """
        place = self._place(sha256)
        aside = place.with_name(f".{sha256}.removed")
        try:
            place.replace(aside)
        except FileNotFoundError:
            return True
        if aside.stat().st_mtime > touched_by:
            aside.replace(place)
            return False
        aside.unlink()
        return True

    def get(self, sha256: str) -> bytes:
        """Load bytes and prove their hash.

        Args:
            sha256: As `put` returned it.

        Raises:
            ArtifactMissingError: Nothing is stored under this hash.
            ArtifactCorruptError: The stored bytes have another hash.
        """
        place = self.path(sha256)
        content = place.read_bytes()
        if _hash(content) != sha256:
            raise ArtifactCorruptError(
                f"artifact {sha256} does not have the hash of its name (now {_hash(content)}): "
                "delete its file from the folder of artifacts and store it again"
            )
        return content

    def path(self, sha256: str) -> Path:
        """Return where the bytes lie, for readers that want a file; not verified.

        Args:
            sha256: As `put` returned it.

        Raises:
            ArtifactMissingError: Nothing is stored under this hash.
        """
        place = self._place(sha256)
        if not place.is_file():
            raise ArtifactMissingError(f"no artifact {sha256} is stored: was it removed?")
        return place

    def close(self) -> None:
        """Nothing is open."""

    def _place(self, sha256: str) -> Path:
        if not is_sha256(sha256):
            raise ArtifactMissingError(f"{sha256!r} is not a sha256 in lower-case hexadecimal")
        return self._root / sha256[:2] / sha256


def is_sha256(name: str) -> bool:
    """Say whether a name can be that of an artifact.

    Args:
        name: Any.
    """
    return re.fullmatch(r"[0-9a-f]{64}", name) is not None


def _is_there(place: Path, sha256: str) -> bool:
    """Say whether a file is whole, and tell whoever collects garbage that it is wanted."""
    try:
        os.utime(place)
        return _hash(place.read_bytes()) == sha256
    except FileNotFoundError:
        return False


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
