"""Making calls: never more at once than allowed, each with a deadline, failures as values.

Knows nothing of agents: whatever can be awaited with a request can be asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar, runtime_checkable

import anyio

from utils.clock import Clock
from utils.errors import ConfigError

LONGEST_ERROR = 1000
RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")
RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class Ask(Protocol[RequestT_contra, AnswerT_co]):
    """Anything that answers requests."""

    async def __call__(self, request: RequestT_contra, /) -> AnswerT_co:
        """Answer.

        Args:
            request: What is asked.
        """
        ...


@runtime_checkable
class Signed(Protocol):
    """An answer that says which version gave it."""

    @property
    def version(self) -> str:
        """Which version answered."""
        ...


@dataclass(frozen=True, kw_only=True)
class Call(Generic[RequestT, AnswerT]):
    """One request to one answerer."""

    name: str
    """Who is asked, as results say it."""
    ask: Ask[RequestT, AnswerT]
    request: RequestT
    deadline_seconds: float | None = None
    """Time it has once it is started; that of the limits if absent."""

    def __post_init__(self) -> None:
        if self.deadline_seconds is not None:
            _require_time("deadline_seconds", self.deadline_seconds)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a pattern may take."""

    max_at_once: int = 8
    """Calls under way at the same time, within one pattern."""
    call_seconds: float = 5.0
    """Time that each call has once it is started."""
    total_seconds: float = 30.0
    """Time that all of the pattern's calls have together, waiting included."""

    def __post_init__(self) -> None:
        if self.max_at_once < 1:
            raise ConfigError(f"max_at_once={self.max_at_once}: at least one")
        _require_time("call_seconds", self.call_seconds)
        _require_time("total_seconds", self.total_seconds)


class CallOutcome(StrEnum):
    """What became of a call."""

    ANSWERED = "answered"
    REFUSED = "refused"  # answered, but the asker did not accept the answer
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"  # another answer made it needless
    SKIPPED = "skipped"  # never made, because one that it builds on gave no answer


@dataclass(frozen=True, kw_only=True)
class CallResult(Generic[AnswerT]):
    """Who was asked and what came of it."""

    name: str
    outcome: CallOutcome
    answer: AnswerT | None = None
    """Present only if answered; an answer may be None itself."""
    version: str | None = None
    """Which version answered, if the answer is signed."""
    error: str | None = None
    """What is missing or went wrong, if not answered."""
    duration_seconds: float = 0.0

    @property
    def is_answered(self) -> bool:
        """Whether there is an accepted answer."""
        return self.outcome is CallOutcome.ANSWERED


def accept_all(answer: object) -> bool:  # noqa: ARG001
    """Accept any answer.

    Args:
        answer: Not looked at.
    """
    return True


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """When time is up, on a clock's monotonic scale."""

    clock: Clock
    due: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> Deadline:
        """Return the deadline so many seconds from now.

        Args:
            clock: Measures them.
            seconds: How many.
        """
        return cls(clock=clock, due=clock.monotonic() + seconds)

    @property
    def remaining_seconds(self) -> float:
        """Time left; not positive once it is up."""
        return self.due - self.clock.monotonic()


