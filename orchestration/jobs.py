"""What a job is: its record, its states, and the proof that an attempt still owns it.

What the job does (`state`) and what its owner wants (`desired`) are separate, so no race loses a
cancel. Each claim raises `fence`, which never falls: whoever holds an older one may write nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from utils.errors import ConfigError, QuartermasterError


class JobState(StrEnum):
    """What the job does now."""

    PENDING = "pending"  # waits for jobs that it needs
    QUEUED = "queued"  # waits for a worker
    RETRY_WAIT = "retry_wait"  # waits for a worker, not before `run_at`
    LEASED = "leased"  # a worker owns it, its process is being started
    RUNNING = "running"
    CANCELLING = "cancelling"  # owned, told to stop for good
    PAUSED = "paused"  # waits for its owner to resume it
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # an error that trying again would repeat
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"  # waited or ran for longer than it may
    DEAD = "dead"  # all attempts or losses are used up

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can happen to the job any more."""
        return self in TERMINAL

    @property
    def is_live(self) -> bool:
        """Whether a worker holds a lease on the job."""
        return self in LIVE


WAITING = frozenset({JobState.QUEUED, JobState.RETRY_WAIT})
LIVE = frozenset({JobState.LEASED, JobState.RUNNING, JobState.CANCELLING})
TERMINAL = frozenset(
    {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMED_OUT,
        JobState.DEAD,
    }
)
TIMEOUT = "timeout"
"""Error class of an attempt that ran for longer than it may."""


