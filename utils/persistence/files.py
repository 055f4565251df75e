"""Files that are either whole or absent: write aside, fsync, rename, fsync the folder."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from utils.errors import ConfigError

T = TypeVar("T")


def make_folder(folder: Path) -> None:
    """Make the folder that a person named, and those above it, if absent.

    Args:
        folder: Which.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {folder} ({error.strerror}): name one that can be written"
        ) from error


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


def read_json(path: Path, read: Callable[[Any], T]) -> T:
    """Read what a file of our own holds.

    Args:
        path: The file, which exists.
        read: Makes it from plain JSON.

    Raises:
        ConfigError: The file is damaged; the message names it and says what to do.
    """
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(f"{path} is damaged ({error}): move it away and go on") from error


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
