"""The files that rows of the database name, and what may be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from utils.persistence.files import hash_file
from utils.persistence.jobs import checkpoint
from utils.persistence.run_removal import list_wanted_artifacts

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

TENSORS, PIN = ".safetensors", ".pin"


@dataclass(frozen=True, kw_only=True)
class NamedFile:
    """A file that a row names."""

    path: Path
    sha256: str
    checkpoint_id: int | None = None
    """Of its row, if it is a checkpoint; else it is an artifact."""

    def find_fault(self) -> str | None:
        """Say what is wrong with the file, and with the tensors beside it if it names some."""
        fault = _find_fault(self.path, self.sha256)
        tensors = _tensors_of(self.path) if fault is None and self.checkpoint_id else None
        return fault if tensors is None else _find_fault(*tensors)

    def parts(self) -> Iterator[Path]:
        """Give the files that belong together: this one, and its tensors and pin, if there."""
        yield self.path
        if self.checkpoint_id is not None:
            beside = (self.path.with_suffix(suffix) for suffix in (TENSORS, PIN))
            yield from (path for path in beside if path.is_file())


async def list_artifact_files(connection: AsyncConnection, root: Path) -> list[NamedFile]:
    """List the artifacts that rows name.

    Args:
        connection: An open transaction.
        root: The folder of artifacts.
    """
    hashes = sorted(await list_wanted_artifacts(connection))
    return [NamedFile(path=root / sha256[:2] / sha256, sha256=sha256) for sha256 in hashes]


async def list_checkpoint_files(connection: AsyncConnection) -> list[NamedFile]:
    """List the checkpoints that rows call ready.

    Args:
        connection: An open transaction.
    """
    table = checkpoint
    query = select(table.c.id, table.c.path, table.c.sha256).where(table.c.state == "ready")
    rows = await connection.execute(query.order_by(table.c.id))
    return [NamedFile(path=Path(row.path), sha256=row.sha256, checkpoint_id=row.id) for row in rows]


def _find_fault(path: Path, sha256: str) -> str | None:
    try:
        found = hash_file(path)
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return None if found == sha256 else f"{path} does not have the hash that was recorded"


def _tensors_of(manifest: Path) -> tuple[Path, str] | None:
    if manifest.suffix != ".json":  # a task's checkpoint may be one file of any kind
        return None
    try:
        content = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return None
    sha256 = content.get("tensors_sha256") if isinstance(content, dict) else None
    return None if sha256 is None else (manifest.with_suffix(TENSORS), str(sha256))
