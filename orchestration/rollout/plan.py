"""Plans of canaries: which version is tried on which share of an agent's requests, and until when.

A request goes by its key: the same key meets the same version in every process and after every
restart, and those that a share reaches stay reached when it grows.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from datetime import datetime

from utils.errors import ConfigError
from utils.persistence.rollout_log import CanaryState

LARGEST_WINDOW = 10_000
LARGEST_REGRET = 2.0
"""Of two values of opposite signs and the same size."""


@dataclass(frozen=True, kw_only=True)
class CanaryLimits:
    """What a challenger must not exceed; see `orchestration.rollout.judge`."""

    window: int = 200
    """Its last so many requests are judged."""
    fewest: int = 20
    """Nothing is concluded from fewer."""
    most_errors: float = 0.01
    """Ratio of requests that nobody could answer, above the champion's."""
    most_fallbacks: float = 0.05
    """Ratio of requests that the expert answered in its place, above the champion's."""
    most_slowdown: float = 2.0
    """Its 95th percentile of latency, as a multiple of the champion's."""
    slack_seconds: float = 0.005
    """Latency beyond that multiple which is let pass, so that microseconds do not decide."""
    most_regret: float = 0.02
    """Mean of the expected value that the champion would have had more, relative to it."""

    def __post_init__(self) -> None:
        """Refuse limits that limit nothing.

        Raises:
            ConfigError: A number is out of range; it is named.
        """
        if not 1 <= self.fewest <= self.window <= LARGEST_WINDOW:
            raise ConfigError(
                f"fewest={self.fewest}, window={self.window}: choose 1 to window, and a window up "
                f"to {LARGEST_WINDOW}"
            )
        for name in ("most_errors", "most_fallbacks"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name}={value}: choose a ratio from 0 up to, not including, 1")
        if not 0 <= self.most_regret <= LARGEST_REGRET:
            raise ConfigError(
                f"most_regret={self.most_regret}: choose 0 to {LARGEST_REGRET:g}, where "
                f"{LARGEST_REGRET:g} never stops it"
            )
        if not 1 <= self.most_slowdown < math.inf:
            raise ConfigError(f"most_slowdown={self.most_slowdown}: choose a multiple of 1 or more")
        if not 0 <= self.slack_seconds < math.inf:
            raise ConfigError(f"slack_seconds={self.slack_seconds}: choose 0 seconds or more")


@dataclass(frozen=True, kw_only=True)
class CanaryPlan:
    """One agent's trial, as the database has it."""

    agent: str
    revision: int
    """Grows with every change: who decides on what was read earlier decides nothing."""
    version: int
    """The challenger."""
    share: float
    """Of the keys, from 0 to 1."""
    state: CanaryState
    limits: CanaryLimits = field(default_factory=CanaryLimits)
    reason: str = ""
    """Why it is in this state."""
    since: datetime
    """When the trial began."""
    changed_at: datetime

    def reaches(self, key: str) -> bool:
        """Say whether requests with a key go to the challenger.

        Args:
            key: Of a request.
        """
        return self.state is CanaryState.RUNNING and place_of(self.agent, key) < self.share


def check_share(share: float) -> None:
    """Refuse what is no share.

    Args:
        share: Of the keys.

    Raises:
        ConfigError: It is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"share={share}: choose 0 to 1, such as 0.1 for every tenth key")


def place_of(agent: str, key: str) -> float:
    """Return where a key lies in [0, 1), evenly spread and the same everywhere.

    Args:
        agent: Keys of different agents are spread independently.
        key: Of a request.
    """
    text = f"{agent}\0{key}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big") / 2**48
