"""Routes of the blackboard: facts that agents and programs share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from orchestration.delegation.blackboard import LONGEST_TTL_SECONDS, Fact
from orchestration.endpoints.callers import Caller
from orchestration.endpoints.parts import Conductor, Parts
from orchestration.endpoints.security import Anyone, Trainer
from orchestration.endpoints.shapes import (
    LARGEST_OFFSET,
    TEXT_PATTERN,
    Limit,
    Whole,
    check_values,
    may_fail,
)
from orchestration.endpoints.streams import STREAM_ANSWER, Piece

router = APIRouter(prefix="/v1/facts", tags=["facts"], responses=may_fail(404, 409))
NAME_PATTERN = r"^[^\x00-\x1f\x7f/]{1,200}$"
Topic = Annotated[str, Path(pattern=NAME_PATTERN, description="What facts belong to.")]
Key = Annotated[str, Path(pattern=NAME_PATTERN, description="Names a fact in its topic.")]
Who = Annotated[Caller, Trainer]


class FactView(BaseModel):
    """Something that somebody stated."""

    topic: str
    key: str
    value: Any
    version: int
    author: str
    at: datetime
    expires_at: datetime | None


class Statement(BaseModel):
    """What shall be stated."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    value: Annotated[Any, AfterValidator(check_values)] = Field(
        description="Plain JSON, at most 64 KiB."
    )
    expected_version: Whole | None = Field(
        default=None,
        ge=0,
        le=LARGEST_OFFSET,
        description="Only if this is its version now; 0: only if there is none.",
    )
    ttl_seconds: float | None = Field(
        default=None, gt=0, le=LONGEST_TTL_SECONDS, description="It expires after so long."
    )


@router.get("/{topic}", dependencies=[Anyone])
async def list_facts(
    topic: Topic,
    orchestrator: Conductor,
    after: Annotated[
        str, Query(max_length=200, pattern=TEXT_PATTERN, description="Only keys behind this one.")
    ] = "",
    limit: Limit = 100,
) -> list[FactView]:
    """List the facts of a topic by key."""
    found = await orchestrator.facts.query(topic, after=after, limit=limit)
    return [_view(one) for one in found]


@router.get(
    "/{topic}/stream",
    dependencies=[Anyone],
    response_class=StreamingResponse,
    responses={**STREAM_ANSWER, **may_fail(429)},
)
async def follow_facts(
    topic: Topic,
    parts: Parts,
    since: Annotated[int, Query(ge=0, le=LARGEST_OFFSET, description="Version last seen.")] = 0,
    last_event_id: Annotated[int, Header(alias="Last-Event-ID", ge=0, le=LARGEST_OFFSET)] = 0,
) -> StreamingResponse:
    """Follow a topic: what changed after a version, then each change."""

    async def source(after: int) -> tuple[Sequence[Piece], bool]:
        found = await parts.orchestrator.facts.changes(topic, after)
        pieces = [
            Piece(id=one.version, type="fact", data=_view(one).model_dump(mode="json"))
            for one in found
        ]
        return pieces, False

    return parts.streams.answer(source, last_event_id or since)


@router.get("/{topic}/keys/{key}", dependencies=[Anyone])
async def get_fact(topic: Topic, key: Key, orchestrator: Conductor) -> FactView:
    """Return a fact."""
    found = await orchestrator.facts.get(topic, key)
    if found is None:
        raise HTTPException(404, f"nobody stated {topic}/{key}, or it has expired")
    return _view(found)


@router.put("/{topic}/keys/{key}")
async def state_fact(
    topic: Topic, key: Key, statement: Statement, *, orchestrator: Conductor, caller: Who
) -> FactView:
    """State a fact, in place of what was stated before."""
    stated = await orchestrator.facts.put(
        topic,
        key,
        statement.value,
        author=caller.name,
        expected_version=statement.expected_version,
        ttl_seconds=statement.ttl_seconds,
    )
    return _view(stated)


def _view(one: Fact) -> FactView:
    return FactView.model_validate(one, from_attributes=True)
