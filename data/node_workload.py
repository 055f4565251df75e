"""Episodes of nodes with unequal capacities, and the workloads that arrive to be placed on them.

Workloads lie one behind the other in order of arrival, so that an episode of 1,000 steps takes
kilobytes, not the megabytes of a table padded to the busiest step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from data.scenario import Array, ScenarioArrays, ScenarioError
from utils.errors import ConfigError

Counts = NDArray[np.int16]
SPARE_DEVIATIONS = 8.0
"""Room for so many standard deviations above the expected number of workloads."""


@dataclass(frozen=True, kw_only=True)
class NodeScenarios(ScenarioArrays):
    """What the outside world does to nodes; needs and capacities in units of each resource."""

    capacity: Array
    """`[episode, node, resource]`: fixed through the episode."""
    arrivals: Counts
    """`[episode, time]`: workloads that arrive before each step."""
    need: Array
    """`[episode, workload, resource]`, in order of arrival; the rest is never reached."""
    priority: Array
    """`[episode, workload]`."""
    deadline: Array
    """`[episode, workload]`: seconds after the arrival; read where workloads are tried again."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        episodes, workloads, resources = self.need.shape
        if self.capacity.ndim != 3 or self.capacity.shape[::2] != (episodes, resources):
            raise ScenarioError(
                f"capacity has shape {self.capacity.shape}, not ({episodes}, node, {resources})"
            )
        if self.arrivals.ndim != 2 or len(self.arrivals) != episodes:
            raise ScenarioError(f"arrivals has shape {self.arrivals.shape}, not ({episodes}, time)")
        for name in ("priority", "deadline"):
            shape = getattr(self, name).shape
            if shape != (episodes, workloads):
                raise ScenarioError(f"{name} has shape {shape}, not need's first two")
        for field in fields(self):
            values = getattr(self, field.name)
            if not np.isfinite(values).all() or (values < 0).any():
                raise ScenarioError(f"{field.name} holds negative or non-finite values")
        if (self.capacity == 0).any():
            raise ScenarioError("capacity holds zeros; every node needs some of every resource")
        if (self.arrivals.sum(1) > workloads).any():
            raise ScenarioError(f"more workloads arrive than the {workloads} that need lists")


@dataclass(frozen=True, kw_only=True)
class NodeWorldConfig:
    """Laws of capacities and workloads; the defaults are the published ones."""

    capacity: tuple[float, ...] = (100.0, 64.0, 1000.0, 500.0)
    """Units per resource of a node of size one."""
    smallest_need: tuple[float, ...] = (5.0, 2.0, 50.0, 10.0)
    largest_need: tuple[float, ...] = (30.0, 16.0, 200.0, 100.0)
    num_nodes: int = 10
    smallest_node: float = 0.5
    largest_node: float = 1.5
    num_priorities: int = 3
    """Priorities are 1, 2, ... with equal chance."""
    deadline: tuple[float, float] = (0.5, 2.0)
    """Uniform between both, seconds after the arrival."""
    initial_workloads: float = 5.0
    """Expected number that waits before the first step."""
    workloads_per_step: float = 0.05
    """Expected number before every later step."""
    rate_factors: tuple[float, ...] = (1.0,)
    """Episodes take these multiples of both expected numbers in turn."""
    max_steps: int = 1000

    def __post_init__(self) -> None:
        """Refuse worlds that cannot be drawn."""
        needs = (self.smallest_need, self.largest_need)
        if not self.capacity or any(len(need) != len(self.capacity) for need in needs):
            raise ConfigError("capacity, smallest_need and largest_need want one value a resource")
        if any(not 0 < low <= high for low, high in zip(*needs, strict=True)):
            raise ConfigError(f"needs want 0 < smallest <= largest per resource: {needs}")
        sizes = (*self.capacity, *self.largest_need, self.smallest_node, self.largest_node)
        if not all(0 < size < math.inf for size in sizes) or self.smallest_node > self.largest_node:
            raise ConfigError(
                "capacities, needs and node sizes want to be finite and > 0, and smallest_node <= "
                f"largest_node: {sizes}"
            )
        if min(self.num_nodes, self.num_priorities, self.max_steps) < 1:
            raise ConfigError("num_nodes, num_priorities and max_steps want to be at least 1")
        if not 0 < self.deadline[0] <= self.deadline[1] < math.inf:
            raise ConfigError(f"deadline wants 0 < earliest <= latest, finite: {self.deadline}")
        rates = (self.initial_workloads, self.workloads_per_step, *self.rate_factors)
        if min(rates) < 0 or not all(map(math.isfinite, rates)):
            raise ConfigError(f"expected numbers of workloads want to be finite and >= 0: {rates}")
        if not self.rate_factors:
            raise ConfigError("rate_factors is empty: give at least one, such as 1.0")

    @property
    def max_workloads(self) -> int:
        """Room for workloads in an episode; more, of which the chance is below 1e-10, are cut."""
        mean = self.initial_workloads + self.workloads_per_step * (self.max_steps - 1)
        mean *= max(self.rate_factors)
        return math.ceil(mean + SPARE_DEVIATIONS * math.sqrt(mean)) + 16


class NodeWorkload:
    """A scenario source that draws nodes and workloads from their laws."""

    def __init__(self, config: NodeWorldConfig) -> None:
        """Keep the laws.

        Args:
            config: The laws.
        """
        self._config = config

    def draw(self, num_episodes: int, generator: np.random.Generator) -> NodeScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        config, room = self._config, self._config.max_workloads
        size = generator.uniform(
            config.smallest_node, config.largest_node, (num_episodes, config.num_nodes, 1)
        )
        factor = np.resize(config.rate_factors, (num_episodes, 1))
        rate = np.full(config.max_steps, config.workloads_per_step) * factor
        rate[:, :1] = config.initial_workloads * factor
        count = generator.poisson(rate, (num_episodes, config.max_steps))
        arrived = np.minimum(count.cumsum(1), room)
        shape = (num_episodes, room)
        return NodeScenarios(
            capacity=(size * config.capacity).astype(np.float32),
            arrivals=np.diff(arrived, axis=1, prepend=0).astype(np.int16),
            need=generator.uniform(
                config.smallest_need, config.largest_need, (*shape, len(config.capacity))
            ).astype(np.float32),
            priority=generator.integers(1, config.num_priorities + 1, shape).astype(np.float32),
            deadline=generator.uniform(*config.deadline, shape).astype(np.float32),
        )