class Desired(StrEnum):
    """What the job's owner wants."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class Condition(StrEnum):
    """What a job asks of another one before it may start."""

    SUCCEEDED = "succeeded"
    FINISHED = "finished"  # in whatever way


class LeaseLostError(QuartermasterError):
    """Another attempt owns the job, or none: stop and write nothing."""


class JobTransitionError(QuartermasterError):
    """The event cannot happen to a job in this state."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What an attempt occupies while it holds its lease, or what a worker has of it."""

    cpu_milli: int = 0
    """Thousandths of a core."""
    gpu_milli: int = 0
    """Thousandths of an accelerator."""
    memory_mb: int = 0

    def __post_init__(self) -> None:
        for name in ("cpu_milli", "gpu_milli", "memory_mb"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: write 0 or more")

    def fits_into(self, room: Resources) -> bool:
        """Say whether there is enough of everything.

        Args:
            room: What is free.
        """
        return (
            self.cpu_milli <= room.cpu_milli
            and self.gpu_milli <= room.gpu_milli
            and self.memory_mb <= room.memory_mb
        )

    def without(self, used: Resources) -> Resources:
        """Return what is left; nothing less than 0.

        Args:
            used: What is taken away.
        """
        return Resources(
            cpu_milli=max(self.cpu_milli - used.cpu_milli, 0),
            gpu_milli=max(self.gpu_milli - used.gpu_milli, 0),
            memory_mb=max(self.memory_mb - used.memory_mb, 0),
        )

    def plus(self, more: Resources) -> Resources:
        """Return both together.

        Args:
            more: What is added.
        """
        return Resources(
            cpu_milli=self.cpu_milli + more.cpu_milli,
            gpu_milli=self.gpu_milli + more.gpu_milli,
            memory_mb=self.memory_mb + more.memory_mb,
        )


@dataclass(frozen=True, kw_only=True)
class Need:
    """A job that another one waits for, and gets the result of."""

    job_id: str
    name: str
    """What the waiting job calls it; its result comes as `context.inputs[name]`."""
    condition: Condition = Condition.SUCCEEDED


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a job may wait and run; None sets no bound."""

    queue_seconds: float | None = None
    """From when it is due until a worker takes it."""
    run_seconds: float | None = None
    """One attempt."""
    progress_seconds: float | None = None
    """Without progress; None leaves it to the worker's own setting."""

    def __post_init__(self) -> None:
        for name in ("queue_seconds", "run_seconds", "progress_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name}={value}: write a positive number of seconds, or none")


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job that somebody wants done."""

    kind: str
    """Which task does it."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The task's argument, plain JSON."""
    version: int = 1
    """Of the task's spec."""
    dedupe_key: str | None = None
    """Names the work: while a job with it is unfinished, that one is returned instead."""
    idempotency_key: str | None = None
    """Names the submission: the same one again returns the same job, finished or not."""
    request_sha256: str | None = None
    """What the idempotency key stands for; the hash of kind, version and spec if absent."""
    priority: int = 0
    """Higher ones are claimed first, and may have running lower ones stop at a checkpoint."""
    max_attempts: int = 3
    """Failures it may take."""
    max_lost: int = 10
    """Losses of its worker it may take."""
    run_at: datetime | None = None
    """Not before; at once if absent."""
    limits: Limits = field(default_factory=Limits)
    resources: Resources = field(default_factory=Resources)
    limit_key: str | None = None
    """Jobs with this key run at most as many at once as the key allows."""
    needs: tuple[Need, ...] = ()
    """Jobs that come first."""
    pipeline_id: str | None = None
    step: str | None = None
    """Its name in the pipeline."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or self.max_lost < 0:
            raise ConfigError("max_attempts must be 1 or more, max_lost 0 or more")
        names = [need.name for need in self.needs]
        if len(set(names)) < len(names):
            raise ConfigError(f"needs {names}: each needs a name of its own")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work and all that decides its fate."""

    id: str
    kind: str
    version: int = 1
    spec: Mapping[str, Any] = field(default_factory=dict)
    dedupe_key: str | None = None
    idempotency_key: str | None = None
    request_sha256: str | None = None
    priority: int = 0
    state: JobState = JobState.QUEUED
    desired: Desired = Desired.RUN
    attempt: int = 0  # attempts that count: failures and the one under way
    max_attempts: int = 3
    lost: int = 0  # attempts whose worker vanished
    max_lost: int = 10
    fence: int = 0
    lease_owner: str | None = None
    lease_until: datetime | None = None
    run_at: datetime
    expires_at: datetime | None = None  # when it has waited too long; set while it waits
    limits: Limits = field(default_factory=Limits)
    resources: Resources = field(default_factory=Resources)
    limit_key: str | None = None
    pipeline_id: str | None = None
    step: str | None = None
    has_needs: bool = False
    progress_done: int | None = None
    progress_total: int | None = None
    progress_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error_class: str | None = None
    error: str | None = None
    result: Mapping[str, Any] | None = None


def make_job(new: NewJob, *, job_id: str, now: datetime) -> Job:
    """Return a job as it begins: pending if it needs others, queued otherwise.

    Args:
        new: What is wanted.
        job_id: Its id.
        now: When it is submitted.
    """
    run_at = now if new.run_at is None else max(new.run_at, now)
    job = Job(
        id=job_id,
        kind=new.kind,
        version=new.version,
        spec=dict(new.spec),
        dedupe_key=new.dedupe_key,
        idempotency_key=new.idempotency_key,
        request_sha256=new.request_sha256,
        priority=new.priority,
        state=JobState.PENDING if new.needs else JobState.QUEUED,
        max_attempts=new.max_attempts,
        max_lost=new.max_lost,
        run_at=run_at,
        limits=new.limits,
        resources=new.resources,
        limit_key=new.limit_key,
        pipeline_id=new.pipeline_id,
        step=new.step,
        has_needs=bool(new.needs),
        created_at=now,
    )
    return job if new.needs else wait_from(job, run_at)


def wait_from(job: Job, run_at: datetime) -> Job:
    """Return the job due at a moment, with the moment until which it may then wait.

    Args:
        job: That waits.
        run_at: When it is due.
    """
    seconds = job.limits.queue_seconds
    expires_at = None if seconds is None else run_at + timedelta(seconds=seconds)
    return replace(job, run_at=run_at, expires_at=expires_at)


def prove_lease(job: Job, fence: int) -> None:
    """Check that an attempt still owns the job.

    Args:
        job: As it is in the database now.
        fence: The attempt's fence.

    Raises:
        LeaseLostError: Another attempt owns it, or none.
    """
    if job.fence != fence or not job.state.is_live:
        raise LeaseLostError(
            f"attempt with fence {fence} no longer owns job {job.id} "
            f"(now {job.state.value}, fence {job.fence}): stop and write nothing"
        )
