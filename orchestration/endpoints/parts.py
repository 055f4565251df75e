"""What routes are given: the orchestrator, the metric families, the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from orchestration.orchestrator import Orchestrator
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import Database


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """Behind the doors."""

    orchestrator: Orchestrator
    metrics: CollectorRegistry
    database: Database
    artifacts: DirectoryArtifactStore


def get_parts(request: Request) -> ApiParts:
    """Return what the app was made with.

    Args:
        request: Any of the app's.
    """
    return cast("ApiParts", request.app.state.parts)


def get_orchestrator(request: Request) -> Orchestrator:
    """Return the orchestrator that the app was made with.

    Args:
        request: Any of the app's.
    """
    return get_parts(request).orchestrator


def get_artifacts(request: Request) -> DirectoryArtifactStore:
    """Return the artifacts that the app was made with.

    Args:
        request: Any of the app's.
    """
    return get_parts(request).artifacts


Parts = Annotated[ApiParts, Depends(get_parts)]
Conductor = Annotated[Orchestrator, Depends(get_orchestrator)]
Artifacts = Annotated[DirectoryArtifactStore, Depends(get_artifacts)]
