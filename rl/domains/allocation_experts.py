"""What experts would do with shared services, from the same view as the agent.

Each rule first states a need per service (waiting work plus a forecast), then splits the
capacities; rules are NumPy over any leading batch axes and return the planner's action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rl.domains.resource_allocation import AllocationConfig, AllocationView
from utils.errors import ConfigError

Array = NDArray[np.float32]
WATER_LEVELS = 24
"""Bisection steps for a max-min level: exact to 6e-8 of the largest need."""


@dataclass(frozen=True, kw_only=True)
class ExpertParameters:
    """What a rule is tuned by."""

    headroom: float = 1.0
    """Forecast demand is multiplied by this."""
    lookback: int = 3
    """The forecast is the mean of so many last steps."""
    urgency: float = 1.0
    """Share of the waiting work that is claimed at once even if it could wait longer."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if self.headroom < 0 or self.lookback < 1 or not 0 <= self.urgency <= 1:
            raise ConfigError(f"headroom >= 0, lookback >= 1, urgency in [0, 1]: {self}")


Expert = Callable[[AllocationView, AllocationConfig, ExpertParameters], Array]


def forecast_need(
    view: AllocationView, config: AllocationConfig, parameters: ExpertParameters
) -> Array:
    """Estimate the work each service could use in this step.

    Args:
        view: What is known, NumPy.
        config: The world.
        parameters: Forecast window, headroom and urgency.

    Returns:
        `[..., service]`: work that expires now, the urgent share of the rest, and the forecast.
    """
    del config
    recent = view.recent_demand[..., -parameters.lookback :].mean(-1)
    waiting = view.backlog.sum(-1)
    expiring = view.backlog[..., 0]
    due = expiring + parameters.urgency * (waiting - expiring)
    need: Array = due + parameters.headroom * recent
    return need


def equal_split(
    view: AllocationView, config: AllocationConfig, parameters: ExpertParameters
) -> Array:
    """Give every service the same share of every resource; headroom is the share of all given.

    Args:
        view: What is known.
        config: The world.
        parameters: Only `headroom` is used, at most one.
    """
    services, resources = len(config.services), len(config.resources)
    share = min(parameters.headroom, 1.0) / services
    return np.full((*view.capacity.shape[:-1], services * resources), share, np.float32)


def proportional_split(
    view: AllocationView, config: AllocationConfig, parameters: ExpertParameters
) -> Array:
    """Scale all needs down by the same factor where a resource is short.

    Args:
        view: What is known.
        config: The world.
        parameters: Forecast of the needs.
    """
    need = _resource_need(forecast_need(view, config, parameters), config)
    total = need.sum(-2, keepdims=True)
    factor = np.minimum(1.0, view.capacity[..., None, :] / np.maximum(total, 1e-9))
    return _as_action(need * factor, view)


def max_min_split(
    view: AllocationView, config: AllocationConfig, parameters: ExpertParameters
) -> Array:
    """Raise all dominant shares together until needs are met or a resource is full.

    Dominant resource fairness (Ghodsi et al., NSDI 2011).

    Args:
        view: What is known.
        config: The world.
        parameters: Forecast of the needs.
    """
    return _fill_by_level(view, config, parameters, np.ones_like(view.priority))


def weighted_max_min_split(
    view: AllocationView, config: AllocationConfig, parameters: ExpertParameters
) -> Array:
    """Raise dominant shares in proportion to priority until needs are met or a resource is full.

    Args:
        view: What is known.
        config: The world.
        parameters: Forecast of the needs.
    """
    return _fill_by_level(view, config, parameters, view.priority)


def greedy_value_split(
    view: AllocationView, config: AllocationConfig, parameters: ExpertParameters
) -> Array:
    """Fill needs in order of value per dominant share.

    Args:
        view: What is known.
        config: The world.
        parameters: Forecast of the needs.
    """
    need = forecast_need(view, config, parameters)
    density = view.priority / _dominant_share(config)
    return _as_action(_fill_in_order(need, density, view, config), view)


