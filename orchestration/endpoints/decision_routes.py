"""Routes of decisions: look them up, follow one that waits, tell what came of it, replay them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import StreamingResponse

from orchestration.delegation.decision_shelf import DecisionFilter, DecisionNotFoundError
from orchestration.endpoints.callers import Caller
from orchestration.endpoints.parts import ApiParts, Conductor, Parts
from orchestration.endpoints.security import Admin, Anyone, Invoker, Trainer
from orchestration.endpoints.shapes import (
    ID_PATTERN,
    LARGEST_OFFSET,
    TEXT_PATTERN,
    AgentName,
    Settings,
    Whole,
    may_fail,
)
from orchestration.endpoints.streams import STREAM_ANSWER, Piece
from orchestration.feedback.approvals import Approval, ApprovalState
from orchestration.feedback.regret import MOST_REPLAYED, RegretReport
from orchestration.feedback.settings import (
    LONGEST_APPROVAL_SECONDS,
    MOST_KEPT,
    AgentSettings,
)
from utils.persistence.decisions import DecisionRecord


def _refuse_numbers(value: Any) -> Any:
    if "-" not in str(value):
        raise ValueError("write a moment as ISO 8601, such as 2026-12-24T18:00+01:00")
    return value


router = APIRouter(prefix="/v1", tags=["decisions"], responses=may_fail(404, 409))
DecisionId = Annotated[str, Path(pattern=ID_PATTERN, description="Id of a decision.")]
Moment = Annotated[AwareDatetime, BeforeValidator(_refuse_numbers)]
Word = Annotated[str | None, Field(max_length=200, pattern=TEXT_PATTERN)]
Who = Annotated[Caller, Admin]


class DecisionQuery(BaseModel):
    """Which decisions to list; all wishes must hold."""

    model_config = ConfigDict(extra="forbid")

    agent: Word = None
    version: Word = None
    outcome: Word = Field(default=None, description="decision, fallback, refused or error.")
    request_id: Word = Field(default=None, description="The caller's name for the request.")
    since: Moment | None = Field(default=None, description="ISO 8601 with an offset.")
    until: Moment | None = Field(default=None, description="Not at this moment itself.")
    is_result_known: bool | None = None
    before: str | None = Field(
        default=None, pattern=ID_PATTERN, description="`next` of the page before; older ones."
    )
    limit: int = Field(default=100, ge=1, le=1000, description="At most so many.")


class DecisionPage(BaseModel):
    """Some decisions, newest first."""

    items: list[DecisionRecord]
    next: str | None = Field(description="`before` of the next page, if there may be one.")


class DecisionView(BaseModel):
    """One decision: its record, and what a person said if it had to wait."""

    record: DecisionRecord | None = Field(
        description="None for a moment after the decision, or if it was lost; see the metrics."
    )
    approval: ApprovalState | Literal["not_needed"]
    holds: dict[str, Any] | None = Field(
        description="The decision that holds after approval: the agent's, or a person's own."
    )
    review: Approval | None = Field(description="Request, proposal and verdict, if it had to wait.")


class Outcome(BaseModel):
    """What came of a decision."""

    model_config = ConfigDict(strict=True, extra="forbid")

    realised: Settings = Field(
        description="What was seen, such as `served_work`; for regret, what its domain asks for, "
        "such as `arrived` by service."
    )


class SettingsChange(BaseModel):
    """How an agent shall be supervised; what is left out is as if nobody had set it."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    needs_approval: bool = Field(
        default=False, description="Whether its decisions wait for a person."
    )
    approval_seconds: float = Field(
        default=3600.0,
        ge=1,
        le=LONGEST_APPROVAL_SECONDS,
        description="A decision that waited so long counts as rejected.",
    )
    keep_requests: Whole = Field(
        default=0, ge=0, le=MOST_KEPT, description="So many of its newest requests are kept."
    )
    expert_on_drift: bool = Field(
        default=False, description="Whether its expert answers while requests have drifted."
    )
    regret_limit: float | None = Field(
        default=None, description="Mean regret above which `regret_high` is told."
    )


