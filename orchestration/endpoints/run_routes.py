"""Routes of runs: what they measured, and the files that they left."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from orchestration.endpoints.parts import Conductor, Parts
from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import (
    TEXT_PATTERN,
    Cursor,
    Limit,
    RunId,
    may_fail,
)
from utils.persistence.run_facts import RunArtifact
from utils.persistence.run_filter import RunFilter, find_runs
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import MetricPoint, RunDetails, RunSummary

router = APIRouter(prefix="/v1", tags=["runs"], dependencies=[Trainer], responses=may_fail(404))
Text = Annotated[str | None, Query(max_length=200, pattern=TEXT_PATTERN)]


class RunPage(BaseModel):
    """Some runs, newest first."""

    items: list[RunSummary]
    next: str | None = Field(description="`before` of the next page, if there may be one.")


@router.get("/runs")
async def list_runs(
    parts: Parts,
    *,
    experiment: Text = None,
    state: Annotated[list[RunState], Query(max_length=20, description="Any of these.")] = [],  # noqa: B006
    before: Cursor = None,
    limit: Limit = 100,
) -> RunPage:
    """List runs, newest first."""
    wanted = RunFilter(experiment=experiment, states=tuple(state))
    async with parts.database.read() as connection:
        runs = await find_runs(connection, wanted, limit=limit, before=before)
    return RunPage(items=runs, next=runs[-1].id if len(runs) == limit else None)


@router.get("/runs/{run_id}")
async def get_run(run_id: RunId, orchestrator: Conductor) -> RunDetails:
    """Return a run with its newest metrics, evaluations and models."""
    return await orchestrator.run(run_id)


@router.get("/runs/{run_id}/curve")
async def get_curve(
    run_id: RunId,
    orchestrator: Conductor,
    metric: Annotated[str, Query(min_length=1, max_length=200, pattern=TEXT_PATTERN)],
    max_points: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> list[MetricPoint]:
    """Return a metric over steps, thinned evenly; its last point is always there."""
    run = await orchestrator.run(run_id)
    if metric not in run.latest:
        known = ", ".join(list(run.latest)[:20]) or "none yet"
        raise HTTPException(
            HTTPStatus.NOT_FOUND, f"run {run_id} has no such metric; it has {known}"
        )
    return await orchestrator.curve(run_id, metric, max_points=max_points)


@router.get("/runs/{run_id}/artifacts")
async def list_artifacts(run_id: RunId, orchestrator: Conductor) -> tuple[RunArtifact, ...]:
    """List the files that a run left in the artifact store."""
    return (await orchestrator.run(run_id)).facts.artifacts
