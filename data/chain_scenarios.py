"""Episodes of a supply chain with one market: shop demand, and what goes wrong on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.scenario import Array
from data.shop_demand import USUAL, ShopDemand
from data.supply_demand import SupplyShape
from data.supply_disruptions import DisruptionLaw, draw_disruptions
from data.supply_scenarios import SupplyScenarios
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ChainSource:
    """A scenario source; demand and disruptions come from streams of their own."""

    shape: SupplyShape
    demand: ShopDemand
    disruptions: DisruptionLaw | None = None
    late_share: float = 0.0
    """Share of shipments that come late, by one step up to the longest delay."""

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1], and trouble that the arrays have no room for."""
        if not 0 <= self.late_share <= 1:
            raise ConfigError(f"late_share must lie in [0, 1], not {self.late_share}")
        if not self.shape.has_disruptions or self.shape.max_delay < 1:
            raise ConfigError("a chain's shape needs has_disruptions and max_delay of at least 1")

    def draw(self, num_episodes: int, generator: np.random.Generator) -> SupplyScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        of_demand, of_trouble = generator.spawn(2)
        units = self.demand.draw_units(num_episodes, self.shape.num_steps, of_demand)
        return self.around(units, of_trouble)

    def around(self, units: Array, generator: np.random.Generator) -> SupplyScenarios:
        """Return given demand with disruptions drawn.

        Args:
            units: `[episode, time]`.
            generator: The only source of chance.
        """
        shape, episodes = self.shape, len(units)
        struck = draw_disruptions(
            self.disruptions,
            (episodes, shape.num_steps, shape.num_nodes),
            num_flows=shape.num_flows,
            has_disruptions=True,
            max_delay=shape.max_delay,
            generator=generator,
        )
        if self.late_share:
            late = generator.random(struck.delay.shape) < self.late_share
            extra = generator.integers(1, shape.max_delay + 1, struck.delay.shape)
            struck.delay[:] = np.minimum(struck.delay + late * extra, shape.max_delay)
        demand = np.round(units[..., None] * struck.demand_factor).astype(np.float32)
        ahead = shape.num_steps + shape.known_horizon
        return SupplyScenarios(
            demand=demand,
            demand_mean=np.full((episodes, ahead, 1), USUAL, np.float32),
            demand_uniform=np.zeros_like(demand),
            shortage=struck.shortage.astype(np.float32),
            delay=struck.delay.astype(np.float32),
            quality_loss=struck.quality_loss.astype(np.float32),
            capacity_loss=struck.capacity_loss.astype(np.float32),
            node_active=np.ones((episodes, shape.num_nodes), np.float32),
            product_active=np.ones((episodes, shape.num_products), np.float32),
        )
