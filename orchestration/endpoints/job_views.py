"""Jobs as callers see them, and as they ask for them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from orchestration.endpoints.shapes import TEXT_PATTERN, Settings, Whole
from orchestration.jobs import Desired, Job, JobState
from orchestration.tasks import TRAIN

LONGEST_SECONDS = 366 * 86_400
Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
Key = Annotated[str, Field(min_length=1, max_length=255, pattern=TEXT_PATTERN)]


class JobLimits(BaseModel):
    """How long a job may wait and run; nothing sets no bound."""

    model_config = ConfigDict(strict=True, extra="forbid")

    queue_seconds: Seconds | None = Field(default=None, description="From when it is due.")
    run_seconds: Seconds | None = Field(default=None, description="One attempt.")
    progress_seconds: Seconds | None = Field(default=None, description="Without progress.")


class JobResources(BaseModel):
    """What an attempt occupies of its worker."""

    model_config = ConfigDict(strict=True, extra="forbid")

    cpu_milli: Whole = Field(default=0, ge=0, le=10**6, description="Thousandths of a core.")
    gpu_milli: Whole = Field(
        default=0, ge=0, le=10**6, description="Thousandths of an accelerator."
    )
    memory_mb: Whole = Field(default=0, ge=0, le=10**8)


class JobRequest(BaseModel):
    """A job to be queued."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    kind: str = Field(
        default=TRAIN.kind, pattern=r"^[a-z0-9_.-]{1,60}$", description="What kind of job."
    )
    config: Settings = Field(
        default={},
        description="Of `train`: fields of TrainingConfig that differ from its defaults, such as "
        "total_episodes or seed.",
    )
    spec: Settings = Field(
        default={}, description="Of any other kind: its argument. Wants a token of scope `admin`."
    )
    dedupe_key: Key | None = Field(
        default=None,
        description="While a job with this key is unfinished, that job is returned instead.",
    )
    priority: Whole = Field(default=0, ge=-1000, le=1000, description="Higher ones go first.")
    max_attempts: Whole = Field(default=3, ge=1, le=100, description="Failures it may take.")
    delay_seconds: float = Field(
        default=0, ge=0, le=LONGEST_SECONDS, description="How long it waits before it is due."
    )
    limits: JobLimits = JobLimits()
    resources: JobResources = JobResources()


class JobView(BaseModel):
    """A job as callers see it."""

    id: str
    kind: str
    run_id: str | None
    state: JobState
    desired: Desired
    config: dict[str, Any] = Field(description="Of a training; the spec of any other kind.")
    priority: int
    pipeline_id: str | None
    step: str | None = Field(description="Its name in the pipeline.")
    attempt: int = Field(description="Attempts that count: failures and the one under way.")
    fence: int = Field(description="Names the newest attempt; 0 before the first.")
    lost: int = Field(description="Attempts whose worker vanished.")
    progress_done: int | None
    progress_total: int | None
    created_at: datetime
    run_at: datetime = Field(description="Not started before.")
    started_at: datetime | None
    finished_at: datetime | None
    error_class: str | None
    error: str | None
    result: dict[str, Any] | None


class JobDetails(JobView):
    """A job and where it came from."""

    retried_from: str | None = Field(description="The job that it repeats, if any.")


class JobPage(BaseModel):
    """Some jobs, newest first."""

    items: list[JobView]
    next: str | None = Field(description="`before` of the next page, if there may be one.")


def view(job: Job) -> JobView:
    """Show a job without what concerns only this machine.

    Args:
        job: Any.
    """
    return JobView(**_fields(job))


def view_details(job: Job, retried_from: str | None) -> JobDetails:
    """Show a job and where it came from.

    Args:
        job: Any.
        retried_from: The job that it repeats, if any.
    """
    return JobDetails(**_fields(job), retried_from=retried_from)


def _fields(job: Job) -> dict[str, Any]:
    special = {"run_id", "config", "result"}
    plain = {name: getattr(job, name) for name in JobView.model_fields if name not in special}
    return {
        **plain,
        "run_id": job.spec.get("run_id"),
        "config": job.spec.get("config", {}) if job.kind == TRAIN.kind else dict(job.spec),
        "result": None if job.result is None else dict(job.result),
    }
