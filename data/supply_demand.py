"""Customers of a supply network: Poisson demand around a mean with trend, season and shock."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.supply_disruptions import DisruptionLaw, Disruptions, draw_disruptions
from data.supply_scenarios import SupplyScenarios
from utils.errors import ConfigError

LEAST_MEAN = 0.1


@dataclass(frozen=True, kw_only=True)
class MeanDemand:
    """The mean of one market over time; effects multiply (gym-invmgmt 0.2.1, DemandEngine)."""

    base: float = 20.0
    """Units per step."""
    trend: float = 0.0
    """Share of the base gained per step."""
    season: float = 0.0
    """Amplitude, as a share."""
    period: float = 30.0
    """Steps of a season."""
    shock: float = 1.0
    """Factor from `shock_step` on."""
    shock_step: int = 15

    def __post_init__(self) -> None:
        """Refuse means that are no numbers, and seasons without a length."""
        numbers = (self.base, self.trend, self.season, self.period, self.shock)
        if not all(math.isfinite(number) for number in numbers):
            raise ConfigError(f"base, trend, season, period and shock must be finite: {self}")
        if self.base < 0 or self.shock < 0 or self.period <= 0:
            raise ConfigError(f"base, shock >= 0 and period > 0 are needed: {self}")

    def over(self, num_steps: int) -> NDArray[np.float64]:
        """Return the mean of the first steps, at least 0.1 of a unit; zero at a base of zero.

        Args:
            num_steps: How many.
        """
        steps = np.arange(num_steps)
        mean = self.base * (1 + self.trend * steps)
        mean = mean * (1 + self.season * np.sin(2 * np.pi / self.period * steps))
        mean = mean * np.where(steps >= self.shock_step, self.shock, 1.0)
        return np.asarray(np.maximum(LEAST_MEAN if self.base else 0.0, mean), np.float64)


@dataclass(frozen=True, kw_only=True)
class SupplyShape:
    """How large the arrays of a network's scenarios are."""

    num_steps: int
    num_nodes: int
    num_flows: int
    """Links and recipes."""
    num_products: int
    known_horizon: int = 0
    has_disruptions: bool = False
    max_delay: int = 0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a curriculum changes: who and what is in the world, and how uncertain it is."""

    inactive_nodes: tuple[int, ...] = ()
    inactive_products: tuple[int, ...] = ()
    variability: float = 0.0
    """Standard deviation of a market's mean around its law, drawn anew every step, as a share."""
    late_share: float = 0.0
    """Share of shipments that come late, by one step up to the longest delay."""

    def __post_init__(self) -> None:
        """Refuse shares outside their range."""
        if not (self.variability >= 0 and 0 <= self.late_share <= 1):
            raise ConfigError(f"variability >= 0 and late_share in [0, 1] are needed: {self}")


@dataclass(frozen=True, kw_only=True)
class SupplySource:
    """A scenario source: every market's Poisson demand, and disruptions."""

    shape: SupplyShape
    markets: tuple[MeanDemand, ...]
    disruptions: DisruptionLaw | None = None
    stage: Stage = Stage()

    def __post_init__(self) -> None:
        """Refuse stages that the network's arrays cannot hold."""
        shape = self.shape
        wants = self.disruptions is not None or self.stage.late_share > 0
        if wants and not shape.has_disruptions:
            raise ConfigError("disruptions and late shipments need a network with disruptions=True")
        if self.stage.late_share > 0 and shape.max_delay < 1:
            raise ConfigError("late shipments need a network with max_delay of at least 1")
        for name, chosen, size in (
            ("inactive_nodes", self.stage.inactive_nodes, shape.num_nodes),
            ("inactive_products", self.stage.inactive_products, shape.num_products),
        ):
            if any(not 0 <= number < size for number in chosen):
                raise ConfigError(f"{name} must lie in 0 .. {size - 1}: {chosen}")

    def draw(self, num_episodes: int, generator: np.random.Generator) -> SupplyScenarios:
        """Draw episodes; demand and disruptions from streams of their own, so that stages compare.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        shape = self.shape
        of_means, of_disruptions, of_demand = generator.spawn(3)
        steps, markets = shape.num_steps, len(self.markets)
        law = np.stack([one.over(steps + shape.known_horizon) for one in self.markets], -1)
        mean = np.broadcast_to(law, (num_episodes, *law.shape))
        if self.stage.variability > 0:
            wave = 1.0 + self.stage.variability * of_means.standard_normal(mean.shape)
            mean = mean * np.maximum(wave, 0.0)
        struck = self._draw_disruptions(num_episodes, of_disruptions)
        spike = np.ones_like(mean)
        spike[:, :steps] = struck.demand_factor
        mean = mean * spike
        demand = of_demand.poisson(mean[:, :steps])
        uniform = of_demand.random((num_episodes, steps, markets))
        active = _switch(num_episodes, shape.num_nodes, self.stage.inactive_nodes)
        products = _switch(num_episodes, shape.num_products, self.stage.inactive_products)
        return SupplyScenarios(
            demand=demand.astype(np.float32),
            demand_mean=mean.astype(np.float32),
            demand_uniform=uniform.astype(np.float32),
            shortage=struck.shortage.astype(np.float32),
            delay=struck.delay.astype(np.float32),
            quality_loss=struck.quality_loss.astype(np.float32),
            capacity_loss=struck.capacity_loss.astype(np.float32),
            node_active=active,
            product_active=products,
        )

    def _draw_disruptions(self, episodes: int, generator: np.random.Generator) -> Disruptions:
        shape = self.shape
        struck = draw_disruptions(
            self.disruptions,
            (episodes, shape.num_steps, shape.num_nodes),
            num_flows=shape.num_flows,
            has_disruptions=shape.has_disruptions,
            max_delay=shape.max_delay,
            generator=generator,
        )
        if self.stage.late_share > 0:
            late = generator.random(struck.delay.shape) < self.stage.late_share
            extra = generator.integers(1, shape.max_delay + 1, struck.delay.shape)
            struck.delay[:] = np.minimum(struck.delay + late * extra, shape.max_delay)
        return struck


def _switch(episodes: int, size: int, off: tuple[int, ...]) -> NDArray[np.float32]:
    active = np.ones((episodes, size), np.float32)
    active[:, list(off)] = 0.0
    return active
