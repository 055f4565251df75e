"""Leaving a policy alone that keeps failing, and trying it again after a while.

Closed: asked. After so many failures in a window it opens: not asked, others answer. After a pause
it is half open: one request may try it; if that goes well it closes, otherwise it opens again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from orchestration.decision_ports import Verdict
from utils.clock import Clock
from utils.errors import ConfigError
from utils.logs import get_logger

logger = get_logger(__name__)


class Phase(StrEnum):
    """Whether a policy is asked."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, kw_only=True)
class BreakerConfig:
    """When a breaker opens and how long it stays so."""

    max_failures: int = 5
    """Failures and missed deadlines within the window that open it."""
    window_seconds: float = 60.0
    open_seconds: float = 30.0
    """Pause before it is tried again; a trial that says nothing for as long is given up."""

    def __post_init__(self) -> None:
        if self.max_failures < 1:
            raise ConfigError(f"max_failures={self.max_failures}: at least one")
        for name in ("window_seconds", "open_seconds"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds > 0):
                raise ConfigError(f"{name}={seconds}: choose a positive number of seconds")


@dataclass(frozen=True, kw_only=True)
class BreakerState:
    """One breaker at one moment; times are monotonic seconds."""

    phase: Phase = Phase.CLOSED
    since: float = 0.0
    epoch: int = 0
    """Grows with every change of phase and every trial: what was asked before is not heard."""
    failures: tuple[float, ...] = ()
    """When it failed since it closed, within the window."""
    trial_since: float | None = None


def admit(state: BreakerState, config: BreakerConfig, now: float) -> tuple[BreakerState, bool]:
    """Return the state after a request came, and whether the policy may be asked.

    Args:
        state: Before.
        config: When to try again.
        now: When the request came.
    """
    match state.phase:
        case Phase.CLOSED:
            return state, True
        case Phase.OPEN:
            waited_since = state.since
        case Phase.HALF_OPEN if state.trial_since is None:
            waited_since = -math.inf
        case Phase.HALF_OPEN:
            waited_since = state.trial_since
    if now - waited_since < config.open_seconds:
        return state, False
    return replace(_enter(state, Phase.HALF_OPEN, now), trial_since=now), True


def judge(
    state: BreakerState, config: BreakerConfig, now: float, *, verdict: Verdict, epoch: int
) -> BreakerState:
    """Return the state after a policy that was asked did well or not.

    Args:
        state: Before.
        config: When to open.
        now: When the verdict came.
        verdict: How it did.
        epoch: Of the state that admitted the request.
    """
    if epoch != state.epoch:
        return state
    if state.phase is Phase.CLOSED:
        return _count(state, config, now) if verdict is Verdict.FAILED else state
    match verdict:
        case Verdict.SOUND:
            return _enter(state, Phase.CLOSED, now)
        case Verdict.FAILED:
            return _enter(state, Phase.OPEN, now)
        case Verdict.UNKNOWN:
            return replace(state, trial_since=None)


def _count(state: BreakerState, config: BreakerConfig, now: float) -> BreakerState:
    recent = tuple(at for at in state.failures if now - at < config.window_seconds)
    failures = (*recent, now)
    if len(failures) >= config.max_failures:
        return _enter(state, Phase.OPEN, now)
    return replace(state, failures=failures)


def _enter(state: BreakerState, phase: Phase, now: float) -> BreakerState:
    return BreakerState(phase=phase, since=now, epoch=state.epoch + 1)


class Teller(Protocol):
    """Hears of a breaker that is new or has changed."""

    def __call__(self, agent: str, version: str, *, is_open: bool) -> None:
        """Hear of one.

        Args:
            agent: Whose.
            version: Which one.
            is_open: Whether others answer; also while one request tries it.
        """
        ...


class CircuitBreakers:
    """One breaker per agent and version, in this process."""

    def __init__(
        self, clock: Clock, config: BreakerConfig | None = None, *, tell: Teller | None = None
    ) -> None:
        """Start with all of them closed.

        Args:
            clock: Measures windows and pauses.
            config: Of all breakers.
            tell: Hears of each.
        """
        self._tell = tell
        self._clock = clock
        self._config = config or BreakerConfig()
        self._states: dict[tuple[str, str], BreakerState] = {}

    def phase(self, agent: str, version: str) -> Phase:
        """Return whether a version is asked.

        Args:
            agent: Its name.
            version: Which one.
        """
        return self._states.get((agent, version), BreakerState()).phase

    def admit(self, agent: str, version: str) -> Callable[[Verdict], None] | None:
        """Return where to tell how the policy does; None while it must not be asked.

        Args:
            agent: Its name.
            version: Which one.
        """
        key, now = (agent, version), self._clock.monotonic()
        state, is_admitted = admit(self._states.get(key, BreakerState()), self._config, now)
        self._move(key, state)
        return (lambda verdict: self._judge(key, state.epoch, verdict)) if is_admitted else None

    def _judge(self, key: tuple[str, str], epoch: int, verdict: Verdict) -> None:
        now = self._clock.monotonic()
        state = judge(self._states[key], self._config, now, verdict=verdict, epoch=epoch)
        self._move(key, state)

    def _move(self, key: tuple[str, str], state: BreakerState) -> None:
        (agent, version), before = key, self._states.get(key)
        self._states[key] = state
        is_changed = state.phase is not (before or BreakerState()).phase
        if self._tell is not None and (before is None or is_changed):
            self._tell(agent, version, is_open=state.phase is not Phase.CLOSED)
        if is_changed:
            logger.warning("circuit_changed", agent=agent, version=version, phase=state.phase.value)
