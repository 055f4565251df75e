"""What can happen to a job: a pure function from (job, event, now) to (job, effects).

Terminal states are final, attempts are counted when claimed, and a lost worker counts against
`max_lost`, not against `max_attempts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from orchestration.jobs import (
    TIMEOUT,
    WAITING,
    Desired,
    Job,
    JobState,
    JobTransitionError,
    prove_lease,
    wait_from,
)

_WITH_ERROR = frozenset({JobState.FAILED, JobState.TIMED_OUT, JobState.DEAD})


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A worker takes the job until `lease_until`."""

    worker_id: str
    lease_until: datetime
    runs: bool = False
    """Whether it runs from now on, with no process to wait for."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """The attempt's process said hello."""

    fence: int
    pid: int


@dataclass(frozen=True, kw_only=True)
class Renewed:
    """The worker still lives; progress as last heard from the child."""

    fence: int
    lease_until: datetime
    progress: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The attempt did all the work."""

    fence: int
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The attempt stopped because it was told to; the rest of the work remains."""

    fence: int


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The attempt broke; `retry_at` is None where trying again is of no use."""

    fence: int
    error_class: str
    error: str
    retry_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The lease of attempt `fence` ran out, or its worker is known to be dead."""

    fence: int
    reason: str
    retry_at: datetime


@dataclass(frozen=True, kw_only=True)
class Requested:
    """The owner wants something else."""

    desired: Desired


@dataclass(frozen=True, kw_only=True)
class NeedsMet:
    """All jobs that it waited for have ended as it asked."""


