"""Which errors are worth another attempt, and when."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from orchestration.jobs import TIMEOUT
from utils.errors import ConfigError


class ErrorClass(StrEnum):
    """Why an attempt ended without a result."""

    CONFIG = "config"  # a setting or the spec is wrong
    USER = "user"  # the task itself raised
    RESOURCE = "resource"  # memory or an accelerator ran out
    STORAGE = "storage"  # the task met a full or unwritable disk
    UNREACHABLE = "unreachable"  # the machine with the artifacts does not answer
    DATABASE = "database"  # the database was locked, full or damaged
    INTERNAL = "internal"  # a fault on the supervisor's side
    CRASHED = "crashed"  # the process died without a word
    HUNG = "hung"  # no progress for too long
    TIMEOUT = TIMEOUT  # the attempt ran for longer than it may
    LOST = "lost"  # the worker vanished


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential waiting between attempts; persisted as the job's `run_at`."""

    first_delay_seconds: float = 1.0
    factor: float = 2.0
    max_delay_seconds: float = 300.0
    jitter_fraction: float = 0.1
    """Delays differ by so much between jobs, so that they do not come back all at once."""

    def __post_init__(self) -> None:
        if not 0 <= self.first_delay_seconds <= self.max_delay_seconds:
            raise ConfigError("first_delay_seconds must lie between 0 and max_delay_seconds")
        if self.factor < 1:
            raise ConfigError(f"factor={self.factor}: waiting must not shrink; take 1 or more")
        if not 0 <= self.jitter_fraction <= 1:
            raise ConfigError(f"jitter_fraction={self.jitter_fraction}: choose 0 to 1")

    def delay_seconds(self, number: int, salt: str) -> float:
        """Return how long to wait; the same for the same arguments.

        Args:
            number: How many attempts have ended so; 0 or less waits for nothing.
            salt: Tells jobs apart.
        """
        if number < 1:
            return 0.0
        grown = self.first_delay_seconds * self.factor ** min(number - 1, 60)
        digest = hashlib.sha256(f"{salt}:{number}".encode()).digest()
        chance = int.from_bytes(digest[:8], "big") / 2**64
        return min(grown, self.max_delay_seconds) * (1 + self.jitter_fraction * (chance - 0.5))


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How each class of error is tried again; None is not."""

    config: Backoff | None = None
    user: Backoff | None = None
    resource: Backoff | None = field(default_factory=lambda: Backoff(first_delay_seconds=30.0))
    """Others may leave memory meanwhile."""
    storage: Backoff | None = None
    unreachable: Backoff | None = field(default_factory=lambda: Backoff(first_delay_seconds=30.0))
    database: Backoff | None = field(default_factory=Backoff)
    internal: Backoff | None = None
    crashed: Backoff | None = field(default_factory=Backoff)
    hung: Backoff | None = field(default_factory=Backoff)
    timeout: Backoff | None = None
    lost: Backoff = field(default_factory=Backoff)
    """After the second loss; the first one waits for nothing: the job did nothing wrong."""

    def retry_at(
        self, error_class: ErrorClass, number: int, now: datetime, *, salt: str = ""
    ) -> datetime | None:
        """Return when to try again, or None where it would be of no use.

        Args:
            error_class: Why the attempt ended.
            number: How many attempts have ended so, this one included.
            now: When it ended.
            salt: Tells jobs apart, such as the job's id.
        """
        if error_class is ErrorClass.LOST:
            return now + timedelta(seconds=self.lost.delay_seconds(number - 1, salt))
        backoff: Backoff | None = getattr(self, error_class.value)
        if backoff is None:
            return None
        return now + timedelta(seconds=backoff.delay_seconds(number, salt))
