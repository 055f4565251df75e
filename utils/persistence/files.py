"""Files that are either whole or absent: write aside, fsync, rename, fsync the folder."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> str:
    """Write a file so that no reader and no crash ever sees half of it.

    Args:
        path: Where the file shall be; the folder is made if absent.
        content: All of its bytes.

    Returns:
        The sha256 of the content, in hexadecimal.

    Raises:
        OSError: The disk is full or not writable; the former file, if any, is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut.

    Args:
        folder: The folder whose entries changed.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
