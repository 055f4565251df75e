"""Budgets, prices, energy and stages of shared services: what is observed, and how prices move.

The same lines run in training (torch), evaluation and serving (NumPy).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl.domains.resource_allocation import OBSERVATION_LIMIT, AllocationDomain, AllocationView
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MarketConfig:
    """What services pay for what they hold, and from which budget."""

    budget: float = 400.0
    """Currency each service can spend in an episode."""
    dynamic_prices: bool = False
    """Whether the price level of a resource moves with its use."""
    price_rise: float = 1.02
    """Factor per step where more than `busy_use` of the capacity is held."""
    price_fall: float = 0.99
    """Factor per step where less than `quiet_use` of the capacity is held."""
    busy_use: float = 0.8
    quiet_use: float = 0.4
    lowest_level: float = 0.7
    highest_level: float = 2.0
    largest_bid: float = 4.0
    """Currency for a unit that the action 1 bids in an auction."""
    payment_weight: float = 0.0
    """Reward lost per unit of currency paid; at 0 a budget is a ration."""

    def __post_init__(self) -> None:
        """Refuse prices that do not move as their names say."""
        sizes = (self.budget, self.largest_bid)
        if not all(math.isfinite(size) and size > 0 for size in sizes):
            raise ConfigError(f"budget and largest_bid must be finite and above 0: {self}")
        if not (0 < self.price_fall <= 1 <= self.price_rise < math.inf):
            raise ConfigError(f"0 < price_fall <= 1 <= price_rise is needed: {self}")
        if not 0 <= self.quiet_use <= self.busy_use <= 1:
            raise ConfigError(f"0 <= quiet_use <= busy_use <= 1 is needed: {self}")
        if not 0 < self.lowest_level <= 1 <= self.highest_level < math.inf:
            raise ConfigError(f"0 < lowest_level <= 1 <= highest_level is needed: {self}")
        if not (math.isfinite(self.payment_weight) and self.payment_weight >= 0):
            raise ConfigError(f"payment_weight must be finite and not negative: {self}")


@dataclass(frozen=True, kw_only=True)
class EnergyConfig:
    """What units held cost in energy and carbon; at prices of zero both are only counted."""

    busy_kwh: tuple[float, ...]
    """Per resource: energy of a unit that serves, per step."""
    idle_kwh: tuple[float, ...]
    """Per resource: energy of a unit that is held idle, per step."""
    carbon_intensity: tuple[float, ...] = (0.35, 0.3, 0.25, 0.15, 0.25, 0.4)
    """kg of carbon dioxide per kWh at evenly spaced times of the day from midnight, joined by
    straight lines."""
    energy_price: float = 0.0
    """Reward lost per kWh."""
    carbon_price: float = 0.0
    """Reward lost per kg."""

    def __post_init__(self) -> None:
        """Refuse energies that are negative or missing."""
        if len(self.busy_kwh) != len(self.idle_kwh):
            raise ConfigError(f"busy_kwh and idle_kwh need one number per resource each: {self}")
        if not (self.carbon_intensity and self.busy_kwh):
            raise ConfigError(f"busy_kwh and carbon_intensity must not be empty: {self}")
        prices = (self.energy_price, self.carbon_price)
        values = (*self.busy_kwh, *self.idle_kwh, *self.carbon_intensity, *prices)
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise ConfigError(f"energies, intensities and prices must be finite and >= 0: {self}")


@dataclass(frozen=True, kw_only=True)
class MarketView:
    """What is known beside the work and the capacities; any leading axes, NumPy or torch."""

    allocation: AllocationView
    budget: Any
    """`[..., service]`: currency left."""
    price_level: Any
    """`[..., resource]`: factor on the price of a unit."""
    clearing_price: Any
    """`[..., resource]`: of the last auction."""
    service_active: Any = None
    """`[..., service]`: one where the service exists; None is everywhere."""
    resource_active: Any = None
    """`[..., resource]`: one where the resource exists; None is everywhere."""


class MarketDomain:
    """Observation of shared services with a market, a stage, or neither."""

    def __init__(
        self, allocation: AllocationDomain, market: MarketConfig | None, xp: Any = np
    ) -> None:
        """Keep the world.

        Args:
            allocation: What is observed without a market.
            market: None has none.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.allocation, self.market = allocation, market
        self._xp = xp

    @property
    def service_features(self) -> int:
        """Numbers observed per service."""
        return self.allocation.service_features + (self.market is not None)

    @property
    def shared_features(self) -> int:
        """Numbers observed once."""
        prices = 0 if self.market is None else 2 * self.allocation.num_resources
        return self.allocation.shared_features + prices

    @property
    def observation_size(self) -> int:
        """Size of the observation of everything."""
        return self.allocation.num_services * self.service_features + self.shared_features

    def encode_services(self, view: MarketView) -> Any:
        """Observe each service: what `AllocationDomain` sees, then its share of the budget left.

        Args:
            view: What is known.

        Returns:
            `[..., service, feature]`; zero for services that do not exist.
        """
        parts = self.allocation.describe_services(view.allocation)
        if self.market is not None:
            parts.append(view.budget[..., None] / self.market.budget)
        seen = self._xp.clip(self._xp.concatenate(parts, axis=-1), 0.0, OBSERVATION_LIMIT)
        return seen if view.service_active is None else seen * view.service_active[..., None]

    def encode_shared(self, view: MarketView) -> Any:
        """Observe what all have in common: that of `AllocationDomain`, price levels, last prices.

        Args:
            view: What is known.

        Returns:
            `[..., feature]`; zero for resources that do not exist.
        """
        xp = self._xp
        seen = self.allocation.encode_shared(view.allocation)
        if view.resource_active is not None:
            per_resource = 4 * self.allocation.num_resources
            active = xp.concatenate([view.resource_active] * 4, axis=-1)
            parts = [seen[..., :per_resource] * active, seen[..., per_resource:]]
            seen = xp.concatenate(parts, axis=-1)
        if self.market is None:
            return seen
        price = xp.clip(view.clearing_price / self.market.largest_bid, 0.0, OBSERVATION_LIMIT)
        prices = [view.price_level, price]
        if view.resource_active is not None:
            prices = [values * view.resource_active for values in prices]
        return xp.concatenate([seen, *prices], axis=-1)

    def encode(self, view: MarketView) -> Any:
        """Observe everything: all services one after another, then what they share.

        Args:
            view: What is known.
        """
        services = self.encode_services(view)
        flat = services.reshape((*services.shape[:-2], -1))
        return self._xp.concatenate([flat, self.encode_shared(view)], axis=-1)

    def move_prices(self, level: Any, use: Any, response: Any) -> Any:
        """Let price levels rise where much is held and fall where little is.

        Args:
            level: `[..., resource]`: before.
            use: `[..., resource]`: held over capacity.
            response: `[..., 1]` or `[..., resource]`: part of the move that happens.
        """
        market = self.market
        if market is None or not market.dynamic_prices:
            return level
        up = (market.price_rise - 1.0) * (use > market.busy_use)
        down = (market.price_fall - 1.0) * (use < market.quiet_use)
        moved = level * (1.0 + response * (up + down))
        return self._xp.clip(moved, market.lowest_level, market.highest_level)


def read_carbon_intensity(time_of_day: Any, config: EnergyConfig) -> Any:
    """Return kg of carbon dioxide per kWh at times of the day, NumPy.

    Args:
        time_of_day: `[...]`, in [0, 1).
        config: The curve.
    """
    points = np.asarray([*config.carbon_intensity, config.carbon_intensity[0]])
    times = np.linspace(0.0, 1.0, len(points))
    return np.interp(time_of_day, times, points).astype(np.float32)
