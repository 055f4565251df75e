"""How an agent's versions do in this process, and what its canary has seen."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ai_agents.registry_versions import Phase
from orchestration.delegation import circuit_breaker
from orchestration.endpoints.parts import Conductor
from orchestration.endpoints.security import Anyone
from orchestration.endpoints.shapes import AgentName, may_fail
from orchestration.orchestrator import Orchestrator
from orchestration.rollout.figures import TrialFigures

router = APIRouter(prefix="/v1/agents", tags=["agents"], responses=may_fail(404))


class VersionStanding(BaseModel):
    """How one version does."""

    version: int
    phase: Phase = Field(description="How far it is loaded.")
    health: Literal["starting", "ready", "degraded", "closed"] | None = Field(
        description="Degraded: its expert answers, because the policy failed last time. None where "
        "it is not loaded."
    )
    reason: str = Field(description="Of a health other than ready.")
    circuit: circuit_breaker.Phase = Field(
        description="Open: the policy kept failing and is not asked for a while."
    )
    has_drifted: bool = Field(description="Whether its requests look different from the first.")


class AgentStanding(BaseModel):
    """How an agent does in the process that answers; others have figures of their own."""

    versions: list[VersionStanding] = Field(description="Oldest first.")
    trial: TrialFigures | None = Field(description="Of the canary, while one runs.")


@router.get("/{name:word}/standing", dependencies=[Anyone])
async def get_standing(name: AgentName, orchestrator: Conductor) -> AgentStanding:
    """Return how an agent's versions do here: loaded or not, healthy, asked, drifted."""
    found = await orchestrator.agent(name)
    return AgentStanding(
        versions=[await _standing(orchestrator, name, one.version) for one in found.versions],
        trial=orchestrator.rollout.figures(name),
    )


async def _standing(orchestrator: Orchestrator, name: str, version: int) -> VersionStanding:
    agent = orchestrator.registry.find_ready(name, version)
    health = None if agent is None else await agent.health()
    return VersionStanding(
        version=version,
        phase=orchestrator.registry.phase(name, version),
        health=None if health is None else health.status,
        reason="" if health is None else health.reason,
        circuit=orchestrator.circuits.phase(name, str(version)),
        has_drifted=orchestrator.supervision.drift.has_drifted(name, str(version)),
    )
