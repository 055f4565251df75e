"""The route of the engine: what waits, what runs, and who works."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from orchestration.endpoints.parts import Parts
from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import may_fail
from orchestration.jobs import JobState
from utils.persistence.engine_queries import WorkerRecord, count_states, list_workers

router = APIRouter(prefix="/v1/engine", tags=["operations"], responses=may_fail())


class EngineView(BaseModel):
    """The engine at one moment."""

    jobs: dict[JobState, int] = Field(description="How many are in each state.")
    workers: list[WorkerRecord] = Field(description="Heard of last, newest first; some are gone.")
    kinds: list[str] = Field(description="What kinds of jobs can be submitted.")
    open_sessions: int
    open_streams: int


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
