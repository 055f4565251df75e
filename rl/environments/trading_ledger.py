"""Accounts of the trading world: how orders are filled, and what positions were opened at."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from rl.domains.indicators import IndicatorState
from rl.domains.trading import TradingDomain
from rl.domains.trading import TradingView as View
from rl.domains.trading_config import LOT
from rl.environments.lockstep import WorldState

DEEPEST_FALL = -0.9
"""Orders of one step cannot push a price lower than this share below itself."""


@dataclass(frozen=True, kw_only=True)
class TradingState(WorldState):
    """Prices, accounts and what was done so far."""

    price: Tensor
    """`[env, symbol]`"""
    gain: Tensor
    """This and the next six: see `IndicatorState`."""
    loss: Tensor
    fast: Tensor
    slow: Tensor
    signal: Tensor
    slow_variance: Tensor
    window: Tensor
    market_peak: Tensor
    """`[env]`: highest mean of prices over first prices."""
    cash: Tensor
    """`[env, agent]`"""
    equity: Tensor
    """`[env, agent]`"""
    shares: Tensor
    """`[env, agent, symbol]`"""
    entry: Tensor
    """`[env, agent, symbol]`"""
    stop: Tensor
    """`[env, agent, symbol]`"""
    take: Tensor
    """`[env, agent, symbol]`"""
    peak: Tensor
    """`[env, agent]`: highest equity."""
    alive: Tensor
    """`[env, agent]`: 1 for those who trade."""
    costs: Tensor
    """`[env, agent]`: commission, spread and temporary impact since the beginning, in currency."""
    trades: Tensor
    """`[env, agent]`: orders filled."""
    wins: Tensor
    """`[env, agent]`: orders that closed all or part of a position at a gain."""
    losses: Tensor
    """`[env, agent]`: the same at a loss."""


@dataclass(frozen=True, kw_only=True)
class Fills:
    """What orders led to, before the price moves by itself."""

    price: Tensor
    """`[env, symbol]`: after the impact of all orders."""
    fill: Tensor
    """`[env, 1, symbol]`: what all orders are filled at, costs apart."""
    costs: tuple[Tensor, Tensor, Tensor]
    """Commission, spread and temporary impact, `[env, agent]` each."""
    spent: Tensor
    """`[env, agent]`: cash that orders took, costs included."""
    closed: Tensor
    """`[env, agent, symbol]`: above 0 where a position was closed at a gain, below at a
    loss, costs apart; 0 where nothing was."""
    others: Tensor
    """`[env, agent]`: what the orders of others did to one's account."""


def indicators_of(state: TradingState) -> IndicatorState:
    """Return what indicators remember.

    Args:
        state: Of the market.
    """
    return IndicatorState(**{f.name: getattr(state, f.name) for f in fields(IndicatorState)})


def fill_orders(domain: TradingDomain, own: Tensor, view: View, background: Tensor | None) -> Fills:
    """Fill all orders together and move the price by their sum.

    Args:
        domain: The market.
        own: `[env, agent, symbol]`: shares bought, or sold if negative.
        view: What was known.
        background: `[env, symbol]`: what scripted traders buy; None if there are none.
    """
    push = domain.config.market_impact_factor / LOT * view.first_price
    total = own.sum(1) if background is None else own.sum(1) + background
    move = torch.maximum(push * total, DEEPEST_FALL * view.price)[:, None]
    fill = view.price[:, None] + 0.5 * move
    held = view.shares + own
    closing = held * held.sum(1)[:, None] - view.shares * view.shares.sum(1)[:, None]
    costs = domain.cost(own, view)
    others = (view.shares + 0.5 * own) * move - 0.5 * push[:, None] * closing
    return Fills(
        price=view.price + move[:, 0],
        fill=fill,
        costs=costs,
        spent=(own * fill).sum(-1) + (costs[0] + costs[1] + costs[2]),
        closed=torch.where(view.shares * own < 0, (view.entry - fill) * own, 0.0),
        others=others.sum(-1),
    )


def average_entry(view: View, fills: Fills, shares: Tensor, price: Tensor) -> Tensor:
    """Return the mean price positions were opened at, `[env, agent, symbol]`.

    Args:
        view: Before the orders.
        fills: What they were filled at.
        shares: `[env, agent, symbol]`: held now.
        price: `[env, symbol]`: now; entry of positions that do not exist.
    """
    before, now = view.shares.abs(), shares.abs()
    kept = torch.minimum(before, now)
    added = now - kept
    mean = (view.entry * kept + fills.fill * added) / now.clamp(min=1e-9)
    turned = view.shares * shares <= 0
    entry = torch.where(turned, fills.fill.expand_as(shares), mean)
    return torch.where(now > 1e-9, entry, price[:, None])
