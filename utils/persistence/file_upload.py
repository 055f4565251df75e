"""A file that comes in pieces from elsewhere and appears only once it is whole and as promised."""

from __future__ import annotations

import hashlib
import os
import uuid
from typing import TYPE_CHECKING

from utils.persistence.errors import ArtifactCorruptError
from utils.persistence.files import sync_folder

if TYPE_CHECKING:
    from pathlib import Path


class FileUpload:
    """Pieces on their way; end it with `keep` or `discard`."""

    def __init__(self, place: Path, sha256: str) -> None:
        """Open a file aside.

        Args:
            place: Where the file shall be; the folder is made if absent.
            sha256: What it must hash to.

        Raises:
            OSError: The disk is full or not writable.
        """
        self._place = place
        self._sha256 = sha256
        self._hash = hashlib.sha256()
        place.parent.mkdir(parents=True, exist_ok=True)
        self._aside = place.with_name(f".{place.name}.{uuid.uuid4().hex}.tmp")
        self._file = self._aside.open("wb")

    def write(self, piece: bytes) -> None:
        """Add the next bytes.

        Args:
            piece: In order.

        Raises:
            OSError: The disk is full or not writable.
        """
        self._hash.update(piece)
        self._file.write(piece)

    def keep(self) -> None:
        """Make the file appear, durably.

        Raises:
            ArtifactCorruptError: It has another hash; nothing appeared.
            OSError: The disk is full or not writable; nothing appeared.
        """
        found = self._hash.hexdigest()
        if found != self._sha256:
            raise ArtifactCorruptError(
                f"these bytes have the sha256 {found}, not {self._sha256}: send them again"
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._aside.replace(self._place)
        sync_folder(self._place.parent)

    def discard(self) -> None:
        """Leave nothing behind but what was kept."""
        self._file.close()
        self._aside.unlink(missing_ok=True)
