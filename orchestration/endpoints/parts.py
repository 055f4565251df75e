"""What routes are given: the orchestrator, the jobs, the database and what else lies behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from orchestration.endpoints.callers import Callers
from orchestration.endpoints.late_doors import LateDoors
from orchestration.endpoints.outbox import Outbox
from orchestration.endpoints.reception import Reception
from orchestration.endpoints.streams import Streams
from orchestration.environment_sessions import EnvironmentSessions
from orchestration.executors.binding import TaskBinding
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.orchestrator import Orchestrator
from utils.clock import Clock
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import Database


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """Behind the doors."""

    orchestrator: Orchestrator
    reception: Reception
    """Where requests of all doors go to agents."""
    late: LateDoors
    """MCP and A2A."""
    metrics: CollectorRegistry
    database: Database
    callers: Callers
    store: SqlJobStore
    ledger: JobLedger
    outbox: Outbox
    artifacts: DirectoryArtifactStore
    kinds: Mapping[str, TaskBinding]
    """What kinds of jobs there are."""
    output_dir: Path
    """Where runs leave their files, and attempts their logs."""
    sessions: EnvironmentSessions
    streams: Streams
    clock: Clock
    wake: Callable[[], None]
    """Tells a worker of this process, if there is one, that a job waits."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that the server answers to, beside those of this machine."""

    def stop(self) -> None:
        """End what would keep connections open."""
        self.streams.stop()
        self.late.stop()


async def get_parts(request: Request) -> ApiParts:
    """Return what the app was made with.

    Args:
        request: Any of the app's.
    """
    return cast("ApiParts", request.app.state.parts)


async def get_orchestrator(request: Request) -> Orchestrator:
    """Return the orchestrator that the app was made with.

    Args:
        request: Any of the app's.
    """
    return (await get_parts(request)).orchestrator


async def get_artifacts(request: Request) -> DirectoryArtifactStore:
    """Return the artifacts that the app was made with.

    Args:
        request: Any of the app's.
    """
    return (await get_parts(request)).artifacts


Parts = Annotated[ApiParts, Depends(get_parts)]
Conductor = Annotated[Orchestrator, Depends(get_orchestrator)]
Artifacts = Annotated[DirectoryArtifactStore, Depends(get_artifacts)]
