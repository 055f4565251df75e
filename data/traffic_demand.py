"""Episodes of traffic shares: demands that are drawn anew every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.scenario import Array, ScenarioArrays, ScenarioError
from utils.errors import ConfigError

BASE_RESOURCES = {
    "network_traffic": 4,
    "cloud_computing": 3,
    "smart_grid": 5,
    "vehicle_routing": 6,
}
"""Resources of each kind of task at difficulty zero."""
MOST_RESOURCES = 9
ADDED_RESOURCES = 4
"""A difficulty d adds int(4 d) resources."""


@dataclass(frozen=True, kw_only=True)
class TrafficScenarios(ScenarioArrays):
    """Episodes of demands for shares of one link."""

    demand: Array
    """`[episode, time + 1, resource]`, in [0, 1]; zero for resources that do not exist."""
    resource_active: Array
    """`[episode, resource]`: one where the resource exists, else zero."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        episodes, _, resources = self.demand.shape
        if self.resource_active.shape != (episodes, resources):
            raise ScenarioError(
                f"resource_active has shape {self.resource_active.shape}, not "
                f"{(episodes, resources)}; give one value per episode and resource"
            )
        if not ((self.demand >= 0) & (self.demand <= 1)).all():
            raise ScenarioError("demand must lie in [0, 1]; scale it or drop those episodes")
        active = self.resource_active
        if not np.isin(active, (0, 1)).all() or (active.sum(-1) < 1).any():
            raise ScenarioError("resource_active must hold 0 and 1, and a 1 in every episode")


@dataclass(frozen=True, kw_only=True)
class TrafficLaws:
    """Which tasks are drawn, and how large they are."""

    task: str = "network_traffic"
    """Kind of task: how many resources there are at difficulty zero."""
    lowest_difficulty: float = 0.0
    """Each episode's difficulty is U(lowest, highest)."""
    highest_difficulty: float = 0.0
    num_slots: int = 4
    """Resources there is room for: 9 for every task at any difficulty."""
    num_steps: int = 200

    def __post_init__(self) -> None:
        """Refuse unknown tasks and those that do not fit."""
        if self.task not in BASE_RESOURCES:
            raise ConfigError(f"task {self.task!r}; known: {', '.join(BASE_RESOURCES)}")
        if not 0 <= self.lowest_difficulty <= self.highest_difficulty <= 1:
            raise ConfigError(
                "give 0 <= lowest_difficulty <= highest_difficulty <= 1, not "
                f"{self.lowest_difficulty} and {self.highest_difficulty}"
            )
        largest = BASE_RESOURCES[self.task] + int(ADDED_RESOURCES * self.highest_difficulty)
        if not largest <= self.num_slots or self.num_steps < 1:
            raise ConfigError(
                f"num_slots is {self.num_slots}, the hardest task has {largest} resources; raise "
                "num_slots or lower highest_difficulty, and take a step or more"
            )


class TrafficDemand:
    """A scenario source of demands that are independent and uniform on [0, 1]."""

    def __init__(self, laws: TrafficLaws) -> None:
        """Keep the laws.

        Args:
            laws: Sizes.
        """
        self._laws = laws

    def draw(self, num_episodes: int, generator: np.random.Generator) -> TrafficScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        laws = self._laws
        difficulty = generator.uniform(
            laws.lowest_difficulty, laws.highest_difficulty, (num_episodes, 1)
        )
        count = BASE_RESOURCES[laws.task] + (ADDED_RESOURCES * difficulty).astype(int)
        active = (np.arange(laws.num_slots) < count).astype(np.float32)
        shape = (num_episodes, laws.num_steps + 1, laws.num_slots)
        demand = generator.random(shape, dtype=np.float32) * active[:, None]
        return TrafficScenarios(demand=demand, resource_active=active)
