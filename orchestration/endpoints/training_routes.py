"""Routes of jobs: submit, list, look at, ask for another fate, try again."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from orchestration.endpoints.callers import Caller
from orchestration.endpoints.job_views import (
    JobDetails,
    JobPage,
    JobRequest,
    JobView,
    view,
    view_details,
)
from orchestration.endpoints.parts import Conductor, Parts
from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import ID_PATTERN, Cursor, JobId, Limit, may_fail
from orchestration.endpoints.submission import read_config, retry, submit
from orchestration.jobs import JobState
from utils.persistence.engine_queries import AttemptRecord, find_retried, list_attempts

__all__ = ["read_config", "router", "view"]

router = APIRouter(prefix="/v1/jobs", tags=["training"], responses=may_fail(404, 409))
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="The same one again returns the same job, finished or not.",
    ),
]


@router.post("", status_code=HTTPStatus.ACCEPTED)
async def submit_job(
    request: JobRequest,
    parts: Parts,
    response: Response,
    *,
    caller: Annotated[Caller, Trainer],
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Queue a job."""
    job = await submit(request, parts, caller, idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return view(job)


@router.get("", dependencies=[Trainer])
async def list_jobs(
    parts: Parts,
    *,
    state: Annotated[list[JobState], Query(max_length=20, description="Any of these.")] = [],  # noqa: B006
    kind: Annotated[str | None, Query(pattern=r"^[a-z0-9_.-]{1,60}$")] = None,
    pipeline: Annotated[str | None, Query(pattern=ID_PATTERN)] = None,
    before: Cursor = None,
    limit: Limit = 100,
) -> JobPage:
    """List jobs, newest first."""
    jobs = await parts.store.list_jobs(
        states=state, kind=kind, pipeline_id=pipeline, before=before, limit=limit
    )
    following = jobs[-1].id if len(jobs) == limit else None
    return JobPage(items=[view(job) for job in jobs], next=following)


@router.get("/{job_id}", dependencies=[Trainer])
async def get_job(job_id: JobId, parts: Parts) -> JobDetails:
    """Return a job."""
    job = await parts.store.get(job_id)
    async with parts.database.read() as connection:
        return view_details(job, await find_retried(connection, job.id))


@router.get("/{job_id}/attempts", dependencies=[Trainer])
async def get_attempts(job_id: JobId, parts: Parts) -> list[AttemptRecord]:
    """List the tries of a job, newest first."""
    job = await parts.store.get(job_id)
    async with parts.database.read() as connection:
        return await list_attempts(connection, job.id)


@router.post("/{job_id}/cancel", dependencies=[Trainer])
async def cancel_job(job_id: JobId, orchestrator: Conductor) -> JobView:
    """Stop a job for good; its checkpoints stay."""
    return view(await orchestrator.cancel(job_id))


@router.post("/{job_id}/pause", dependencies=[Trainer])
async def pause_job(job_id: JobId, orchestrator: Conductor) -> JobView:
    """Have a job save its work and wait."""
    return view(await orchestrator.pause(job_id))


@router.post("/{job_id}/resume", dependencies=[Trainer])
async def resume_job(job_id: JobId, orchestrator: Conductor) -> JobView:
    """Let a paused job go on from its checkpoint."""
    return view(await orchestrator.resume(job_id))


@router.post("/{job_id}/retry", status_code=HTTPStatus.ACCEPTED, dependencies=[Trainer])
async def retry_job(
    job_id: JobId, parts: Parts, response: Response, idempotency_key: IdempotencyKey = None
) -> JobDetails:
    """Queue a new job that does what a finished one should have done; a training is a new run."""
    job = await retry(job_id, parts, idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return view_details(job, job_id)
