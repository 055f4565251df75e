"""How experts allocate costly resources to tasks, from the same view as the agent.

Rules are NumPy over any leading batch axes and return the action `[..., task * resource]`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rl.domains.constrained_allocation import ConstrainedConfig, ConstrainedView

Array = NDArray[np.float32]
Expert = Callable[[ConstrainedView, ConstrainedConfig], Array]


def allocate_nothing(view: ConstrainedView, config: ConstrainedConfig) -> Array:
    """Leave every resource alone.

    Args:
        view: What is known.
        config: The world.
    """
    return _as_action(np.zeros_like(view.allocation), config)


def allocate_everything(view: ConstrainedView, config: ConstrainedConfig) -> Array:
    """Give every task the most it can take, whatever there is.

    Args:
        view: What is known.
        config: The world.
    """
    most = config.max_allocation_per_resource
    return _as_action(np.full_like(view.allocation, most), config)


def share_equally(view: ConstrainedView, config: ConstrainedConfig) -> Array:
    """Split what is available equally between the tasks, whatever they need.

    Args:
        view: What is known.
        config: The world.
    """
    share = view.availability / view.task_active.sum(-1, keepdims=True)
    return _as_action(share[..., None, :] * view.task_active[..., :, None], config)


def spread_demand(view: ConstrainedView, config: ConstrainedConfig) -> Array:
    """Take an equal part of every demand from every resource, whatever there is.

    Args:
        view: What is known.
        config: The world.
    """
    part = view.resource_active / view.resource_active.sum(-1, keepdims=True)
    return _as_action(view.demand[..., :, None] * part[..., None, :], config)


def fill_cheapest_first(view: ConstrainedView, config: ConstrainedConfig) -> Array:
    """Meet demands in order of priority per unit, each from the cheapest resource that is left.

    Args:
        view: What is known.
        config: The world.
    """
    density = view.priority / np.maximum(view.demand, 1e-9)
    tasks = np.argsort(-density, axis=-1, kind="stable")
    resources = np.argsort(view.cost, axis=-1, kind="stable")
    allocation = np.zeros_like(view.allocation)
    free = np.array(view.availability)
    lead = np.indices(density.shape[:-1], sparse=True)
    for task in np.moveaxis(tasks, -1, 0):
        need = view.demand[(*lead, task)]
        for resource in np.moveaxis(resources, -1, 0):
            left = free[(*lead, resource)]
            taken = np.minimum(np.minimum(need, left), config.max_allocation_per_resource)
            allocation[(*lead, task, resource)] = taken
            free[(*lead, resource)] = left - taken
            need = need - taken
    return _as_action(allocation, config)


EXPERTS: dict[str, Expert] = {
    "zeros": allocate_nothing,
    "ones": allocate_everything,
    "equal_share": share_equally,
    "demand_spread": spread_demand,
    "greedy_cheapest": fill_cheapest_first,
}


def _as_action(allocation: Array, config: ConstrainedConfig) -> Array:
    share = allocation / config.max_allocation_per_resource
    action: Array = share.reshape((*share.shape[:-2], -1)).astype(np.float32)
    return action
