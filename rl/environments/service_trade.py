"""How requests of services turn into units held and money paid: one batched step of the market."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rl.domains.resource_allocation import AllocationView
from rl.domains.service_market import MarketDomain, MarketView
from rl.environments.allocation_options import AUCTION, EnvironmentConfig
from rl.environments.auction import clear_auction
from rl.environments.mechanisms import MECHANISMS


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What services ask for in one step."""

    requests: Tensor
    """`[env, service, resource]`: units."""
    usable: Tensor
    """`[env, service, resource]`: units that can serve."""
    bids: Tensor | None
    """`[env, service, resource]`: currency per unit, in auctions."""
    capacity: Tensor
    """`[env, resource]`."""
    priority: Tensor
    """`[env, service]`."""


@dataclass(frozen=True, kw_only=True)
class Trade:
    """What came of it."""

    granted: Tensor
    """`[env, service, resource]`: units."""
    units: Tensor
    """`[env, resource]`: units granted in all."""
    payment: Tensor
    """`[env, service]`: currency, never more than the budget."""
    price: Tensor
    """`[env, resource]`: currency per unit."""


def trade(mechanism: str, offer: Offer, budget: Tensor, unit_price: Tensor) -> Trade:
    """Sell units: by auction, or at posted prices to whom the mechanism grants them.

    At posted prices requests are first cut to what the budget pays for. In an auction nothing is
    lent beyond what a service can use, for nobody bid for it.

    Args:
        mechanism: One of `MECHANISM_NAMES`.
        offer: What is asked for.
        budget: `[env, service]`: currency left.
        unit_price: `[env, resource]`: posted.
    """
    if offer.bids is not None:
        claims = torch.minimum(offer.requests, offer.usable)
        sale = clear_auction(claims, offer.bids, budget, offer.capacity)
        units = sale.granted.sum(1)
        return Trade(granted=sale.granted, units=units, payment=sale.payment, price=sale.price)
    cost = (offer.requests * unit_price[:, None]).sum(-1)
    part = torch.where(cost > budget, budget / cost.clamp(min=1e-12), 1.0)
    requests = offer.requests * part[..., None]
    granted = grant(mechanism, replace(offer, requests=requests))
    paid = torch.minimum((granted * unit_price[:, None]).sum(-1), budget)
    return Trade(granted=granted, units=granted.sum(1), payment=paid, price=unit_price)


def grant(mechanism: str, offer: Offer) -> Tensor:
    """Share units out by a mechanism that asks for no bids, `[env, service, resource]`.

    Args:
        mechanism: One of `MECHANISMS`.
        offer: What is asked for.
    """
    return MECHANISMS[mechanism](offer.requests, offer.usable, offer.capacity, offer.priority)


def market_metrics(
    sold: Trade, budget: Tensor, level: Tensor, active: Tensor | None
) -> dict[str, Tensor]:
    """Return what was paid, counted from both sides, and what is left.

    Args:
        sold: The trade.
        budget: `[env, service]`: left after it.
        level: `[env, resource]`: price level after it.
        active: `[env, resource]`: one where the resource exists, the others count in no mean; None
            is everywhere.
    """
    part = torch.full_like(level, 1.0 / level.shape[1])
    if active is not None:
        part = active / active.sum(-1, keepdim=True)
    return {
        "paid": sold.payment.sum(-1),
        "collected": (sold.units * sold.price).sum(-1),
        "budget_left": budget.sum(-1),
        "price_level": (level * part).sum(-1),
        "unit_price": (sold.price * part).sum(-1),
    }


class TradingFloor:
    """Where actions become units held: projected for a planner, asked and paid for by services."""

    def __init__(
        self, options: EnvironmentConfig, domain: MarketDomain, *, asked_size: int
    ) -> None:
        """Keep the rules.

        Args:
            options: View, meaning of actions, mechanism and market.
            domain: The world, torch.
            asked_size: Numbers of an action before the bids.
        """
        self._options, self._domain, self._asked_size = options, domain, asked_size

    def allocate(
        self, action: Tensor, pending: Tensor, view: MarketView, response: Tensor | None
    ) -> tuple[Trade, Tensor]:
        """Return what is held and paid, and the price levels afterwards.

        Args:
            action: `[env, agent, act]`; clipped to [0, 1].
            pending: `[env, service]`: work that can be served in this step.
            view: What is known.
            response: `[env]`: part of the moves of prices that happens; None is all.
        """
        options, world = self._options, self._domain.allocation
        known, bids = view.allocation, None
        if options.mechanism == AUCTION and options.market is not None:
            bids = action[..., self._asked_size :].clamp(0.0, 1.0) * options.market.largest_bid
            action = action[..., : self._asked_size]
        if options.action == "coverage":
            shares = world.cover(action.flatten(1), _as_if_all_existed(view))
            action = shares.reshape((*action.shape[:2], -1))
        if options.view == "planner":
            return _unpaid(world.project(action[:, 0], known.capacity), view), view.price_level
        offer = Offer(
            requests=action.clamp(0.0, 1.0) * known.capacity[:, None],
            usable=pending[..., None] * world.usage,
            bids=bids,
            capacity=known.capacity,
            priority=known.priority,
        )
        if options.market is None:
            return _unpaid(grant(options.mechanism, offer), view), view.price_level
        sold = trade(options.mechanism, offer, view.budget, known.price * view.price_level)
        use = sold.units / known.capacity.clamp(min=1e-9)
        part = 1.0 if response is None else response[:, None]
        if view.resource_active is not None:
            part = part * view.resource_active
        return sold, self._domain.move_prices(view.price_level, use, part)


def _unpaid(granted: Tensor, view: MarketView) -> Trade:
    nothing = torch.zeros_like(view.budget)
    units = granted.sum(1)
    return Trade(granted=granted, units=units, payment=nothing, price=view.clearing_price)


def _as_if_all_existed(view: MarketView) -> AllocationView:
    """Return the view in which absent resources are no limit to coverage."""
    known = view.allocation
    if view.resource_active is None:
        return known
    return replace(known, capacity=known.capacity.masked_fill(view.resource_active == 0, 1e9))
