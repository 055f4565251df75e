"""Routes of the engine: what waits, what runs, who works, and how to stop it all."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from orchestration.care.engine_view import LiveJob, WorkerView, identify, look
from orchestration.endpoints.event_routes import EventView
from orchestration.endpoints.parts import Parts
from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import ID_PATTERN, may_fail
from orchestration.jobs import LIVE, WAITING, Desired, JobState
from utils.persistence.engine_queries import WorkerRecord, count_states, list_workers

HALT_PAGE = 200
UNDER_WAY = (*WAITING, *LIVE, JobState.PENDING)
router = APIRouter(prefix="/v1/engine", tags=["operations"], responses=may_fail())


class EngineView(BaseModel):
    """The engine at one moment."""

    jobs: dict[JobState, int] = Field(description="How many are in each state.")
    workers: list[WorkerRecord] = Field(description="Heard of last, newest first; some are gone.")
    kinds: list[str] = Field(description="What kinds of jobs can be submitted.")
    open_sessions: int
    open_streams: int


class EngineDetails(BaseModel):
    """The engine at one moment, job by job."""

    at: datetime
    kinds: dict[str, dict[JobState, int]] = Field(description="How many jobs of which kind.")
    due: int = Field(description="How many of the waiting ones could start now.")
    oldest_due_seconds: float | None = Field(description="How long the first could have run.")
    live: list[LiveJob] = Field(description="Those that a worker owns, with their leases.")
    workers: list[WorkerView] = Field(description="Of the last hour, and older ones with jobs.")
    events: list[EventView] = Field(description="The newest, oldest first.")


class HaltRequest(BaseModel):
    """What shall become of all work."""

    model_config = ConfigDict(strict=True, extra="forbid")

    fate: Literal["pause", "cancel"]
    before: str | None = Field(
        default=None, pattern=ID_PATTERN, description="`next` of the answer before, to go on."
    )


class Halted(BaseModel):
    """What was told to stop."""

    jobs: list[str] = Field(description="Newest first.")
    next: str | None = Field(description="`before` of the next call, if there may be more.")


@router.get("", dependencies=[Trainer])
async def get_engine(parts: Parts) -> EngineView:
    """Return jobs by state, and workers with when they were last seen and what they have."""
    async with parts.database.read() as connection:
        counted = await count_states(connection)
        workers = await list_workers(connection)
    return EngineView(
        jobs={state: counted.get(state.value, 0) for state in JobState},
        workers=workers,
        kinds=sorted(parts.kinds),
        open_sessions=parts.sessions.open,
        open_streams=parts.streams.open,
    )


@router.get("/details", dependencies=[Trainer])
async def get_engine_details(
    parts: Parts,
    events: Annotated[int, Query(ge=0, le=1000, description="How many of the newest.")] = 20,
) -> EngineDetails:
    """Return jobs by kind, leases, workers and the newest events."""
    me = identify(parts.database, parts.clock)
    found = await look(parts.database, parts.clock, me, num_events=events)
    return EngineDetails.model_validate(found, from_attributes=True)


@router.post("/halt", status_code=HTTPStatus.ACCEPTED, dependencies=[Trainer])
async def halt_engine(request: HaltRequest, parts: Parts) -> Halted:
    """Have all jobs that run or wait pause or end; some at once, ask again while there is `next`.

    What is submitted meanwhile, and what schedules submit later, is not halted.
    """
    found = await parts.store.list_jobs(states=UNDER_WAY, before=request.before, limit=HALT_PAGE)
    ids = [job.id for job in found]
    await parts.store.request_all(ids, Desired(request.fate))
    parts.wake()
    return Halted(jobs=ids, next=ids[-1] if len(ids) == HALT_PAGE else None)
