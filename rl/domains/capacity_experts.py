"""How planners build and remove capacity, from the same view as the agent."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.domains.capacity_planning import CapacityConfig, CapacityView

Array = NDArray[np.float32]
CapacityExpert = Callable[[CapacityView, CapacityConfig, np.random.Generator], Array]
FULL, SLACK = 0.9, 0.6


def do_nothing(view: CapacityView, config: CapacityConfig, generator: np.random.Generator) -> Array:
    """Keep what stands.

    Args:
        view: What is known, NumPy.
        config: Not used.
        generator: Not used.
    """
    del config, generator
    return np.zeros(view.lumps.shape, np.float32)


def act_at_random(
    view: CapacityView, config: CapacityConfig, generator: np.random.Generator
) -> Array:
    """Draw every action from U(-1, 1).

    Args:
        view: What is known, NumPy.
        config: Not used.
        generator: Of the actions.
    """
    del config
    drawn: Array = generator.uniform(-1.0, 1.0, view.lumps.shape).astype(np.float32)
    return drawn


def react(view: CapacityView, config: CapacityConfig, generator: np.random.Generator) -> Array:
    """Build a lump when the last demand took over 90 % of all capacity, remove one below 60 %.

    Args:
        view: What is known, NumPy.
        config: The world.
        generator: Not used.
    """
    del generator
    position = view.lumps + view.coming.sum(-1)
    use = view.recent_demand[..., -1, :] / np.maximum(config.lump_units * position, 1e-6)
    change = (use > FULL).astype(np.float32) - ((use < SLACK) & (position > 1))
    return _as_action(change, view, config)


def hold_newsvendor_level(
    view: CapacityView, config: CapacityConfig, generator: np.random.Generator
) -> Array:
    """Keep capacity at the newsvendor's quantile of recent demand, as if it had no trend.

    The ratio is (penalty - k) / (penalty + idle cost), with k the price of a unit of capacity
    spread over the steps it would still serve; demand counts as normal.

    Args:
        view: What is known, NumPy.
        config: The world.
        generator: Not used.
    """
    del generator
    mean, deviation = view.recent_demand.mean(-2), view.recent_demand.std(-2)
    return _order_up_to(mean + _safety(view, config) * deviation, view, config)


def forecast_base_stock(
    view: CapacityView, config: CapacityConfig, generator: np.random.Generator
) -> Array:
    """Order up to the demand expected when an order made now serves, plus a safety.

    A straight line through recent demand, read where the lead time ends; the safety is the
    newsvendor's quantile of what the line leaves over.

    Args:
        view: What is known, NumPy.
        config: The world.
        generator: Not used.
    """
    del generator
    recent = np.asarray(view.recent_demand, np.float64)
    time = np.arange(config.lookback) - 0.5 * (config.lookback - 1)
    mean = recent.mean(-2, keepdims=True)
    slope = (recent * time[:, None]).sum(-2, keepdims=True) / max(float((time**2).sum()), 1.0)
    line = mean + slope * time[:, None]
    deviation = (recent - line).std(-2)
    ahead = time[-1] + 1.0 + config.lead_time
    expected = (mean + slope * ahead)[..., 0, :]
    return _order_up_to(expected + _safety(view, config) * deviation, view, config)


EXPERTS: dict[str, CapacityExpert] = {
    "random": act_at_random,
    "nothing": do_nothing,
    "reactive": react,
    "newsvendor": hold_newsvendor_level,
    "forecast_base_stock": forecast_base_stock,
}


def _safety(view: CapacityView, config: CapacityConfig) -> NDArray[Any]:
    """Return the newsvendor's quantile of a standard normal, `[..., 1]`."""
    steps = np.maximum(view.steps_left - config.lead_time, 1.0)
    price = (config.build_cost + config.step_cost) / (config.lump_units * steps)
    both = max(config.unmet_penalty + config.idle_cost, 1e-9)
    ratio = np.clip((config.unmet_penalty - price) / both, 0.001, 0.999)
    quantile = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])(ratio)
    return np.asarray(quantile)[..., None]


def _order_up_to(units: Any, view: CapacityView, config: CapacityConfig) -> Array:
    """Build what is missing in whole lumps; remove what the last demands never came near."""
    position = view.lumps + view.coming.sum(-1)
    wanted = np.ceil(np.maximum(units, 0.0) / config.lump_units)
    highest = np.ceil(view.recent_demand.max(-2) / config.lump_units)
    spare = np.maximum(position - np.maximum(wanted, highest) - 1.0, 0.0)
    serves = view.steps_left[..., None] > config.lead_time
    change = np.where(position < wanted, (wanted - position) * serves, -spare)
    return _as_action(change, view, config)


def _as_action(lumps: Any, view: CapacityView, config: CapacityConfig) -> Array:
    share = np.clip(np.asarray(lumps) / config.max_lumps, -1.0, 1.0)
    return np.asarray(share * view.active, np.float32)
