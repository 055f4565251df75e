"""Where attempts find files when machines share the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utils.persistence.artifact_store import ArtifactStore


@dataclass(frozen=True, kw_only=True)
class SharedPlaces:
    """What every attempt of a worker is told, and what its supervisor looks into."""

    var: str
    """Folder for generated state on the machine where attempts run, an absolute path."""
    artifacts: str
    """Where attempts find artifacts and checkpoints, a URL or a folder."""
    store: ArtifactStore
    """The same, for the supervisor."""
