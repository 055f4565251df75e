"""Which errors are worth another attempt, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from utils.errors import ConfigError


class ErrorClass(StrEnum):
    """Why an attempt ended without a result."""

    CONFIG = "config"  # a setting or the spec is wrong
    USER = "user"  # the task itself raised
    STORAGE = "storage"  # the task met a full or unwritable disk
    DATABASE = "database"  # the database was locked, full or damaged
    INTERNAL = "internal"  # a fault on the supervisor's side
    CRASHED = "crashed"  # the process died without a word
    HUNG = "hung"  # no progress for too long
    LOST = "lost"  # the worker vanished


RETRYABLE = {ErrorClass.DATABASE, ErrorClass.CRASHED, ErrorClass.HUNG, ErrorClass.LOST}


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Exponential waiting between attempts; persisted as the job's `run_at`."""

    first_delay_seconds: float = 1.0
    factor: float = 2.0
    max_delay_seconds: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.first_delay_seconds <= self.max_delay_seconds:
            raise ConfigError("first_delay_seconds must lie between 0 and max_delay_seconds")
        if self.factor < 1:
            raise ConfigError(f"factor={self.factor}: waiting must not shrink; take 1 or more")

    def retry_at(self, error_class: ErrorClass, number: int, now: datetime) -> datetime | None:
        """Return when to try again, or None where it would be of no use.

        The first loss of a worker costs no waiting: the job did nothing wrong.

        Args:
            error_class: Why the attempt ended.
            number: How many attempts have ended so, this one included.
            now: When it ended.
        """
        if error_class not in RETRYABLE:
            return None
        exponent = number - 1
        if error_class is ErrorClass.LOST:
            if number <= 1:
                return now
            exponent -= 1
        delay = min(
            self.first_delay_seconds * self.factor ** min(exponent, 60), self.max_delay_seconds
        )
        return now + timedelta(seconds=delay)
