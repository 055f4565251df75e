"""Routes of events: what happened to jobs, in pages and live."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from orchestration.endpoints.parts import ApiParts, Parts
from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import LARGEST_OFFSET, LARGEST_SEQ, JobId, may_fail
from orchestration.endpoints.streams import STREAM_ANSWER, Piece
from orchestration.job_store.store import OutboxEvent

PAGE = 1000
router = APIRouter(
    prefix="/v1", tags=["events"], dependencies=[Trainer], responses=may_fail(404, 429)
)
Since = Annotated[int, Query(ge=0, le=LARGEST_SEQ, description="The last `seq` already seen.")]
LastEventId = Annotated[
    int,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=LARGEST_OFFSET,
        description="Sent by readers that come back; stands above the address.",
    ),
]


class EventView(BaseModel):
    """One thing that happened."""

    seq: int
    job_id: str | None
    type: str
    payload: dict[str, Any]
    at: datetime


class EventPage(BaseModel):
    """Events in order."""

    items: list[EventView]
    next: int | None = Field(description="`since` of the next page, if there may be one now.")


@router.get("/events")
async def list_events(parts: Parts, since: Since = 0) -> EventPage:
    """List what happened, oldest first."""
    return _page(await parts.store.events(since))


@router.get("/events/stream", response_class=StreamingResponse, responses=STREAM_ANSWER)
async def follow_events(
    parts: Parts, since: Since = 0, last_event_id: LastEventId = 0
) -> StreamingResponse:
    """Follow what happens. A stream ends after some minutes; come back with its last id."""

    async def source(after: int) -> tuple[Sequence[Piece], bool]:
        return [_piece(one) for one in await parts.outbox.after(after)], False

    return parts.streams.answer(source, last_event_id or since)


@router.get("/jobs/{job_id}/events")
async def list_job_events(job_id: JobId, parts: Parts, since: Since = 0) -> EventPage:
    """List what happened to a job, oldest first."""
    job = await parts.store.get(job_id)
    return _page(await parts.store.events(since, job_id=job.id))


@router.get(
    "/jobs/{job_id}/events/stream", response_class=StreamingResponse, responses=STREAM_ANSWER
)
async def follow_job_events(
    job_id: JobId, parts: Parts, since: Since = 0, last_event_id: LastEventId = 0
) -> StreamingResponse:
    """Follow what happens to a job; `event: end` comes when nothing more can."""
    await parts.store.get(job_id)

    async def source(after: int) -> tuple[Sequence[Piece], bool]:
        return await _read_job_events(parts, job_id, after)

    return parts.streams.answer(source, last_event_id or since)


async def _read_job_events(
    parts: ApiParts, job_id: str, after: int
) -> tuple[Sequence[Piece], bool]:
    job = await parts.store.get(job_id)  # before its events, or its last ones might be missed
    if job.state.is_terminal:
        found = await parts.store.events(after, job_id=job_id)
    else:
        found = await parts.outbox.after(after, job_id=job_id)
    return [_piece(one) for one in found], job.state.is_terminal and len(found) < PAGE


def _page(found: Sequence[OutboxEvent]) -> EventPage:
    items = [EventView.model_validate(one, from_attributes=True) for one in found]
    return EventPage(items=items, next=items[-1].seq if len(items) == PAGE else None)


def _piece(event: OutboxEvent) -> Piece:
    shown = EventView.model_validate(event, from_attributes=True)
    return Piece(id=event.seq, type=event.type, data=shown.model_dump(mode="json"))