@dataclass(frozen=True, kw_only=True)
class NeedFailed:
    """A job that it waited for ended otherwise, so it can never start."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Expired:
    """It has waited for a worker for too long."""


JobEvent = (
    Claimed
    | Started
    | Renewed
    | Completed
    | Stopped
    | Failed
    | Lost
    | Requested
    | NeedsMet
    | NeedFailed
    | Expired
)
_FROM_ATTEMPTS = (Started, Renewed, Completed, Stopped, Failed, Lost)


@dataclass(frozen=True, kw_only=True)
class OpenAttempt:
    """Record that an attempt began."""

    worker_id: str


@dataclass(frozen=True, kw_only=True)
class NoteProcess:
    """Record the process of the open attempt."""

    pid: int


@dataclass(frozen=True, kw_only=True)
class CloseAttempt:
    """Record how the open attempt ended."""

    outcome: str
    error_class: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Announce:
    """Tell the outbox."""

    type: str
    payload: Mapping[str, Any] = field(default_factory=dict)


Effect = OpenAttempt | NoteProcess | CloseAttempt | Announce
Decision = tuple[Job, tuple[Effect, ...]]


def decide(job: Job, event: JobEvent, now: datetime) -> Decision:
    """Return the job after an event and what else to record with it.

    Args:
        job: The job before.
        event: What happened or is asked for.
        now: When.

    Raises:
        LeaseLostError: The event comes from an attempt that no longer owns the job.
        JobTransitionError: The event cannot happen in this state.
    """
    if isinstance(event, _FROM_ATTEMPTS):
        prove_lease(job, event.fence)
        return _decide_attempt(job, event, now)
    match event:
        case Requested():
            return _request(job, event.desired, now)
        case Claimed():
            return _claim(job, event, now)
        case NeedsMet():
            return _queue(job, now)
        case NeedFailed():
            return _give_up(job, event, now)
        case Expired():
            return _expire(job, now)


def _decide_attempt(
    job: Job, event: Started | Renewed | Completed | Stopped | Failed | Lost, now: datetime
) -> Decision:
    match event:
        case Started():
            return _start(job, event, now)
        case Renewed():
            return _renew(job, event, now), ()
        case Completed():
            return _end(job, JobState.SUCCEEDED, now, result=event.result)
        case Stopped():
            return _stop(job, now)
        case Failed():
            return _fail(job, event, now)
        case Lost():
            return _lose(job, event, now)


def _claim(job: Job, event: Claimed, now: datetime) -> Decision:
    if job.state not in WAITING or job.run_at > now:
        raise JobTransitionError(f"job {job.id} is {job.state.value} and not due: not claimed")
    claimed = replace(
        job,
        state=JobState.RUNNING if event.runs else JobState.LEASED,
        attempt=job.attempt + 1,
        fence=job.fence + 1,
        lease_owner=event.worker_id,
        lease_until=event.lease_until,
        expires_at=None,
        started_at=job.started_at or (now if event.runs else None),
    )
    told = (
        OpenAttempt(worker_id=event.worker_id),
        Announce(type="job_claimed", payload={"attempt": claimed.attempt, "fence": claimed.fence}),
    )
    return claimed, (*told, Announce(type="job_started")) if event.runs else told


def _start(job: Job, event: Started, now: datetime) -> Decision:
    started = replace(job, started_at=job.started_at or now)
    if job.state is not JobState.LEASED:  # told before, or about to stop
        return started, (NoteProcess(pid=event.pid),)
    started = replace(started, state=JobState.RUNNING)
    return started, (NoteProcess(pid=event.pid), Announce(type="job_started"))


def _renew(job: Job, event: Renewed, now: datetime) -> Job:
    renewed = replace(job, lease_until=event.lease_until)
    if event.progress is None:
        return renewed
    done, total = event.progress
    if (done, total) == (job.progress_done, job.progress_total):
        return renewed
    return replace(renewed, progress_done=done, progress_total=total, progress_at=now)


def _stop(job: Job, now: datetime) -> Decision:
    kept = replace(job, attempt=job.attempt - 1)
    match job.desired:
        case Desired.CANCEL:
            return _end(job, JobState.CANCELLED, now)
        case Desired.PAUSE:
            return _leave(kept, JobState.PAUSED, "paused")
        case Desired.RUN:
            return _leave(wait_from(kept, now), JobState.QUEUED, "preempted")


def _fail(job: Job, event: Failed, now: datetime) -> Decision:
    told = replace(job, error_class=event.error_class, error=event.error)
    if job.desired is Desired.CANCEL:
        return _end(told, JobState.CANCELLED, now)
    if event.retry_at is None:
        timed_out = event.error_class == TIMEOUT
        return _end(told, JobState.TIMED_OUT if timed_out else JobState.FAILED, now)
    if job.attempt >= job.max_attempts:
        return _end(told, JobState.DEAD, now)
    return _wait_again(told, event.retry_at, "failed")


def _lose(job: Job, event: Lost, now: datetime) -> Decision:
    told = replace(
        job, attempt=job.attempt - 1, lost=job.lost + 1, error_class="lost", error=event.reason
    )
    if job.desired is Desired.CANCEL:
        return _end(told, JobState.CANCELLED, now)
    if told.lost > job.max_lost:
        return _end(told, JobState.DEAD, now)
    return _wait_again(told, event.retry_at, "lost")


def _wait_again(job: Job, retry_at: datetime, outcome: str) -> Decision:
    if job.desired is Desired.PAUSE:
        return _leave(job, JobState.PAUSED, outcome)
    return _leave(wait_from(job, retry_at), JobState.RETRY_WAIT, outcome)


def _leave(job: Job, state: JobState, outcome: str) -> Decision:
    left = replace(job, state=state, lease_owner=None, lease_until=None)
    why = job.error_class if outcome in {"failed", "lost"} else None
    return left, (
        CloseAttempt(outcome=outcome, error_class=why, error=job.error if why else None),
        Announce(type=f"job_{state.value}", payload={"outcome": outcome, "error_class": why}),
    )


def _end(
    job: Job, state: JobState, now: datetime, *, result: Mapping[str, Any] | None = None
) -> Decision:
    closing: tuple[Effect, ...] = ()
    if job.state.is_live:
        why = job.error_class if state in _WITH_ERROR else None
        closing = (
            CloseAttempt(outcome=state.value, error_class=why, error=job.error if why else None),
        )
    ended = replace(
        job,
        state=state,
        lease_owner=None,
        lease_until=None,
        expires_at=None,
        finished_at=now,
        result=result,
    )
    if state is JobState.SUCCEEDED:
        ended = replace(ended, error_class=None, error=None)
    return ended, (*closing, Announce(type=f"job_{state.value}", payload={"error": ended.error}))


def _queue(job: Job, now: datetime) -> Decision:
    if job.state is not JobState.PENDING:
        return job, ()
    if job.desired is Desired.PAUSE:
        return replace(job, state=JobState.PAUSED), (Announce(type="job_paused"),)
    queued = replace(wait_from(job, max(job.run_at, now)), state=JobState.QUEUED)
    return queued, (Announce(type="job_queued"),)


def _give_up(job: Job, event: NeedFailed, now: datetime) -> Decision:
    if job.state.is_terminal:
        return job, ()
    return _end(replace(job, error_class="need", error=event.reason), JobState.CANCELLED, now)


def _expire(job: Job, now: datetime) -> Decision:
    if job.state not in WAITING or job.expires_at is None or job.expires_at > now:
        return job, ()
    error = f"no worker took it within {job.limits.queue_seconds:g} s"
    return _end(replace(job, error_class=TIMEOUT, error=error), JobState.TIMED_OUT, now)


def _request(job: Job, desired: Desired, now: datetime) -> Decision:
    if job.state.is_terminal or job.desired in {desired, Desired.CANCEL}:
        return job, ()
    asked = replace(job, desired=desired)
    announce = Announce(type=f"job_{desired.value}_requested")
    if job.state.is_live:
        state = JobState.CANCELLING if desired is Desired.CANCEL else job.state
        return replace(asked, state=state), (announce,)
    match desired:
        case Desired.CANCEL:
            return _end(asked, JobState.CANCELLED, now)
        case Desired.PAUSE:
            pending = job.state is JobState.PENDING  # it waits anyway, and pauses when it need not
            state = job.state if pending else JobState.PAUSED
            return replace(asked, state=state, expires_at=None), (announce,)
        case Desired.RUN:
            if job.state is JobState.PENDING:
                return asked, (announce,)
            queued = wait_from(asked, max(job.run_at, now))
            return replace(queued, state=JobState.QUEUED), (announce,)
