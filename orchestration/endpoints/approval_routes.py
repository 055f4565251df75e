"""Routes of approvals: decisions that wait for a person, and the verdicts of people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from orchestration.endpoints.callers import Caller
from orchestration.endpoints.parts import Conductor
from orchestration.endpoints.security import Admin
from orchestration.endpoints.shapes import (
    ID_PATTERN,
    TEXT_PATTERN,
    Cursor,
    Limit,
    Settings,
    may_fail,
)
from orchestration.feedback.approvals import LONGEST_REASON, Approval, ApprovalState

router = APIRouter(
    prefix="/v1/approvals", tags=["decisions"], dependencies=[Admin], responses=may_fail(404, 409)
)
DecisionId = Annotated[str, Path(pattern=ID_PATTERN, description="Id of a decision.")]
Agent = Annotated[str | None, Query(max_length=100, pattern=TEXT_PATTERN)]
Who = Annotated[Caller, Admin]


class ApprovalPage(BaseModel):
    """Some decisions that wait or waited, newest first."""

    items: list[Approval]
    next: str | None = Field(description="`before` of the next page, if there may be one.")


class Remark(BaseModel):
    """Why a person says so."""

    model_config = ConfigDict(strict=True, extra="forbid")

    reason: str = Field(default="", max_length=LONGEST_REASON, pattern=TEXT_PATTERN)


class OwnDecision(Remark):
    """A person's own decision."""

    decision: Settings = Field(
        description="In the words of a decision of this agent, such as `services` with `name` and "
        "`allocation` each; it must be feasible."
    )


@router.get("")
async def list_approvals(
    orchestrator: Conductor,
    *,
    agent: Agent = None,
    state: ApprovalState | None = None,
    before: Cursor = None,
    limit: Limit = 100,
) -> ApprovalPage:
    """List decisions that wait for a person, or did, newest first."""
    found = await orchestrator.supervision.approvals.list_all(
        agent=agent, state=state, before=before, limit=limit
    )
    return ApprovalPage(items=found, next=found[-1].decision_id if len(found) == limit else None)


@router.get("/{decision_id}")
async def get_approval(decision_id: DecisionId, orchestrator: Conductor) -> Approval:
    """Return a decision that waits or waited, with its request."""
    return await orchestrator.supervision.approvals.get(decision_id)


@router.post("/{decision_id}/approve")
async def approve(
    decision_id: DecisionId, remark: Remark, orchestrator: Conductor, caller: Who
) -> Approval:
    """Let a decision hold as the agent made it."""
    return await orchestrator.reviews.approve(decision_id, by=caller.name, reason=remark.reason)


@router.post("/{decision_id}/override")
async def override(
    decision_id: DecisionId, own: OwnDecision, orchestrator: Conductor, caller: Who
) -> Approval:
    """Let a person's own decision hold instead; one that is infeasible is refused."""
    return await orchestrator.reviews.override(
        decision_id, own.decision, by=caller.name, reason=own.reason
    )


@router.post("/{decision_id}/reject")
async def reject(
    decision_id: DecisionId, remark: Remark, orchestrator: Conductor, caller: Who
) -> Approval:
    """Let a decision not hold."""
    return await orchestrator.reviews.reject(decision_id, by=caller.name, reason=remark.reason)
