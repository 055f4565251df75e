"""Business figures of one step in a supply network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rl.domains.supply_chain import SupplyView
from rl.environments.lockstep import sum_terms
from rl.environments.supply_books import Account


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Units of one step."""

    account: Account
    orders: Tensor
    """`[env, flow]`: before anything was cut."""
    demand: Tensor
    """`[env, market]`."""
    arrived: Tensor
    """`[env, flow]`."""
    scrapped: Tensor
    """`[env, shelf]`: what of it was not fit to be put on a shelf; one column of zeros where
    nothing can be."""


def measure_step(
    counts: Counts, terms: Mapping[str, Tensor], sentiment: Tensor
) -> dict[str, Tensor]:
    """Return the figures, `[env]` each; sums and squares give fill rate and bullwhip.

    Args:
        counts: Units.
        terms: Of the reward.
        sentiment: `[env]`: goodwill.
    """
    account = counts.account
    asked, ordered, arriving = (_total(u) for u in (counts.demand, counts.orders, counts.arrived))
    return {
        "profit": _total(sum_terms(terms)),
        "demand": asked,
        "demand_squared": asked.square(),
        "sold_units": _total(account.sold),
        "unmet_units": _total(account.unmet),
        "ordered_units": ordered,
        "ordered_units_squared": ordered.square(),
        "shipped_units": _total(account.shipped),
        "received_units": arriving,
        "scrapped_units": _total(counts.scrapped),
        "stock_units": _total(account.stock),
        "in_transit_units": _total(account.in_transit),
        "perished_units": _total(account.perished),
        "sentiment": sentiment,
    }


def miss_average(view: SupplyView, demand: Tensor, window: int) -> Tensor:
    """Return by how much the moving average missed the demand of all markets, `[env]`.

    Args:
        view: What was known before the step.
        demand: `[env, market]`.
        window: Steps of the average.
    """
    recent = view.history[:, -window:, : demand.shape[-1]].sum(1)
    average = recent / view.steps_taken[:, None].clamp(1.0, float(window))
    return _total((average - demand).abs())


def _total(values: Tensor) -> Tensor:
    """Sum the columns; one column is summed by taking it, and none is zero."""
    return values[:, 0] if values.shape[-1] == 1 else torch.sum(values, -1)
