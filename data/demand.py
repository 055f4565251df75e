"""Customer demand for a single product: the episodes of the inventory worlds, and laws for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data.scenario import Array, ScenarioArrays, ScenarioError
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class InventoryScenarios(ScenarioArrays):
    """Episodes of what customers ask for, in units per step."""

    demand: Array
    """`[episode, time]`: units asked for during each step."""

    def __post_init__(self) -> None:
        """Check shape and values once, where scenarios enter."""
        if self.demand.ndim != 2:
            raise ScenarioError(
                f"demand has {self.demand.ndim} axes; give two, [episode, time], of units per step"
            )
        if not np.isfinite(self.demand).all() or (self.demand < 0).any():
            raise ScenarioError(
                "demand holds negative or non-finite values; give finite units >= 0 for every step"
            )


@dataclass(frozen=True, kw_only=True)
class PoissonDemand:
    """A scenario source: independent whole units around one mean, every step alike."""

    mean: float
    max_steps: int

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn from."""
        if not (math.isfinite(self.mean) and self.mean >= 0) or self.max_steps < 1:
            raise ConfigError(f"a finite mean >= 0 and max_steps >= 1 are needed: {self}")

    def draw(self, num_episodes: int, generator: np.random.Generator) -> InventoryScenarios:
        """Make episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        units = generator.poisson(self.mean, (num_episodes, self.max_steps))
        return InventoryScenarios(demand=units.astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class GaussianDemand:
    """A scenario source: independent normal demand, every step alike; never below zero."""

    mean: float
    deviation: float
    max_steps: int

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn from."""
        finite = math.isfinite(self.mean) and math.isfinite(self.deviation)
        if not finite or min(self.mean, self.deviation) < 0 or self.max_steps < 1:
            raise ConfigError(
                f"finite mean >= 0 and deviation >= 0 and max_steps >= 1 are needed: {self}"
            )

    def draw(self, num_episodes: int, generator: np.random.Generator) -> InventoryScenarios:
        """Make episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        units = generator.normal(self.mean, self.deviation, (num_episodes, self.max_steps))
        return InventoryScenarios(demand=np.maximum(units, 0.0).astype(np.float32))
