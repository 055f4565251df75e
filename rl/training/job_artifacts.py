"""Where a step of a pipeline finds artifacts, on whatever machine it runs; no torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from utils.persistence.artifact_store import ArtifactStore, DirectoryArtifactStore
from utils.persistence.http_artifact_store import open_artifact_store


class ArtifactContext(Protocol):
    """What an attempt is told of places."""

    @property
    def var(self) -> Path | None:
        """Folder for generated state on this machine; None: as the spec says."""
        ...

    @property
    def artifacts(self) -> str | None:
        """Where machines that share the work find artifacts, or None."""
        ...


def artifacts_of(root: str, context: ArtifactContext) -> ArtifactStore:
    """Open the store of artifacts.

    Args:
        root: Its folder, as the spec says.
        context: Of the attempt, which may say otherwise.
    """
    kept = Path(root) if context.var is None else context.var / "artifacts"
    if context.artifacts is None:
        return DirectoryArtifactStore(kept)
    return open_artifact_store(context.artifacts, kept)