class CallRound(Generic[RequestT, AnswerT]):
    """Calls that are made side by side, once."""

    def __init__(
        self,
        calls: Sequence[Call[RequestT, AnswerT]],
        *,
        deadline: Deadline,
        limits: Limits,
        accept: Callable[[AnswerT], bool] = accept_all,
        stop_at_first: bool = False,
    ) -> None:
        """Start with nothing called; `make` does it.

        Args:
            calls: What to ask whom.
            deadline: Of all of them together.
            limits: How many at once, and how long each.
            accept: Tells whether an answer counts.
            stop_at_first: Whether the first accepted answer cancels the other calls.
        """
        self.winner: CallResult[AnswerT] | None = None
        """The first accepted answer, if asked to stop there."""
        self._calls = calls
        self._deadline = deadline
        self._limits = limits
        self._accept = accept
        self._stop_at_first = stop_at_first
        self._results: dict[int, CallResult[AnswerT]] = {}
        self._started: dict[int, float] = {}

    async def make(self) -> tuple[CallResult[AnswerT], ...]:
        """Make the calls; give a result for each, in their order, whatever happens.

        An answerer that shields itself against cancellation holds its deadline up; its late answer
        does not count.
        """
        if self._deadline.remaining_seconds > 0:
            async with anyio.create_task_group() as group:
                scope, seconds = group.cancel_scope, self._deadline.remaining_seconds
                group.start_soon(_cancel_after, self._deadline.clock, seconds, scope)
                await self._make_side_by_side(scope)
                scope.cancel()
        missing = CallOutcome.TIMED_OUT if self.winner is None else CallOutcome.CANCELLED
        return tuple(
            self._results.get(index) or self._unanswered(index, missing)
            for index in range(len(self._calls))
        )

    async def _make_side_by_side(self, scope: anyio.CancelScope) -> None:
        waiting = iter(range(len(self._calls)))

        async def carry() -> None:
            for index in waiting:
                if self.winner is not None:
                    return
                self._started[index] = self._deadline.clock.monotonic()
                await self._make_one(index)
                if self._stop_at_first and self._results[index].is_answered:
                    self._crown(self._results[index])
                    scope.cancel()

        async with anyio.create_task_group() as carriers:
            for _ in range(min(self._limits.max_at_once, len(self._calls))):
                carriers.start_soon(carry)

    def _crown(self, result: CallResult[AnswerT]) -> None:
        self.winner = self.winner or result

    async def _make_one(self, index: int) -> None:
        seconds = self._calls[index].deadline_seconds or self._limits.call_seconds
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_after, self._deadline.clock, seconds, group.cancel_scope)
            result = await self._attempt(index)
            if not group.cancel_scope.cancel_called:
                self._results[index] = result
            group.cancel_scope.cancel()
        if index not in self._results:
            self._results[index] = self._unanswered(index, CallOutcome.TIMED_OUT)

    async def _attempt(self, index: int) -> CallResult[AnswerT]:
        call = self._calls[index]
        outcome, error = CallOutcome.ANSWERED, None
        answer: AnswerT | None = None
        try:
            answer = await call.ask(call.request)
            if not self._accept(answer):
                outcome, error = CallOutcome.REFUSED, "the answer was not accepted"
        except Exception as problem:  # noqa: BLE001  a failed call is a result, not an end
            outcome, error = CallOutcome.FAILED, describe_error(problem)
        is_answered = outcome is CallOutcome.ANSWERED
        return CallResult(
            name=call.name,
            outcome=outcome,
            answer=answer if is_answered else None,
            version=answer.version if isinstance(answer, Signed) else None,
            error=error,
            duration_seconds=self._duration(index),
        )

    def _unanswered(self, index: int, outcome: CallOutcome) -> CallResult[AnswerT]:
        words = "not started" if index not in self._started else "no answer"
        why = "in time" if outcome is CallOutcome.TIMED_OUT else "before another one won"
        return CallResult(
            name=self._calls[index].name,
            outcome=outcome,
            error=f"{words} {why}",
            duration_seconds=self._duration(index),
        )

    def _duration(self, index: int) -> float:
        now = self._deadline.clock.monotonic()
        return now - self._started.get(index, now)


def describe_error(error: Exception) -> str:
    """Return kind and message of an error, not too long.

    Args:
        error: What was raised.
    """
    return f"{type(error).__name__}: {error}"[:LONGEST_ERROR]


async def _cancel_after(clock: Clock, seconds: float, scope: anyio.CancelScope) -> None:
    await clock.sleep(seconds)
    scope.cancel()


def _require_time(name: str, seconds: float) -> None:
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"{name}={seconds}: choose a positive number of seconds")
