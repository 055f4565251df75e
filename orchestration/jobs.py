"""What a job is: its record, its states, and the proof that an attempt still owns it.

What the job does (`state`) and what its owner wants (`desired`) are separate, so no race loses a
cancel. Each claim raises `fence`, which never falls: whoever holds an older one may write nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from utils.errors import QuartermasterError


class JobState(StrEnum):
    """What the job does now."""

    QUEUED = "queued"  # waits for a worker
    RETRY_WAIT = "retry_wait"  # waits for a worker, not before `run_at`
    LEASED = "leased"  # a worker owns it, its process is being started
    RUNNING = "running"
    CANCELLING = "cancelling"  # owned, told to stop for good
    PAUSED = "paused"  # waits for its owner to resume it
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # an error that trying again would repeat
    CANCELLED = "cancelled"
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
TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.DEAD})


class Desired(StrEnum):
    """What the job's owner wants."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class LeaseLostError(QuartermasterError):
    """Another attempt owns the job, or none: stop and write nothing."""


class JobTransitionError(QuartermasterError):
    """The event cannot happen to a job in this state."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work and all that decides its fate."""

    id: str
    kind: str
    version: int = 1
    spec: Mapping[str, Any] = field(default_factory=dict)
    dedupe_key: str | None = None
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
    progress_done: int | None = None
    progress_total: int | None = None
    progress_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error_class: str | None = None
    error: str | None = None
    result: Mapping[str, Any] | None = None


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
