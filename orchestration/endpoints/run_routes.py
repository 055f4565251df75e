"""Routes of runs: what they measured, and the files that they left."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, Field

from orchestration.endpoints.parts import Conductor, Parts
from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import (
    ID_PATTERN,
    TEXT_PATTERN,
    Cursor,
    Limit,
    RunId,
    may_fail,
)
from rl.training.run_diary import StageEntry, in_order, read_diary
from rl.training.side_by_side import RunComparison, compare_runs
from utils.persistence.run_facts import RunArtifact
from utils.persistence.run_filter import RunFilter, Threshold, find_runs
from utils.persistence.run_lines import RunLine, describe_runs, list_stage_changes
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import MetricPoint, RunDetails

router = APIRouter(prefix="/v1", tags=["runs"], dependencies=[Trainer], responses=may_fail(404))
Text = Annotated[str | None, Query(max_length=200, pattern=TEXT_PATTERN)]
Word = Annotated[str, Query(max_length=200, pattern=TEXT_PATTERN)]
MOST_COMPARED = 20
INERT_PAGE = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data:",
    "X-Content-Type-Options": "nosniff",
}
"""A report runs nothing and loads nothing, whatever its run was called."""
_PAGE = {"content": {"text/html": {"schema": {"type": "string"}}}}


class RunPage(BaseModel):
    """Some runs, newest first."""

    items: list[RunLine]
    next: str | None = Field(description="`before` of the next page, if there may be one.")


@router.get("/runs")
async def list_runs(  # noqa: PLR0913  # one query for each way to find runs
    parts: Parts,
    *,
    experiment: Text = None,
    environment: Text = None,
    algorithm: Text = None,
    text: Annotated[
        str,
        Query(
            max_length=200,
            pattern=TEXT_PATTERN,
            description="In the id, experiment, error, a tag or a setting's value.",
        ),
    ] = "",
    state: Annotated[list[RunState], Query(max_length=20, description="Any of these.")] = [],  # noqa: B006
    tag: Annotated[list[Word], Query(max_length=20, description="All of these.")] = [],  # noqa: B006
    where: Annotated[
        list[Word],
        Query(max_length=20, description="`METRIC>=NUMBER`, or best_score; also <=, > and <."),
    ] = [],  # noqa: B006
    before: Cursor = None,
    limit: Limit = 100,
) -> RunPage:
    """List runs, newest first."""
    wanted = RunFilter(
        experiment=experiment,
        environment=environment,
        algorithm=algorithm,
        text=text,
        states=tuple(state),
        tags=tuple(tag),
        thresholds=tuple(Threshold.parse(words) for words in where),
    )
    async with parts.database.read() as connection:
        runs = await find_runs(connection, wanted, limit=limit, before=before)
        items = await describe_runs(connection, runs)
    return RunPage(items=list(items), next=runs[-1].id if len(runs) == limit else None)


@router.get("/runs:compare")
async def compare(
    orchestrator: Conductor,
    run: Annotated[
        list[Annotated[str, Query(pattern=ID_PATTERN)]],
        Query(min_length=2, max_length=MOST_COMPARED, description="Ids of runs."),
    ],
) -> RunComparison:
    """Put runs side by side: only what differs in their making, and what they came to."""
    return compare_runs([await orchestrator.run(one) for one in run])


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


@router.get("/runs/{run_id}/stages")
async def list_stages(run_id: RunId, orchestrator: Conductor, parts: Parts) -> list[StageEntry]:
    """List the stages that a run went through, and from which env step on."""
    job_id = (await orchestrator.run(run_id)).summary.job_id
    if job_id is None:  # of a program of its own, which keeps a diary beside its checkpoints
        folder = parts.output_dir / "runs" / run_id
        diary = await anyio.to_thread.run_sync(read_diary, folder)
        return [] if diary is None else list(diary.stages)
    async with parts.database.read() as connection:
        told = await list_stage_changes(connection, job_id)
    return list(in_order([StageEntry(name=name, env_steps=steps) for name, steps in told]))


@router.get("/runs/{run_id}/report", response_class=Response, responses={200: _PAGE})
async def get_report(run_id: RunId, orchestrator: Conductor, parts: Parts) -> Response:
    """Return a run's report as HTML, once somebody has had it written."""
    run = await orchestrator.run(run_id)
    page = anyio.Path(parts.output_dir / "reports" / f"run-{run.summary.id}.html")
    try:
        content = await page.read_bytes()
    except FileNotFoundError as error:
        detail = (
            f"run {run_id} has no report yet; write it: python -m orchestration report {run_id}"
        )
        raise HTTPException(HTTPStatus.NOT_FOUND, detail) from error
    return Response(content, media_type="text/html", headers=INERT_PAGE)
