"""The way from every door to an agent: the caller's pace, the agent's queue, and the time left.

An agent works on a few requests at once and a few more wait; the rest are told to come back. Time
spent waiting counts against the request's deadline: once it is over, the expert answers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from pydantic import BaseModel, ConfigDict, Field

from utils.errors import ConfigError, QuartermasterError

if TYPE_CHECKING:
    from ai_agents.base_agent import Decision
    from orchestration.orchestrator import Orchestrator
    from utils.clock import Clock

ALIAS_PATTERN = r"^[A-Za-z0-9_.-]{1,60}$"
LARGEST_VERSION = 10**6
LONGEST_DEADLINE_SECONDS = 60.0
SHORTEST_DEADLINE_SECONDS = 1e-6
QUEUE_RETRY_SECONDS = 1.0
MOST_CALLERS = 1024


@dataclass(frozen=True, kw_only=True)
class ReceptionConfig:
    """How much callers may ask of agents."""

    at_once: int = 16
    """Requests that one agent works on at once."""
    waiting: int = 64
    """Requests that may wait for one agent; further ones are refused."""
    calls_per_second: float | None = None
    """Decisions that each caller may ask for, a second on average; None counts nothing."""

    def __post_init__(self) -> None:
        """Refuse what would let nobody in.

        Raises:
            ConfigError: A number is too small.
        """
        if self.at_once < 1 or self.waiting < 0:
            raise ConfigError(
                f"at_once={self.at_once}, waiting={self.waiting}: choose at least 1 and 0"
            )
        if self.calls_per_second is not None and not 0 < self.calls_per_second < float("inf"):
            raise ConfigError(f"calls_per_second={self.calls_per_second}: choose a positive number")


class TooManyCallsError(QuartermasterError):
    """More was asked than is answered now; `retry_after_seconds` says when to come back."""

    def __init__(self, detail: str, retry_after_seconds: float) -> None:
        """Keep when to come back.

        Args:
            detail: What there is too much of.
            retry_after_seconds: From now on.
        """
        super().__init__(f"{detail}; try again in {retry_after_seconds:.3g} s")
        self.retry_after_seconds = retry_after_seconds


class Choice(BaseModel):
    """Which version shall answer, and by when."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    alias: str | None = Field(default=None, pattern=ALIAS_PATTERN)
    """By what it is for; the champion if absent, or the challenger where a canary says so."""
    version: int | None = Field(default=None, ge=1, le=LARGEST_VERSION)
    deadline_seconds: float | None = Field(default=None, gt=0, le=LONGEST_DEADLINE_SECONDS)
    request_id: str | None = Field(default=None, max_length=100)
    request_key: str | None = Field(default=None, max_length=100)
    """Requests with the same key meet the same version while a canary runs."""


USUAL = Choice()


@dataclass
class _Queue:
    busy: int = 0
    waiting: deque[anyio.Event] = field(default_factory=deque)


