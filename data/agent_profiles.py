"""The four kinds of agents of a synthetic network, and how each behaves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from utils.errors import ConfigError

HOURS = 24
OFFICE = (0.20, 0.18, 0.16, 0.15, 0.16, 0.20, 0.30, 0.45, 0.60, 0.72, 0.78, 0.80)
OFFICE_DAY = (*OFFICE, 0.74, 0.76, 0.80, 0.79, 0.74, 0.64, 0.52, 0.44, 0.38, 0.32, 0.27, 0.23)
STEADY_DAY = tuple(
    0.55 + 0.10 * math.sin(2 * math.pi * (hour - 8) / HOURS) for hour in range(HOURS)
)
NIGHT_DAY = tuple(0.90 - value for value in OFFICE_DAY)


class AgentType(Enum):
    """What an agent does in the network."""

    COORDINATING = "coordinating"
    PROCESSING = "processing"
    ANALYSIS = "analysis"
    INTEGRATION = "integration"


@dataclass(frozen=True, kw_only=True)
class AgentBehaviorProfile:
    """Ranges that the agents of one type are drawn from."""

    throughput: tuple[float, float]
    """Tasks per minute when fully used, lowest and highest."""
    accuracy: tuple[float, float]
    """Share of tasks done right when idle."""
    response_time: tuple[float, float]
    """Seconds when idle."""
    utilization: tuple[float, ...]
    """Mean for each hour of the day, in [0, 1]."""
    error_probability: float
    """Chance that a judgement is turned around."""
    learning_rate: float
    """Share of its distance from perfect accuracy that an agent gains per day."""
    collaboration: float
    """Chance of a link to another agent, beyond the one that joins it to the network."""
    domains: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse profiles that no agent can have."""
        for name in ("throughput", "accuracy", "response_time"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise ConfigError(f"{name}=({low}, {high}): give 0 < lowest <= highest")
        shares = (*self.accuracy, *self.utilization, self.error_probability)
        if not all(0 <= share <= 1 for share in (*shares, self.learning_rate, self.collaboration)):
            raise ConfigError("accuracy, utilization, chances and rates must lie in [0, 1]")
        if len(self.utilization) != HOURS or not self.domains:
            raise ConfigError("give a utilization for each of 24 hours, and at least one domain")


PROFILES = {
    AgentType.COORDINATING: AgentBehaviorProfile(
        throughput=(20.0, 40.0),
        accuracy=(0.90, 0.97),
        response_time=(0.10, 0.30),
        utilization=OFFICE_DAY,
        error_probability=0.03,
        learning_rate=0.05,
        collaboration=0.50,
        domains=("planning", "scheduling"),
    ),
    AgentType.PROCESSING: AgentBehaviorProfile(
        throughput=(80.0, 160.0),
        accuracy=(0.93, 0.99),
        response_time=(0.02, 0.08),
        utilization=STEADY_DAY,
        error_probability=0.02,
        learning_rate=0.02,
        collaboration=0.15,
        domains=("orders", "settlement"),
    ),
    AgentType.ANALYSIS: AgentBehaviorProfile(
        throughput=(5.0, 15.0),
        accuracy=(0.80, 0.92),
        response_time=(0.50, 2.00),
        utilization=NIGHT_DAY,
        error_probability=0.08,
        learning_rate=0.10,
        collaboration=0.25,
        domains=("forecasting", "risk"),
    ),
    AgentType.INTEGRATION: AgentBehaviorProfile(
        throughput=(40.0, 90.0),
        accuracy=(0.88, 0.96),
        response_time=(0.05, 0.20),
        utilization=OFFICE_DAY,
        error_probability=0.05,
        learning_rate=0.04,
        collaboration=0.40,
        domains=("data", "interfaces"),
    ),
}
