"""How experts quote, from the same view as the agent: Avellaneda-Stoikov, and a fixed spread."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.domains.market_making import MarketMakingConfig, MarketMakingView

Array = NDArray[np.float32]
Expert = Callable[[MarketMakingView, MarketMakingConfig], Array]


def compute_base_distance(config: MarketMakingConfig) -> float:
    """Return half the part of the spread that no risk is in: ln(1 + gamma / k) / gamma.

    1 / k without risk aversion: there the fill probability times the distance is largest.

    Args:
        config: The task.
    """
    gamma = config.risk_aversion
    return 1.0 / config.decay if gamma == 0 else math.log1p(gamma / config.decay) / gamma


def as_action(distance: Any, config: MarketMakingConfig) -> Array:
    """Turn distances of quotes into the action that makes them; `project` clips.

    Args:
        distance: `[..., 2]`: of (bid, ask) from the mid price.
        config: The task.
    """
    width = config.highest_distance - config.lowest_distance
    return np.asarray((distance - config.lowest_distance) / width, np.float32)


def quote_around_reservation_price(view: MarketMakingView, config: MarketMakingConfig) -> Array:
    """Quote as Avellaneda and Stoikov (2008), equations 29 and 30: lean against the inventory.

    Reservation price s - q gamma sigma^2 (T - t), spread gamma sigma^2 (T - t) +
    (2 / gamma) ln(1 + gamma / k), centred on it.

    Args:
        view: What is known, NumPy.
        config: The task.
    """
    time_left = np.asarray(view.steps_left, np.float64) * config.step_time
    risk = config.risk_aversion * np.square(view.volatility) * time_left
    half_spread = 0.5 * risk + compute_base_distance(config)
    lean = view.inventory * risk
    return as_action(np.stack([half_spread + lean, half_spread - lean], axis=-1), config)


def quote_symmetrically(view: MarketMakingView, config: MarketMakingConfig) -> Array:
    """Quote the mean spread of Avellaneda and Stoikov around the mid price: their benchmark.

    Args:
        view: What is known, NumPy.
        config: The task.
    """
    risk = config.risk_aversion * np.square(view.volatility) * config.horizon
    half_spread = 0.25 * risk + compute_base_distance(config)
    return as_action(np.stack([half_spread, half_spread], axis=-1), config)


@dataclass(frozen=True, kw_only=True)
class FixedSpread:
    """Quote one distance on both sides, whatever happens."""

    distance: float
    """Of each quote from the mid price, in currency."""

    def __call__(self, view: MarketMakingView, config: MarketMakingConfig) -> Array:
        """Quote.

        Args:
            view: Only its shape is used.
            config: The task.
        """
        shape = (*np.shape(view.inventory), 2)
        return as_action(np.full(shape, self.distance), config)


EXPERTS: dict[str, Expert] = {
    "avellaneda_stoikov": quote_around_reservation_price,
    "symmetric": quote_symmetrically,
}