@router.get("/decisions", dependencies=[Anyone])
async def list_decisions(
    orchestrator: Conductor, wishes: Annotated[DecisionQuery, Query()]
) -> DecisionPage:
    """List decisions that agents gave, newest first; those of the last second may be missing."""
    wanted = DecisionFilter(**wishes.model_dump(exclude={"limit"}))
    found = await orchestrator.decisions.find(wanted, limit=wishes.limit)
    return DecisionPage(items=found, next=found[-1].id if len(found) == wishes.limit else None)


@router.get("/decisions/{decision_id}", dependencies=[Anyone])
async def get_decision(decision_id: DecisionId, parts: Parts) -> DecisionView:
    """Return a decision, and whether it holds; ask again while it waits for approval."""
    return await _view(parts, decision_id)


@router.get(
    "/decisions/{decision_id}/stream",
    dependencies=[Anyone],
    response_class=StreamingResponse,
    responses={**STREAM_ANSWER, **may_fail(429)},
)
async def follow_decision(
    decision_id: DecisionId,
    parts: Parts,
    last_event_id: Annotated[
        int, Header(alias="Last-Event-ID", ge=0, le=LARGEST_OFFSET, description="1: seen waiting.")
    ] = 0,
) -> StreamingResponse:
    """Follow a decision that waits; `event: end` comes when a person has answered."""
    await _view(parts, decision_id)

    async def source(after: int) -> tuple[Sequence[Piece], bool]:
        view = await _view(parts, decision_id)
        is_over = view.approval != ApprovalState.WAITING
        number = 2 if is_over else 1
        piece = Piece(id=number, type=str(view.approval), data=view.model_dump(mode="json"))
        return [piece] if number > after else [], is_over

    return parts.streams.answer(source, last_event_id)


@router.post("/decisions/{decision_id}/outcome", dependencies=[Invoker])
async def report_outcome(
    decision_id: DecisionId, outcome: Outcome, orchestrator: Conductor
) -> DecisionRecord:
    """Tell what came of a decision; telling the same twice does no harm."""
    return await orchestrator.decisions.report_outcome(decision_id, outcome.realised)


@router.post("/agents/{name}/regret", dependencies=[Trainer])
async def replay_regret(
    name: AgentName,
    orchestrator: Conductor,
    limit: Annotated[int, Query(ge=1, le=MOST_REPLAYED)] = MOST_REPLAYED,
) -> RegretReport:
    """Play the kept requests of an agent again and say what its expert would have done better."""
    await orchestrator.agent(name)
    return await orchestrator.regret.replay(name, limit=limit)


@router.get("/agents/{name}/settings", dependencies=[Anyone])
async def get_settings(name: AgentName, orchestrator: Conductor) -> AgentSettings:
    """Return how an agent is supervised."""
    await orchestrator.agent(name)
    return await orchestrator.supervision.settings.find(name)


@router.put("/agents/{name}/settings")
async def change_settings(
    name: AgentName, change: SettingsChange, orchestrator: Conductor, caller: Who
) -> AgentSettings:
    """Say how an agent shall be supervised."""
    await orchestrator.agent(name)

    def edit(former: AgentSettings) -> AgentSettings:
        return replace(former, **change.model_dump())

    return await orchestrator.supervision.settings.change(name, edit, by=caller.name)


async def _view(parts: ApiParts, decision_id: str) -> DecisionView:
    review = await parts.orchestrator.supervision.approvals.find(decision_id)
    record = await parts.orchestrator.decisions.get(decision_id)
    if record is None and review is None:
        raise DecisionNotFoundError(f"no decision {decision_id!r}: look it up by its request id")
    state: ApprovalState | Literal["not_needed"] = "not_needed" if review is None else review.state
    holds = None if review is None or review.given is None else review.given
    if holds is not None:
        holds = {**holds, "approval": state}
    return DecisionView(record=record, approval=state, holds=holds, review=review)
