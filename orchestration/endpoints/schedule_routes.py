"""Routes of schedules and pipelines, and of events that happen elsewhere."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from orchestration.endpoints.callers import Caller
from orchestration.endpoints.parts import Conductor
from orchestration.endpoints.schedule_shapes import (
    Announcement,
    PipelineId,
    PipelineView,
    PlanRequest,
    ScheduleName,
    ScheduleRequest,
    ScheduleView,
    read_order,
    read_schedule,
    view_pipeline,
    view_schedule,
)
from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import may_fail
from orchestration.scheduler.schedules import Fire

router = APIRouter(
    prefix="/v1", tags=["schedules"], dependencies=[Trainer], responses=may_fail(404)
)
Count = Annotated[int, Query(ge=1, le=100, description="How many.")]


@router.post("/schedules", status_code=HTTPStatus.CREATED)
async def add_schedule(
    request: ScheduleRequest,
    orchestrator: Conductor,
    response: Response,
    caller: Annotated[Caller, Trainer],
) -> ScheduleView:
    """Keep a schedule; it fires from now on. Pipelines that promote want scope `admin`."""
    automation, order = orchestrator.automation, read_order(request.plan, caller)
    await automation.pipelines.check(order)
    schedule = await automation.schedules.add(read_schedule(request, order))
    response.headers["Location"] = f"/v1/schedules/{schedule.name}"
    return view_schedule(schedule)


@router.get("/schedules")
async def list_schedules(orchestrator: Conductor) -> list[ScheduleView]:
    """List all schedules, by name."""
    found = await orchestrator.automation.schedules.list_schedules()
    return [view_schedule(one) for one in found]


@router.get("/schedules/{name}")
async def get_schedule(name: ScheduleName, orchestrator: Conductor) -> ScheduleView:
    """Return a schedule."""
    return view_schedule(await orchestrator.automation.schedules.get(name))


@router.get("/schedules/{name}/next")
async def preview_schedule(
    name: ScheduleName, orchestrator: Conductor, count: Count = 5
) -> list[datetime]:
    """Return the next fires by the clock; none after events."""
    schedules = orchestrator.automation.schedules
    return schedules.preview((await schedules.get(name)).timing, count)


@router.get("/schedules/{name}/fires")
async def list_fires(name: ScheduleName, orchestrator: Conductor, count: Count = 20) -> list[Fire]:
    """List the fires there were, newest first."""
    return await orchestrator.automation.schedules.fires(name, limit=count)


@router.post("/schedules/{name}/pause")
async def pause_schedule(name: ScheduleName, orchestrator: Conductor) -> ScheduleView:
    """Let a schedule fire no more until it is resumed."""
    return view_schedule(await orchestrator.automation.schedules.pause(name))


@router.post("/schedules/{name}/resume")
async def resume_schedule(name: ScheduleName, orchestrator: Conductor) -> ScheduleView:
    """Let a paused schedule fire again; what fell into the pause is not made up for."""
    return view_schedule(await orchestrator.automation.schedules.resume(name))


@router.post("/schedules/{name}/run")
async def run_schedule(name: ScheduleName, orchestrator: Conductor) -> Fire:
    """Fire a schedule now, paused or not."""
    return await orchestrator.automation.scheduler.fire_now(name)


@router.delete("/schedules/{name}", status_code=HTTPStatus.NO_CONTENT)
async def delete_schedule(name: ScheduleName, orchestrator: Conductor) -> None:
    """Forget a schedule; the work that it started stays."""
    await orchestrator.automation.schedules.delete(name)


@router.post("/pipelines", status_code=HTTPStatus.ACCEPTED)
async def submit_pipeline(
    request: PlanRequest,
    orchestrator: Conductor,
    response: Response,
    caller: Annotated[Caller, Trainer],
) -> PipelineView:
    """Queue a pipeline: all of its jobs, or none. One that promotes wants scope `admin`."""
    jobs = await orchestrator.automation.pipelines.submit(read_order(request, caller))
    response.headers["Location"] = f"/v1/pipelines/{jobs[0].pipeline_id}"
    return view_pipeline(jobs)


@router.get("/pipelines")
async def list_pipelines(orchestrator: Conductor, count: Count = 20) -> list[PipelineView]:
    """List the newest pipelines."""
    found = await orchestrator.automation.pipelines.recent(limit=count)
    return [view_pipeline(jobs) for jobs in found]


@router.get("/pipelines/{pipeline_id}")
async def get_pipeline(pipeline_id: PipelineId, orchestrator: Conductor) -> PipelineView:
    """Return a pipeline and the state of its steps."""
    return view_pipeline(await orchestrator.automation.pipelines.jobs(pipeline_id))


@router.post("/announcements", status_code=HTTPStatus.ACCEPTED)
async def announce(request: Announcement, orchestrator: Conductor) -> Announcement:
    """Tell schedules and webhooks of an event that happened elsewhere, such as new data."""
    await orchestrator.automation.schedules.announce(request.type, request.payload)
    return request
