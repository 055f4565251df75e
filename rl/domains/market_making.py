"""Quoting a bid and an ask around a mid price: what is observed, what is feasible, what fills.

The same lines run in training (torch), evaluation and serving (NumPy). Prices are differences from
the first mid price, so that float32 loses nothing that matters. Axes of two are (bid, ask).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import ConfigError

OBSERVATION_LIMIT = 10.0
OBSERVATION_SIZE = 6


@dataclass(frozen=True, kw_only=True)
class MarketMakingConfig:
    """One market maker's task (Avellaneda and Stoikov, 2008)."""

    horizon: float = 1.0
    """T, in units of time."""
    num_steps: int = 200
    decay: float = 1.5
    """k: a quote that lies 1 / k further from the mid price is filled e times less often."""
    lowest_distance: float = -1.0
    """Of a quote from the mid price, in currency; below 0 a quote gives money away to be filled."""
    highest_distance: float = 3.0
    inventory_limit: int = 30
    """Shares, long or short, from which on only the other side is quoted."""
    initial_inventory: int = 0
    liquidation_cost: float = 0.0
    """Currency per share still held, long or short, when time is up."""
    risk_aversion: float = 0.0
    """gamma: a step costs gamma / 2 times the variance of what is held over it."""
    initial_price: float = 100.0

    def __post_init__(self) -> None:
        """Refuse tasks without time, without room to quote, or begun outside the limit."""
        sizes = (self.horizon, self.decay, self.initial_price)
        if not all(math.isfinite(value) and value > 0 for value in sizes) or self.num_steps < 1:
            raise ConfigError(
                "horizon, decay and initial_price must be finite and above 0, num_steps at least "
                f"1: {self}"
            )
        if not -math.inf < self.lowest_distance < self.highest_distance < math.inf:
            raise ConfigError(
                "lowest_distance must be below highest_distance, both finite, not "
                f"{self.lowest_distance} and {self.highest_distance}"
            )
        if self.inventory_limit < 1 or abs(self.initial_inventory) > self.inventory_limit:
            raise ConfigError(
                "inventory_limit must be at least 1 and not below the size of initial_inventory, "
                f"not {self.inventory_limit} with {self.initial_inventory}"
            )
        for name in ("liquidation_cost", "risk_aversion"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be finite and not negative, not {value}")

    @property
    def step_time(self) -> float:
        """Length of a step (dt)."""
        return self.horizon / self.num_steps


def avellaneda_stoikov(risk_aversion: float = 0.1) -> MarketMakingConfig:
    """Return the example of Avellaneda and Stoikov: T = 1, dt = 0.005, k = 1.5, s = 100, q = 0.

    Their sigma = 2 and A = 140 are the defaults of `data.order_flow.OrderFlowConfig`.

    Args:
        risk_aversion: gamma; theirs are 0.01, 0.1 and 0.5.
    """
    return MarketMakingConfig(risk_aversion=risk_aversion)


@dataclass(frozen=True, kw_only=True)
class MarketMakingView:
    """What the market maker knows when it quotes; `[...]` each, NumPy or torch."""

    inventory: Any
    """Shares held; negative if short."""
    steps_left: Any
    """Steps in which it can still quote, this one included."""
    price_change: Any
    """Mid price less the first one."""
    last_move: Any
    """Change of the mid price over the last step."""
    volatility: Any
    """sigma, per square root of the unit of time."""
    arrival_rate: Any
    """A, orders per unit of time and side at the mid price."""


class MarketMakingDomain:
    """Observation, quotes and fills, on NumPy or torch arrays."""

    def __init__(self, config: MarketMakingConfig, xp: Any = np) -> None:
        """Keep the task.

        Args:
            config: The task.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.config = config
        self._xp = xp

    def encode(self, view: MarketMakingView) -> Any:
        """Observe the book and the price.

        Args:
            view: What is known.

        Returns:
            `[..., 6]`: inventory as a share of its limit, share of the steps left, price change
            and last move times the decay, standard deviation of the price over the horizon times
            the decay, orders expected per step at the mid price; all in [-10, 10].
        """
        config, xp = self.config, self._xp
        parts = [
            view.inventory / config.inventory_limit,
            view.steps_left / config.num_steps,
            view.price_change * config.decay,
            view.last_move * config.decay,
            view.volatility * (math.sqrt(config.horizon) * config.decay),
            view.arrival_rate * config.step_time,
        ]
        return xp.clip(xp.stack(parts, -1), -OBSERVATION_LIMIT, OBSERVATION_LIMIT)

    def project(self, action: Any) -> Any:
        """Turn an action into distances of the two quotes from the mid price.

        Args:
            action: `[..., 2]`: 0 is the lowest distance, 1 the highest; clipped to [0, 1].

        Returns:
            `[..., 2]`: currency; the bid is the mid price less the first, the ask the mid price
            plus the second.
        """
        config = self.config
        width = config.highest_distance - config.lowest_distance
        return config.lowest_distance + width * self._xp.clip(action, 0.0, 1.0)

    def compute_fill_probability(self, distance: Any, view: MarketMakingView) -> Any:
        """Return how likely each quote is to be filled in this step: A dt exp(-k delta), at most 1.

        Args:
            distance: `[..., 2]`: of the quotes from the mid price.
            view: What is known; a side that would break the inventory limit is not quoted.

        Returns:
            `[..., 2]`.
        """
        config, xp = self.config, self._xp
        expected = (view.arrival_rate * config.step_time)[..., None]
        probability = xp.clip(expected * xp.exp(-config.decay * distance), 0.0, 1.0)
        limit = config.inventory_limit
        is_quoted = xp.stack([view.inventory < limit, view.inventory > -limit], -1)
        return xp.where(is_quoted, probability, xp.zeros_like(probability))
