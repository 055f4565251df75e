"""The files that rows of the database name, and what may be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    shared: Path | None = None
    """Folder of artifacts, where a checkpoint of another machine lies by its hash."""

    @property
    def place(self) -> Path:
        """Where the file is on this machine; where it should be, if it is not there."""
        copy = None if self.shared is None else _by_hash(self.shared, self.sha256)
        return self.path if copy is None or self.path.is_file() or not copy.is_file() else copy

    @property
    def places(self) -> tuple[Path, ...]:
        """Where it may lie."""
        if self.shared is None:
            return (self.path,)
        return self.path, _by_hash(self.shared, self.sha256)

    def find_fault(self) -> str | None:
        """Say what is wrong with the file, and with the tensors beside it if it names some."""
        fault = _find_fault(self.place, self.sha256)
        if fault is not None or self.checkpoint_id is None:
            return fault
        faults = (_find_fault(path, sha256) for path, sha256 in self._named())
        return next((one for one in faults if one is not None), None)

    def parts(self) -> Iterator[Path]:
        """Give the files that belong together: this one, and its tensors and pin, if there."""
        yield self.place
        if self.checkpoint_id is not None:
            beside = (
                [path for path, _ in self._named()]
                if self.place != self.path
                else [self.path.with_suffix(suffix) for suffix in (TENSORS, PIN)]
            )
            yield from (path for path in beside if path.is_file())

    def _named(self) -> list[tuple[Path, str]]:
        """Return the files, and their hashes, that a manifest names."""
        if self.path.suffix != ".json":  # a task's checkpoint may be one file of any kind
            return []
        manifest = _read_manifest(self.place)
        tensors = manifest.get("tensors_sha256")
        if tensors is None:
            return []
        if self.shared is None or self.place == self.path:
            return [(self.path.with_suffix(TENSORS), str(tensors))]
        hashes = [str(tensors), *map(str, dict(manifest.get("beside", {})).values())]
        return [(_by_hash(self.shared, one), one) for one in hashes]


async def list_artifact_files(connection: AsyncConnection, root: Path) -> list[NamedFile]:
    """List the artifacts that rows name.

    Args:
        connection: An open transaction.
        root: The folder of artifacts.
    """
    hashes = sorted(await list_wanted_artifacts(connection))
    return [NamedFile(path=_by_hash(root, sha256), sha256=sha256) for sha256 in hashes]


async def list_checkpoint_files(connection: AsyncConnection, root: Path) -> list[NamedFile]:
    """List the checkpoints that rows call ready.

    Args:
        connection: An open transaction.
        root: The folder of artifacts, which holds those of other machines.
    """
    table = checkpoint
    query = select(table.c.id, table.c.path, table.c.sha256).where(table.c.state == "ready")
    rows = await connection.execute(query.order_by(table.c.id))
    return [
        NamedFile(path=Path(row.path), sha256=row.sha256, checkpoint_id=row.id, shared=root)
        for row in rows
    ]


def _by_hash(root: Path, sha256: str) -> Path:
    return root / sha256[:2] / sha256


def _find_fault(path: Path, sha256: str) -> str | None:
    try:
        found = hash_file(path)
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return None if found == sha256 else f"{path} does not have the hash that was recorded"


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
