"""What the engine page says: rows and words from the server's answers, without drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestration.care.engine_view import LiveJob, WorkerView
from orchestration.endpoints.engine_routes import EngineDetails
from orchestration.endpoints.event_routes import EventView
from orchestration.endpoints.job_views import JobView
from orchestration.endpoints.schedule_shapes import PipelineView, ScheduleView
from orchestration.endpoints.webhook_routes import WebhookView
from orchestration.jobs import LIVE, TERMINAL, WAITING, Desired, JobState, Resources

SHORT_ID = 8
MINUTE, HOUR, DAY = 60, 3600, 86_400
Row = dict[str, object]
ACTIONS = ("pause", "resume", "cancel", "retry")


def ago(seconds: float | None) -> str:
    """Write a duration in its two largest units.

    Args:
        seconds: Of it; nothing if None.
    """
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def headline(details: EngineDetails) -> dict[str, str]:
    """Return the few figures above all.

    Args:
        details: Of the engine.
    """
    total = dict.fromkeys(JobState, 0)
    for counted in details.kinds.values():
        for state, count in counted.items():
            total[state] += count
    alive = [one for one in details.workers if one.is_alive is not False]
    slots = sum(one.parallel_jobs for one in alive)
    return {
        "Running": str(sum(total[state] for state in LIVE)),
        "Waiting": str(sum(total[state] for state in (*WAITING, JobState.PENDING))),
        "Due, not started": str(details.due),
        "First one waits": " ".join(ago(details.oldest_due_seconds).split()[:2]) or "-",
        "Paused": str(total[JobState.PAUSED]),
        "Workers": str(len(alive)),
        "Slots free": f"{max(0, slots - len(details.live))} of {slots}",
    }


def queue_rows(details: EngineDetails) -> list[Row]:
    """Return how many jobs of each kind are in each state that any is in.

    Args:
        details: Of the engine.
    """
    states = [s for s in JobState if any(s in counted for counted in details.kinds.values())]
    return [
        {"kind": kind} | {_spaced(state): counted.get(state, 0) for state in states}
        for kind, counted in details.kinds.items()
    ]


def live_rows(live: Sequence[LiveJob]) -> list[Row]:
    """Return a row for each job that a worker owns.

    Args:
        live: Them.
    """
    return [
        {
            "job": one.id[-SHORT_ID:],
            "kind": one.kind,
            "state": one.state
            if one.desired == Desired.RUN
            else f"{one.state}, {one.desired} asked",
            "progress": one.fraction,
            "heard": _before(one.progress_age_seconds),
            "runs for": ago(one.running_seconds),
            "attempt": one.attempt,
            "lease": _lease(one.lease_left_seconds),
            "slots": _slots(one.resources),
            "worker": (one.worker or "")[-SHORT_ID:],
        }
        for one in live
    ]


def worker_rows(workers: Sequence[WorkerView]) -> list[Row]:
    """Return a row for each worker.

    Args:
        workers: Them.
    """
    alive = {True: "runs", False: "gone", None: "on another machine"}
    return [
        {
            "worker": one.id[-SHORT_ID:],
            "process": alive[one.is_alive],
            "host": one.host.partition("/")[0],
            "pid": one.pid,
            "jobs": f"{one.jobs} of {one.parallel_jobs}",
            "capacity": "not counted" if one.capacity is None else _slots(one.capacity),
            "last seen": _before(one.seen_seconds),
        }
        for one in workers
    ]


def job_label(job: JobView) -> str:
    """Name a job in a list to choose from.

    Args:
        job: Any.
    """
    share = ""
    if job.progress_done is not None and job.progress_total:
        share = f" {min(1.0, job.progress_done / job.progress_total):.0%}"
    is_done = job.desired is Desired.RUN or job.state in {*TERMINAL, JobState.PAUSED}
    asked = "" if is_done else f", {job.desired} asked"
    return f"{job.id[-SHORT_ID:]} · {job.kind} · {_spaced(job.state)}{share}{asked}"


def allowed(job: JobView) -> set[str]:
    """Return which of `ACTIONS` make sense for a job.

    Args:
        job: Any.
    """
    if job.state.is_terminal:
        return {"retry"}
    if job.desired is Desired.CANCEL:
        return set()
    return {"cancel", "resume" if job.desired is Desired.PAUSE else "pause"}


def event_rows(events: Sequence[EventView]) -> list[Row]:
    """Return a row for each event, newest first.

    Args:
        events: Oldest first.
    """
    return [
        {
            "at": f"{one.at:%d %b %H:%M:%S}",
            "event": one.type,
            "job": (one.job_id or "")[-SHORT_ID:],
            "facts": ", ".join(f"{name} {value}" for name, value in one.payload.items()),
        }
        for one in reversed(events)
    ]


def schedule_rows(
    schedules: Sequence[ScheduleView], fires: Mapping[str, Sequence[datetime]]
) -> list[Row]:
    """Return a row for each schedule.

    Args:
        schedules: Them.
        fires: The next fires of each, by name.
    """
    return [
        {
            "schedule": one.name,
            "state": "active" if one.active else "paused",
            "when": timing_words(one.timing),
            "does": plan_words(one.plan),
            "next": _moment(one.next_time) if one.active else "",
            "then": ""
            if not one.active
            else ", ".join(f"{at:%d %b %H:%M}" for at in fires.get(one.name, ())[1:]),
            "left out": one.dropped,
        }
        for one in schedules
    ]


def timing_words(timing: Mapping[str, Any]) -> str:
    """Say when a schedule fires.

    Args:
        timing: As the server tells it.
    """
    match timing.get("kind"):
        case "cron":
            return f"{timing['expression']} ({timing['zone']})"
        case "interval":
            return f"every {ago(timing['seconds'])}"
        case "once":
            return f"once, at {timing['at']}"
        case "event":
            return f"after {timing['type']}"
        case other:
            return str(other)


def plan_words(plan: Mapping[str, Any]) -> str:
    """Say what a schedule starts.

    Args:
        plan: As the server tells it.
    """
    if "retrain" in plan:
        return f"retrain {plan['retrain'].get('agent', '')}".strip()
    steps = " → ".join(str(step.get("name")) for step in plan.get("steps", ()))
    return f"{plan.get('name', 'pipeline')}: {steps}"


def step_rows(pipelines: Sequence[PipelineView]) -> list[Row]:
    """Return a row for each step of each pipeline.

    Args:
        pipelines: Newest first.
    """
    return [
        {
            "pipeline": one.id[-SHORT_ID:],
            "made": _moment(one.created_at),
            "step": step.step,
            "kind": step.kind,
            "state": _spaced(step.state),
            "job": step.job_id[-SHORT_ID:],
            "error": step.error,
        }
        for one in pipelines
        for step in one.steps
    ]


def webhook_rows(webhooks: Sequence[WebhookView]) -> list[Row]:
    """Return a row for each webhook.

    Args:
        webhooks: Them.
    """
    return [
        {
            "webhook": one.name,
            "state": "active" if one.active else "stopped",
            "to": one.url,
            "events": ", ".join(one.events),
            "deliveries": ", ".join(f"{count} {state}" for state, count in one.deliveries.items()),
        }
        for one in webhooks
    ]


def phrase_of(fate: str) -> str:
    """Return what is to be typed before all work is halted.

    Args:
        fate: `pause` or `cancel`.
    """
    return f"{fate} all jobs"


def _spaced(state: JobState) -> str:
    return state.value.replace("_", " ")


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%d %b %H:%M} UTC"


def _before(seconds: float | None) -> str:
    return "" if seconds is None else f"{ago(seconds)} ago"


def _lease(left: float) -> str:
    return f"{ago(left)} left" if left >= 0 else f"over for {ago(-left)}"


def _slots(resources: Resources) -> str:
    parts = [
        f"{resources.cpu_milli / 1000:g} cpu" if resources.cpu_milli else "",
        f"{resources.gpu_milli / 1000:g} gpu" if resources.gpu_milli else "",
        f"{resources.memory_mb:,} MB" if resources.memory_mb else "",
    ]
    return " ".join(part for part in parts if part) or "one"