class Reception:
    """Passes requests of all doors on to agents."""

    def __init__(
        self, orchestrator: Orchestrator, clock: Clock, config: ReceptionConfig | None = None
    ) -> None:
        """Begin with no queue.

        Args:
            orchestrator: Asks the agents.
            clock: Measures paces and waits.
            config: How much callers may ask.
        """
        self._orchestrator = orchestrator
        self._clock = clock
        self._config = config or ReceptionConfig()
        self._queues: dict[str, _Queue] = {}
        self._levels: dict[str, tuple[float, float]] = {}

    async def decide(
        self, caller: str, name: str, payload: bytes, choice: Choice = USUAL
    ) -> Decision:
        """Ask one agent for a decision.

        Args:
            caller: Who asks; its pace is counted.
            name: Of the agent.
            payload: The request, as JSON.
            choice: Which version, and by when.

        Raises:
            TooManyCallsError: The caller is too fast, or the agent's queue is full.
            UnknownAgentError: There is no such agent, or nothing has this alias.
            UnknownVersionError: It has no such version.
            RequestError: The request is malformed; each problem names its field.
        """
        self.charge(caller)
        left = await self._enter(name, choice.deadline_seconds)
        try:
            return await self._orchestrator.invoke(
                name,
                payload,
                alias=choice.alias,
                version=choice.version,
                request_id=choice.request_id,
                request_key=choice.request_key,
                deadline_seconds=left,
            )
        finally:
            self._leave(name)

    async def decide_all(
        self, caller: str, name: str, payload: bytes, choice: Choice = USUAL
    ) -> list[Decision]:
        """Ask one agent for several decisions by one pass of its policy.

        Args:
            caller: Who asks; its pace is counted, by decisions.
            name: Of the agent.
            payload: The requests, as a JSON list.
            choice: Which version, and by when.

        Raises:
            TooManyCallsError: The caller is too fast, or the agent's queue is full.
            UnknownAgentError: There is no such agent, or nothing has this alias.
            UnknownVersionError: It has no such version.
            RequestError: A request is malformed; none is answered.
        """
        self.charge(caller)
        left = await self._enter(name, choice.deadline_seconds)
        try:
            decisions = await self._orchestrator.invoke_batch(
                name,
                payload,
                alias=choice.alias,
                version=choice.version,
                request_id=choice.request_id,
                request_key=choice.request_key,
                deadline_seconds=left,
            )
        finally:
            self._leave(name)
        self._pay(caller, len(decisions) - 1)
        return decisions

    def charge(self, caller: str) -> None:
        """Count a call against its caller's pace.

        Args:
            caller: Who asks.

        Raises:
            TooManyCallsError: It has used up what it may.
        """
        pace = self._config.calls_per_second
        if pace is None:
            return
        now, most = self._clock.monotonic(), max(pace, 1.0)
        level, then = self._levels.get(caller, (most, now))
        level = min(level + (now - then) * pace, most)
        if level < 1.0:
            raise TooManyCallsError(f"{caller} asks too often", (1.0 - level) / pace)
        if len(self._levels) >= MOST_CALLERS:
            self._levels.clear()
        self._levels[caller] = level - 1.0, now

    def _pay(self, caller: str, calls: int) -> None:
        """Count decisions that were given; the caller then waits until they are paid for."""
        if caller in self._levels:
            level, then = self._levels[caller]
            self._levels[caller] = level - calls, then

    async def _enter(self, name: str, deadline_seconds: float | None) -> float | None:
        """Wait for a place at an agent; return the time that is left."""
        queue = self._queues.setdefault(name, _Queue())
        if queue.busy < self._config.at_once:  # nobody waits while a place is free
            queue.busy += 1
            return deadline_seconds
        if len(queue.waiting) >= self._config.waiting:
            raise TooManyCallsError(f"{name} has a full queue", QUEUE_RETRY_SECONDS)
        since = self._clock.monotonic()
        await self._wait(name, queue, deadline_seconds)
        if deadline_seconds is None:
            return None
        left = deadline_seconds - (self._clock.monotonic() - since)
        return max(left, SHORTEST_DEADLINE_SECONDS)

    async def _wait(self, name: str, queue: _Queue, deadline_seconds: float | None) -> None:
        turn = anyio.Event()
        queue.waiting.append(turn)
        try:
            with anyio.move_on_after(deadline_seconds):
                await turn.wait()
                return
        except BaseException:
            if turn.is_set():  # the place came with the end of the call
                self._leave(name)
            else:
                queue.waiting.remove(turn)
            raise
        if not turn.is_set():  # too late for the policy: the expert answers at once
            queue.waiting.remove(turn)
            queue.busy += 1

    def _leave(self, name: str) -> None:
        queue = self._queues[name]
        if queue.waiting and queue.busy <= self._config.at_once:
            queue.waiting.popleft().set()  # the place passes on
            return
        queue.busy -= 1
        if queue.busy == 0:
            del self._queues[name]  # names are the callers' to choose
