"""What callers write and read of schedules and pipelines, checked where it enters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field

from ai_agents.base_agent import FieldProblem, RequestError
from orchestration.endpoints.callers import Caller
from orchestration.endpoints.shapes import ID_PATTERN, TEXT_PATTERN, Settings, Whole
from orchestration.endpoints.submission import read_config
from orchestration.jobs import Job, JobState
from orchestration.pipelines.declaration import Pipeline
from orchestration.pipelines.kinds import PROMOTE
from orchestration.pipelines.submission import Order, plan_from_json, plan_to_json
from orchestration.scheduler.plan import Misfire, Overlap
from orchestration.scheduler.schedules import EVENT, MOST_PENDING, NAME, NewSchedule, Schedule
from orchestration.scheduler.timing import timing_from_json, timing_to_json
from utils.persistence.access_tokens import Scope

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
NAME_PATTERN = f"^{NAME.pattern}$"
STEP_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$"
EVENT_PATTERN = f"^{EVENT.pattern}$"
ScheduleName = Annotated[str, Path(pattern=NAME_PATTERN, description="Of a schedule.")]
PipelineId = Annotated[str, Path(pattern=ID_PATTERN, description="Of a pipeline.")]
StepName = Annotated[str, Field(pattern=STEP_PATTERN)]


class CronTiming(BaseModel):
    """On the wall clock of a zone."""

    model_config = STRICT
    kind: Literal["cron"]
    expression: str = Field(
        max_length=200, pattern=TEXT_PATTERN, description="Minute, hour, day, month, weekday."
    )
    zone: str = Field(default="UTC", max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")


class IntervalTiming(BaseModel):
    """Every so many seconds from a start."""

    model_config = STRICT
    kind: Literal["interval"]
    seconds: float = Field(ge=1, le=366 * 86_400)
    start: str = Field(max_length=40, pattern=TEXT_PATTERN, description="ISO 8601 with offset.")


class OnceTiming(BaseModel):
    """At one moment."""

    model_config = STRICT
    kind: Literal["once"]
    at: str = Field(max_length=40, pattern=TEXT_PATTERN, description="ISO 8601 with offset.")


class EventTiming(BaseModel):
    """After events."""

    model_config = STRICT
    kind: Literal["event"]
    type: str = Field(pattern=EVENT_PATTERN, description="Of an event, such as job_succeeded.")
    where: Settings = Field(default={}, description="Fields of its payload that must equal these.")
    cooldown_seconds: float = Field(default=300, ge=0, le=366 * 86_400)


class StepRequest(BaseModel):
    """A step of a pipeline."""

    model_config = STRICT
    name: StepName
    kind: str = Field(pattern=r"^[a-z0-9_.-]{1,60}$")
    spec: Settings = Field(default={}, description="What this kind of step is told.")
    needs: list[StepName] = Field(default=[], max_length=100)


class StepsRequest(BaseModel):
    """A pipeline that is declared here."""

    model_config = STRICT
    name: StepName
    steps: list[StepRequest] = Field(min_length=1, max_length=100)


class RetrainFields(BaseModel):
    """Whose champion is trained on, and how."""

    model_config = STRICT
    agent: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+$")
    settings: Settings = Field(
        default={}, description="Fields of TrainingConfig that differ from the champion's."
    )


class RetrainRequest(BaseModel):
    """The built-in pipeline: train, evaluate, promote or keep."""

    model_config = STRICT
    retrain: RetrainFields


PlanRequest = StepsRequest | RetrainRequest


class ScheduleRequest(BaseModel):
    """A schedule to be kept."""

    model_config = STRICT
    name: str = Field(pattern=NAME_PATTERN)
    timing: Annotated[
        CronTiming | IntervalTiming | OnceTiming | EventTiming, Field(discriminator="kind")
    ]
    plan: PlanRequest
    misfire: Literal["skip", "once", "catch_up"] = "once"
    catch_up: Whole = Field(default=10, ge=1, le=MOST_PENDING)
    overlap: Literal["skip", "queue", "cancel"] = "skip"
    max_pending: Whole = Field(default=10, ge=1, le=MOST_PENDING)


class Announcement(BaseModel):
    """An event that happened elsewhere."""

    model_config = STRICT
    type: str = Field(pattern=EVENT_PATTERN, description="Such as new_data.")
    payload: Settings = Field(default={})


class ScheduleView(BaseModel):
    """A schedule as callers see it."""

    name: str
    timing: dict[str, Any]
    plan: dict[str, Any]
    misfire: Misfire
    catch_up: int
    overlap: Overlap
    max_pending: int
    active: bool
    next_time: datetime | None
    dropped: int = Field(description="Events that fell into a cool-down or met unfinished work.")
    created_at: datetime


class StepView(BaseModel):
    """A step as callers see it."""

    step: str | None
    kind: str
    job_id: str
    state: JobState
    error: str | None
    result: dict[str, Any] | None


class PipelineView(BaseModel):
    """A pipeline as callers see it."""

    id: str
    created_at: datetime
    steps: list[StepView]


def read_order(request: PlanRequest, caller: Caller) -> Order:
    """Return what is to be submitted; callers name no folders of this machine.

    Args:
        request: What a caller sent.
        caller: Who; only an admin may promote, by a pipeline too.

    Raises:
        RequestError: A training's setting is wrong or names a folder.
        PipelineError: The steps are no pipeline.
        HTTPException: It promotes, and the caller may not.
    """
    values = request.model_dump()
    if isinstance(request, RetrainRequest):
        configs: list[Mapping[str, Any]] = [request.retrain.settings]
    else:
        told = [step.spec.get("config", {}) for step in request.steps]
        if not all(isinstance(one, dict) for one in told):
            raise RequestError([FieldProblem(field="steps", problem="config wants fields")])
        configs = list(told)
    for config in configs:
        read_config(config)
    order = plan_from_json(values)
    promotes = not isinstance(order, Pipeline) or PROMOTE.kind in {s.kind for s in order.steps}
    if promotes and Scope.ADMIN not in caller.scopes:
        detail = "this pipeline promotes: it needs a token of scope `admin`"
        raise HTTPException(HTTPStatus.FORBIDDEN, detail)
    return order


def read_schedule(request: ScheduleRequest, order: Order) -> NewSchedule:
    """Return the schedule that a caller wants.

    Args:
        request: What was sent.
        order: Its plan.

    Raises:
        ConfigError: The timing cannot be.
    """
    return NewSchedule(
        name=request.name,
        timing=timing_from_json(request.timing.model_dump()),
        plan=plan_to_json(order),
        misfire=Misfire(request.misfire),
        catch_up=request.catch_up,
        overlap=Overlap(request.overlap),
        max_pending=request.max_pending,
    )


def view_schedule(schedule: Schedule) -> ScheduleView:
    """Show a schedule.

    Args:
        schedule: Any.
    """
    return ScheduleView(
        name=schedule.name,
        timing=timing_to_json(schedule.timing),
        plan=dict(schedule.plan),
        misfire=schedule.misfire,
        catch_up=schedule.catch_up,
        overlap=schedule.overlap,
        max_pending=schedule.max_pending,
        active=schedule.active,
        next_time=schedule.next_time,
        dropped=schedule.dropped,
        created_at=schedule.created_at,
    )


def view_pipeline(jobs: Sequence[Job]) -> PipelineView:
    """Show a pipeline.

    Args:
        jobs: Its jobs.
    """
    return PipelineView(
        id=str(jobs[0].pipeline_id),
        created_at=jobs[0].created_at,
        steps=[
            StepView(
                step=job.step,
                kind=job.kind,
                job_id=job.id,
                state=job.state,
                error=job.error,
                result=None if job.result is None else dict(job.result),
            )
            for job in jobs
        ],
    )