def urgent_value_split(
    view: AllocationView, config: AllocationConfig, parameters: ExpertParameters
) -> Array:
    """Fill what is lost unless served now in order of value, then the rest in order of value.

    Work of services without patience counts as lost unless served now, forecast included.

    Args:
        view: What is known.
        config: The world.
        parameters: Forecast of the needs.
    """
    recent = parameters.headroom * view.recent_demand[..., -parameters.lookback :].mean(-1)
    impatient = np.asarray([service.patience == 1 for service in config.services])
    urgent = view.backlog[..., 0] + np.where(impatient, recent, 0.0)
    rest = forecast_need(view, config, parameters) - urgent
    density = view.priority / _dominant_share(config)
    both = np.concatenate([urgent, np.maximum(rest, 0.0)], axis=-1)
    order = np.concatenate([density + density.max(-1, keepdims=True), density], axis=-1)
    filled = _fill_in_order(both, order, view, config)
    services = len(config.services)
    return _as_action(filled[..., :services, :] + filled[..., services:, :], view)


EXPERTS: dict[str, Expert] = {
    "equal": equal_split,
    "proportional": proportional_split,
    "max_min": max_min_split,
    "weighted_max_min": weighted_max_min_split,
    "greedy_value": greedy_value_split,
    "urgent_value": urgent_value_split,
}


def _usage(config: AllocationConfig) -> Array:
    return np.asarray([service.usage for service in config.services], np.float32)


def _dominant_share(config: AllocationConfig) -> Array:
    share: Array = (_usage(config) / np.asarray(config.capacity, np.float32)).max(-1)
    return share


def _resource_need(need: Array, config: AllocationConfig) -> Array:
    return need[..., None] * _usage(config)


def _as_action(allocation: Array, view: AllocationView) -> Array:
    share = allocation / np.maximum(view.capacity[..., None, :], 1e-9)
    action: Array = share.reshape((*share.shape[:-2], -1)).astype(np.float32)
    return action


def _fill_by_level(
    view: AllocationView, config: AllocationConfig, parameters: ExpertParameters, weight: Array
) -> Array:
    """Find by bisection the largest common level that fits every resource."""
    need = forecast_need(view, config, parameters)
    per_level = weight / _dominant_share(config)
    low = np.zeros((*need.shape[:-1], 1), np.float32)
    high = (need / np.maximum(per_level, 1e-9)).max(-1, keepdims=True)
    usage = _usage(config)
    for _ in range(WATER_LEVELS):
        middle = (low + high) / 2
        used = np.minimum(need, middle * per_level) @ usage
        fits = (used <= view.capacity).all(-1, keepdims=True)
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    full = ((need @ usage) <= view.capacity).all(-1, keepdims=True)
    work = np.where(full, need, np.minimum(need, low * per_level))
    return _as_action(_resource_need(work, config), view)


def _fill_in_order(
    need: Array, order: Array, view: AllocationView, config: AllocationConfig
) -> Array:
    """Serve needs `[..., item]` by descending order; items repeat the services."""
    usage = np.tile(_usage(config), (need.shape[-1] // len(config.services), 1))
    free = view.capacity.copy()
    granted = np.zeros((*need.shape, free.shape[-1]), np.float32)
    rank = np.argsort(-order, axis=-1, kind="stable")
    for position in range(need.shape[-1]):
        item = rank[..., position, None]
        item_usage = usage[item[..., 0]]
        wanted = np.take_along_axis(need, item, axis=-1)
        work = np.minimum(wanted[..., 0], (free / item_usage).min(-1))
        used = np.maximum(work, 0.0)[..., None] * item_usage
        free = np.maximum(free - used, 0.0)
        np.put_along_axis(granted, item[..., None], used[..., None, :], axis=-2)
    return granted
