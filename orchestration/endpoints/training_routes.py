"""Routes of training: submit jobs, follow runs, ask for another fate."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from ai_agents.base_agent import FieldProblem, RequestError
from orchestration.endpoints.parts import Conductor
from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import JobId, RunId, may_fail
from orchestration.jobs import Desired, Job, JobState
from rl.training.training_config import TrainingConfig
from utils.config import from_json
from utils.errors import ConfigError
from utils.persistence.run_queries import RunDetails, RunSummary

router = APIRouter(
    prefix="/v1", tags=["training"], dependencies=[Trainer], responses=may_fail(404, 409)
)


class JobRequest(BaseModel):
    """A training run to be queued."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["train"] = Field(default="train", description="What kind of job.")
    config: dict[str, Any] = Field(
        default={},
        description="Fields of TrainingConfig that differ from its defaults, such as "
        "total_episodes or seed.",
    )
    dedupe_key: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="While a job with this key is unfinished, that job is returned instead.",
    )


class JobView(BaseModel):
    """A job as callers see it."""

    id: str
    kind: str
    run_id: str | None
    state: JobState
    desired: Desired
    config: dict[str, Any]
    attempt: int = Field(description="Attempts that count: failures and the one under way.")
    lost: int = Field(description="Attempts whose worker vanished.")
    progress_done: int | None
    progress_total: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error_class: str | None
    error: str | None
    result: dict[str, Any] | None


@router.post("/jobs", status_code=HTTPStatus.ACCEPTED)
async def submit_job(request: JobRequest, orchestrator: Conductor, response: Response) -> JobView:
    """Queue a training run."""
    config = read_config(request.config)
    job = await orchestrator.submit_training(config, dedupe_key=request.dedupe_key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return view(job)


@router.get("/jobs/{job_id}")
async def get_job(job_id: JobId, orchestrator: Conductor) -> JobView:
    """Return a job."""
    return view(await orchestrator.job(job_id))


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(job_id: JobId, orchestrator: Conductor) -> JobView:
    """Stop a job for good; its checkpoints stay."""
    return view(await orchestrator.cancel(job_id))


@router.post("/jobs/{job_id}/pause")
async def pause_job(job_id: JobId, orchestrator: Conductor) -> JobView:
    """Have a job save its work and wait."""
    return view(await orchestrator.pause(job_id))


@router.post("/jobs/{job_id}/resume")
async def resume_job(job_id: JobId, orchestrator: Conductor) -> JobView:
    """Let a paused job go on from its checkpoint."""
    return view(await orchestrator.resume(job_id))


@router.get("/runs")
async def list_runs(
    orchestrator: Conductor,
    experiment: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[RunSummary]:
    """List runs, newest first."""
    return await orchestrator.runs(experiment=experiment, limit=limit)


@router.get("/runs/{run_id}")
async def get_run(run_id: RunId, orchestrator: Conductor) -> RunDetails:
    """Return a run with its newest metrics, evaluations and models."""
    return await orchestrator.run(run_id)


def read_config(values: Mapping[str, Any]) -> TrainingConfig:
    """Build a training config from what a caller sent.

    Args:
        values: Fields by name.

    Raises:
        RequestError: Fields are unknown or wrong; each is named.
    """
    problems = [
        FieldProblem(field=f"config.{name}", problem=problem)
        for name, value in values.items()
        if (problem := _problem_of(name, value)) is not None
    ]
    if problems:
        raise RequestError(problems)
    try:
        return from_json(TrainingConfig, values, "config.")
    except ConfigError as error:
        raise RequestError([FieldProblem(field="config", problem=str(error))]) from error


def view(job: Job) -> JobView:
    """Show a job without what concerns only this machine.

    Args:
        job: Any.
    """
    return JobView(
        id=job.id,
        kind=job.kind,
        run_id=job.spec.get("run_id"),
        state=job.state,
        desired=job.desired,
        config=job.spec.get("config", {}),
        attempt=job.attempt,
        lost=job.lost,
        progress_done=job.progress_done,
        progress_total=job.progress_total,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        error_class=job.error_class,
        error=job.error,
        result=None if job.result is None else dict(job.result),
    )


def _problem_of(name: str, value: Any) -> str | None:
    if name == "traces" and value is not None:
        return "callers name no folders; start the server with QUARTERMASTER_TRACES"
    try:
        from_json(TrainingConfig, {name: value}, "config.")
    except ConfigError as error:
        return str(error)
    return None
