"""Routes of environment sessions: open a world, step it, read its trajectory, close it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from orchestration.endpoints.parts import Parts
from orchestration.endpoints.security import Trainer, Unaudited
from orchestration.endpoints.shapes import ID_PATTERN, Whole, may_fail, to_whole
from orchestration.environment_sessions import SessionOrder
from rl.domains.world_sizes import WorldSizes, check_sizes

MOST_STEPS = 10_000
router = APIRouter(
    prefix="/v1/environments/sessions",
    tags=["environments"],
    dependencies=[Trainer],
    responses=may_fail(404, 409, 410, 429),
)
SessionId = Annotated[str, Path(pattern=ID_PATTERN, description="Id of a session.")]
Number = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Action = Annotated[list[Number], Field(max_length=4096)] | Annotated[int, Field(ge=0, le=10**6)]
AgentName = Annotated[str, Field(min_length=1, max_length=100)]
Numbers = list[float | None]
Count = Annotated[int, Field(ge=1, le=10_000), BeforeValidator(to_whole)] | None
Amount = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None
World = Literal[
    "capacity_planning",
    "clark_scarf",
    "cluster_scheduling",
    "constrained_allocation",
    "distributed_nodes",
    "distributed_nodes_deadlines",
    "execution",
    "five_product",
    "fixed_order_cost",
    "job_scheduling",
    "market_making",
    "multi_echelon",
    "newsvendor",
    "portfolio",
    "serial_inventory",
    "serial_inventory_lost_sales",
    "serial_supply",
    "service_agents",
    "service_market",
    "shared_services",
    "trading",
    "traffic_shares",
    "workforce",
]
"""The catalog of rl/environments, which needs torch: a test compares them."""


class SessionSettings(BaseModel):
    """How the world is played, and its sizes; GET /v1/environments tells which a world has."""

    model_config = ConfigDict(strict=True, extra="forbid")

    actions: Literal["own", "binned", "units"] = Field(
        default="own", description="The world's own actions, a grid of them, or one unit at a time."
    )
    num_services: Count = None
    num_resources: Count = None
    num_tasks: Count = None
    num_nodes: Count = None
    num_employees: Count = None
    num_weeks: Count = None
    num_regions: Count = None
    num_traders: Count = None
    num_symbols: Count = None
    num_steps: Count = None
    lead_time: Count = None
    load: Amount = None
    mean_demand: Amount = None
    difficulty: Amount = None
    risk_aversion: Amount = None
    cost_bps: Amount = None
    demand_family: Annotated[str | None, Field(max_length=100)] = None

    def sizes(self) -> WorldSizes:
        """Return what was chosen of the world's sizes."""
        return WorldSizes(**self.model_dump(exclude={"actions"}))


class SessionRequest(BaseModel):
    """A world to be opened."""

    model_config = ConfigDict(strict=True, extra="forbid")

    environment: World = Field(description="A world of the catalog.")
    settings: SessionSettings = SessionSettings()
    seed: Whole = Field(default=0, ge=0, le=2**31 - 1, description="Of its scenarios.")


class ActionView(BaseModel):
    """What an agent may do."""

    kind: Literal["continuous", "discrete"]
    size: int = Field(description="Dimensions, or number of choices.")
    low: float
    high: float


class AgentView(BaseModel):
    """One agent of a world."""

    observation_size: int
    action: ActionView
    labels: list[str] = Field(description="Of its numbers or choices; empty where none are known.")


class AgentInfo(BaseModel):
    """What a step tells of an agent beside its observation and reward."""

    metrics: dict[str, float | None] = {}
    reward_terms: dict[str, float | None] = {}
    truncated: bool = False
    final_observation: Numbers | None = None
    action_mask: list[int] | None = None


class ChartView(BaseModel):
    """Figures of a step that belong into one picture."""

    title: str
    metrics: list[str] = Field(description="Among the metrics, and the terms of the reward.")
    unit: str
    is_sum: bool = Field(description="Whether running sums are drawn.")


class SessionView(BaseModel):
    """An open session at its beginning."""

    id: str
    agents: dict[str, AgentView]
    charts: list[ChartView] = Field(description="What belongs together in a picture.")
    experts: list[str] = Field(description="Rules that may decide, the usual one first.")
    num_costs: int = Field(description="Kinds of limits whose violations are counted.")
    observations: dict[str, Numbers]
    info: dict[str, AgentInfo]


class StepRequest(BaseModel):
    """What the agents do."""

    model_config = ConfigDict(strict=True, extra="forbid")

    actions: dict[AgentName, Action] = Field(
        max_length=1000, description="By agent; one that is left out acts zero."
    )


class StepView(BaseModel):
    """What one step came to."""

    step: int
    observations: dict[str, Numbers]
    rewards: dict[str, float | None]
    terminated: dict[str, bool]
    truncated: dict[str, bool]
    has_ended: bool
    info: dict[str, AgentInfo]


class TrajectoryStep(StepView):
    """A step and what was done in it."""

    actions: dict[str, list[float] | int]


class TrajectoryPage(BaseModel):
    """Some steps of a session."""

    total: int
    offset: int
    steps: list[TrajectoryStep] = Field(description="Fewer than asked for where they are large.")


@router.post("", status_code=HTTPStatus.CREATED)
async def open_session(
    request: SessionRequest, parts: Parts, response: Response, connection: Request
) -> SessionView:
    """Open a world in a process of its own and begin its episode; it ends when nobody uses it."""
    order = SessionOrder(
        environment=request.environment,
        actions=request.settings.actions,
        seed=request.seed,
        sizes=request.settings.sizes(),
    )
    check_sizes(order.environment, order.sizes)
    session_id, world = await parts.sessions.start(order)
    if await connection.is_disconnected():  # nobody will ever name it, nor end it
        await parts.sessions.close(session_id)
    response.headers["Location"] = f"/v1/environments/sessions/{session_id}"
    return SessionView(id=session_id, **world)


@router.post("/{session_id}/step", dependencies=[Unaudited])
async def step_session(session_id: SessionId, request: StepRequest, parts: Parts) -> StepView:
    """Let all agents act once."""
    return StepView(**await parts.sessions.step(session_id, request.actions))


@router.get("/{session_id}/trajectory")
async def read_trajectory(
    session_id: SessionId,
    parts: Parts,
    offset: Annotated[int, Query(ge=0, le=MOST_STEPS)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> TrajectoryPage:
    """Return steps in order."""
    return TrajectoryPage(**await parts.sessions.trajectory(session_id, offset=offset, limit=limit))


@router.delete("/{session_id}", status_code=HTTPStatus.NO_CONTENT)
async def close_session(session_id: SessionId, parts: Parts) -> None:
    """End a session; ending it again changes nothing."""
    await parts.sessions.close(session_id)
