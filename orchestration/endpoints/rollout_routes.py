"""Routes of how versions come into use: canary, gate, rollback, second answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from ai_agents.registry_store import ArtifactRecord
from orchestration.endpoints.parts import Conductor, Parts
from orchestration.endpoints.security import Admin, Anyone
from orchestration.endpoints.shapes import TEXT_PATTERN, AgentName, Limit, Whole, may_fail
from orchestration.rollout.gate import GateResult
from orchestration.rollout.plan import CanaryLimits, CanaryPlan
from utils.config import from_json
from utils.persistence.rollout_log import list_second_answers

router = APIRouter(prefix="/v1/agents", tags=["versions"], responses=may_fail(404, 409))
Reason = Annotated[str, Field(max_length=1000, pattern=TEXT_PATTERN)]
USUAL = CanaryLimits()


class Body(BaseModel):
    """Base of what is sent: nothing unknown, nothing infinite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Limits(Body):
    """What a challenger must not exceed."""

    window: Whole = Field(
        default=USUAL.window, ge=1, le=10_000, description="Its last so many requests are judged."
    )
    fewest: Whole = Field(
        default=USUAL.fewest, ge=1, le=10_000, description="Nothing is concluded from fewer."
    )
    most_errors: float = Field(
        default=USUAL.most_errors, ge=0, lt=1, description="Ratio above the champion's."
    )
    most_fallbacks: float = Field(
        default=USUAL.most_fallbacks, ge=0, lt=1, description="Ratio above the champion's."
    )
    most_slowdown: float = Field(
        default=USUAL.most_slowdown,
        ge=1,
        description="95th percentile of latency as a multiple of the champion's.",
    )
    slack_seconds: float = Field(
        default=USUAL.slack_seconds, ge=0, description="Latency beyond it that is let pass."
    )
    most_regret: float = Field(
        default=USUAL.most_regret,
        ge=0,
        le=2,
        description="Mean of the value that the champion would have had more, relative.",
    )


class Trial(Body):
    """Which share of the request keys the challenger shall get."""

    share: float = Field(ge=0, le=1)
    version: Annotated[Whole, Field(ge=1, le=10**6)] | None = Field(
        default=None, description="Becomes the challenger; the present one if absent."
    )
    limits: Limits = Limits()
    reason: Reason = ""


class Why(Body):
    """For the history."""

    reason: Reason = ""


class Passage(Why):
    """How a challenger becomes champion."""

    force_because: Reason | None = Field(
        default=None, description="Why it shall pass although the gate refuses it; kept."
    )


class SecondAnswer(BaseModel):
    """What another version would have decided."""

    decision_id: str
    version: str
    served_version: str
    outcome: str
    distance: float | None
    regret: float | None
    latency_seconds: float
    at: datetime


@router.get("/{name:word}/canary", dependencies=[Anyone])
async def get_canary(name: AgentName, orchestrator: Conductor) -> CanaryPlan:
    """Return an agent's last canary, running or not."""
    return await orchestrator.rollout.canary(name)


@router.put("/{name:word}/canary", dependencies=[Admin])
async def start_canary(name: AgentName, trial: Trial, orchestrator: Conductor) -> CanaryPlan:
    """Give a share of the request keys to the challenger, in place of any canary there is."""
    return await orchestrator.rollout.start_canary(
        name,
        share=trial.share,
        version=trial.version,
        limits=from_json(CanaryLimits, trial.limits.model_dump(), "limits."),
        reason=trial.reason,
    )


@router.post("/{name:word}/canary/stop", dependencies=[Admin])
async def stop_canary(name: AgentName, why: Why, orchestrator: Conductor) -> CanaryPlan:
    """End a canary: all requests go to the champion."""
    return await orchestrator.rollout.stop_canary(name, reason=why.reason)


@router.post("/{name:word}/promote_challenger", dependencies=[Admin])
async def promote_challenger(
    name: AgentName, passage: Passage, orchestrator: Conductor
) -> GateResult:
    """Let challenger and champion change places, if the gate lets it through; 409 if not."""
    return await orchestrator.rollout.promote_challenger(
        name, force_because=passage.force_because, reason=passage.reason
    )


@router.get("/{name:word}/gate_results", dependencies=[Anyone])
async def list_gate_results(
    name: AgentName, orchestrator: Conductor, limit: Limit = 20
) -> list[GateResult]:
    """List what the promotion gate said, newest first."""
    await orchestrator.agent(name)
    return await orchestrator.rollout.gate_results(name, limit=limit)


@router.post("/{name:word}/rollback", dependencies=[Admin])
async def rollback(name: AgentName, why: Why, orchestrator: Conductor) -> ArtifactRecord:
    """Let the champion be the version that it was before."""
    return await orchestrator.rollout.rollback(name, reason=why.reason)


@router.get("/{name:word}/second_answers", dependencies=[Anyone])
async def get_second_answers(
    name: AgentName, parts: Parts, limit: Limit = 100
) -> list[SecondAnswer]:
    """List what other versions would have decided, newest first."""
    await parts.orchestrator.agent(name)
    async with parts.database.read() as connection:
        rows = await list_second_answers(connection, name, limit=limit)
    return [SecondAnswer(**{key: row[key] for key in SecondAnswer.model_fields}) for row in rows]
