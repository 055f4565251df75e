"""Where a job finds its files: as its spec says, or as the worker's machine does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from utils.persistence.artifact_store import ArtifactStore, DirectoryArtifactStore
from utils.persistence.http_artifact_store import open_artifact_store


class PlaceContext(Protocol):
    """What the supervisor says about files."""

    @property
    def var(self) -> Path | None:
        """Folder for generated state on this machine; None: as the spec says."""
        ...

    @property
    def artifacts(self) -> str | None:
        """Where machines that share the work find artifacts and checkpoints, or None."""
        ...


def open_artifacts(spec: Mapping[str, Any], context: PlaceContext) -> ArtifactStore:
    """Return the store that a job reads from and leaves its results in.

    Args:
        spec: With `artifact_root`, a folder on the machine that submitted the job.
        context: Of the attempt.
    """
    root = Path(spec["artifact_root"]) if context.var is None else context.var / "artifacts"
    if context.artifacts is None:
        return DirectoryArtifactStore(root)
    return open_artifact_store(context.artifacts, root)
