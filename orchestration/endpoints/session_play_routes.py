"""Routes by which somebody else plays an open world: rules, chance, agents; one or many episodes.

Each answer takes a few seconds at most: a caller asks again until all is played.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ai_agents.registry import CHAMPION
from orchestration.endpoints.parts import ApiParts, Parts
from orchestration.endpoints.security import Trainer, Unaudited
from orchestration.endpoints.session_routes import MOST_STEPS, Numbers, SessionId
from orchestration.endpoints.shapes import LARGEST_SEQ, TEXT_PATTERN, Whole, may_fail, to_whole
from utils.errors import ConfigError

router = APIRouter(
    prefix="/v1/environments/sessions",
    tags=["environments"],
    dependencies=[Trainer],
    responses=may_fail(404, 409, 410, 429),
)


class DeciderRequest(BaseModel):
    """Who decides for all agents of a world."""

    model_config = ConfigDict(strict=True, extra="forbid")

    kind: Literal["expert", "random", "agent"]
    name: str = Field(
        default="",
        max_length=100,
        pattern=TEXT_PATTERN,
        description="Of a rule (empty: the usual one) or of a registered agent.",
    )
    version: Annotated[int, Field(ge=1, le=LARGEST_SEQ), BeforeValidator(to_whole)] | None = Field(
        default=None, description="Of an agent; the champion if absent, or else the newest."
    )


class PlayRequest(BaseModel):
    """Who plays on, and how far."""

    model_config = ConfigDict(strict=True, extra="forbid")

    decider: DeciderRequest
    steps: Whole = Field(default=1, ge=1, le=MOST_STEPS, description="At most; the end ends it.")


class PlayView(BaseModel):
    """How far somebody came; the steps are in the trajectory."""

    played: int = Field(description="Fewer than asked for at the end, or when the time was over.")
    total: int = Field(description="Steps of the episode so far.")
    has_ended: bool


class ArrayView(BaseModel):
    """Numbers of one name."""

    shape: list[int]
    values: Numbers


class StateView(BaseModel):
    """What is known in a world now."""

    step: int
    state: dict[str, ArrayView] = Field(description="Arrays of more than 512 numbers are left out.")


class ReferenceRequest(BaseModel):
    """Who plays the same episode apart from the open one."""

    model_config = ConfigDict(strict=True, extra="forbid")

    decider: DeciderRequest


class ReferenceView(BaseModel):
    """What somebody earned in the same episode."""

    rewards: Numbers = Field(description="Of every step so far, mean of the agents.")
    has_ended: bool


class ComparisonRequest(BaseModel):
    """Who is compared over how many episodes; the same request again plays on."""

    model_config = ConfigDict(strict=True, extra="forbid")

    deciders: list[DeciderRequest] = Field(min_length=1, max_length=8)
    episodes: Whole = Field(default=50, ge=2, le=200)


class IntervalView(BaseModel):
    """A figure and its interval of 95 %."""

    value: float
    low: float | None
    high: float | None


class GuardedView(BaseModel):
    """A figure, or why there is none."""

    value: float | None
    reason: str


class ViolationView(BaseModel):
    """How often and how far a limit was broken."""

    per_step: IntervalView
    steps_with: float = Field(description="Share of steps with a violation.")
    free: IntervalView = Field(description="Share of episodes without any.")


class CurveView(BaseModel):
    """The return so far over the steps of an episode."""

    steps: list[int]
    mean: list[float]
    low: list[float] = Field(description="Below it lie 10 % of the episodes.")
    high: list[float] = Field(description="Above it lie 10 %.")
    paths: list[list[float]] = Field(description="Some single episodes.")


class PlayerView(BaseModel):
    """How one decider did."""

    kind: Literal["expert", "random", "agent"]
    name: str
    is_projected: bool = Field(description="Whether its actions were projected on the limit.")
    returns: list[float] = Field(description="Of every episode, mean of the agents.")
    mean: IntervalView
    median: IntervalView
    iqm: IntervalView
    quantiles: list[float] = Field(description="5, 25, 50, 75 and 95 %.")
    worst: GuardedView = Field(description="CVaR: mean of the worst 5 % of episodes.")
    difference: IntervalView | None = Field(description="Paired, to the baseline.")
    wins: IntervalView | None = Field(description="Share of episodes better than the baseline.")
    violation: ViolationView | None = Field(description="None where nothing is counted.")
    curve: CurveView


class ComparisonReport(BaseModel):
    """What was played, and how everybody did."""

    episodes: int
    steps: int
    baseline: int = Field(description="Position of the one that others are compared with.")
    counts_costs: bool
    players: list[PlayerView]


class ComparisonView(BaseModel):
    """How far a comparison is."""

    played: int = Field(description="Steps of all deciders together.")
    total: int
    report: ComparisonReport | None = Field(description="Once all is played.")


@router.post("/{session_id}/play", dependencies=[Unaudited])
async def play_session(session_id: SessionId, request: PlayRequest, parts: Parts) -> PlayView:
    """Let a rule, chance or an agent decide for all agents for some steps."""
    decider = await _find(request.decider, parts)
    question = {"ask": "play", "decider": decider, "steps": request.steps}
    return PlayView(**await parts.sessions.ask(session_id, question))


@router.get("/{session_id}/state")
async def read_state(session_id: SessionId, parts: Parts) -> StateView:
    """Return what is known in the world now, array by array."""
    return StateView(**await parts.sessions.ask(session_id, {"ask": "look"}))


@router.post("/{session_id}/reference", dependencies=[Unaudited])
async def play_reference(
    session_id: SessionId, request: ReferenceRequest, parts: Parts
) -> ReferenceView:
    """Let somebody play the same episode apart from the open one; asked again, it plays on."""
    question = {"ask": "reference", "decider": await _find(request.decider, parts)}
    return ReferenceView(**await parts.sessions.ask(session_id, question))


@router.post("/{session_id}/comparison", dependencies=[Unaudited])
async def compare_deciders(
    session_id: SessionId, request: ComparisonRequest, parts: Parts
) -> ComparisonView:
    """Let several deciders play the same episodes of the world; the open one stays as it is."""
    deciders = [await _find(one, parts) for one in request.deciders]
    order = {"deciders": deciders, "episodes": request.episodes}
    return ComparisonView(
        **await parts.sessions.ask(session_id, {"ask": "compare", "order": order})
    )


async def _find(request: DeciderRequest, parts: ApiParts) -> dict[str, Any]:
    if request.kind != "agent":
        return {"kind": request.kind, "name": request.name}
    agent = await parts.orchestrator.agent(request.name)
    version = request.version or agent.aliases.get(CHAMPION) or agent.versions[-1].version
    found = [one.sha256 for one in agent.versions if one.version == version]
    if not found:
        known = ", ".join(str(one.version) for one in agent.versions)
        raise ConfigError(f"version={version}: {request.name} has the versions {known}")
    path = await anyio.to_thread.run_sync(partial(parts.artifacts.path, found[0]))
    return {"kind": "agent", "name": f"{request.name} version {version}", "path": str(path)}
