"""What experts would do in a serial chain: base-stock, and how its levels are found."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rl.domains.inventory import InventoryConfig, InventoryDomain, InventoryView
from utils.errors import ConfigError

Array = NDArray[np.float32]
Levels = NDArray[np.float64]
Score = Callable[[Levels], NDArray[np.float64]]
"""Maps levels `[candidate, stage]` to mean profits `[candidate]`, all over the same scenarios."""
KEPT = 8
"""Candidates refined at each spacing; the surface has flat ridges and more than one hill."""


def echelon_position(view: InventoryView) -> Array:
    """Return what each stage's ordering has already secured for the customers.

    All stock and all goods on the way from the stage down to the customer, plus its orders that
    wait at the supplier, minus what customers wait for.

    Args:
        view: What is known, NumPy.

    Returns:
        `[..., stage]`: units.
    """
    local = view.stock + view.in_transit.sum(-1)
    position: Array = np.cumsum(local, axis=-1) - view.unmet[..., :1] + view.unmet[..., 1:]
    return position


def base_stock(view: InventoryView, config: InventoryConfig, levels: Levels) -> Array:
    """Order up to a level per echelon, never more than the supplier can ship now.

    Args:
        view: What is known, NumPy.
        config: The chain.
        levels: `[stage]`, or with leading axes that broadcast with the view's.

    Returns:
        `[..., stage]`: orders as shares of the capacities.
    """
    domain = InventoryDomain(config)
    orders = np.clip(levels - echelon_position(view), 0.0, domain.shippable(view.stock))
    action: Array = (orders / domain.capacity).astype(np.float32)
    return action


def reorder(
    view: InventoryView, config: InventoryConfig, reorder_point: Levels, level: Levels
) -> Array:
    """Order up to a level, but only where the echelon position is at or below a point: (s, S).

    Args:
        view: What is known, NumPy.
        config: The chain.
        reorder_point: `[stage]` (s).
        level: `[stage]` (S).

    Returns:
        `[..., stage]`: orders as shares of the capacities.
    """
    low = echelon_position(view) <= reorder_point
    action: Array = np.where(low, base_stock(view, config, level), 0.0).astype(np.float32)
    return action


def tune_base_stock(score: Score, *, num_stages: int, highest: int, spacing: int) -> Levels:
    """Search whole levels from a grid over all of them down to single units.

    The candidates of one call meet the same scenarios, so that differences are the levels' own
    (common random numbers).

    Args:
        score: Plays candidates on training scenarios.
        num_stages: Levels to find.
        highest: Largest level tried.
        spacing: Of the first grid; halved until it is one.

    Returns:
        `[stage]`: the best levels found.

    Raises:
        ConfigError: The grid is empty.
    """
    if min(num_stages, highest, spacing) < 1:
        raise ConfigError("num_stages, highest and spacing must be at least 1")
    axis = range(0, highest + 1, spacing)
    candidates = np.asarray(list(itertools.product(axis, repeat=num_stages)), np.float64)
    around = np.asarray(list(itertools.product((-1, 0, 1), repeat=num_stages)), np.float64)
    incumbent = np.full(num_stages, -1.0)
    while True:
        order = np.argsort(-score(candidates), kind="stable")
        best = candidates[order[:KEPT]]
        if spacing == 1 and (best[0] == incumbent).all():
            return incumbent
        spacing, incumbent = max(1, spacing // 2), best[0]
        near = best[:, None] + spacing * around
        candidates = np.unique(np.clip(near, 0, highest).reshape(-1, num_stages), axis=0)
