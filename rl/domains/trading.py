"""Several agents who trade several symbols: what they see and which orders are feasible.

The same lines run in training (torch), evaluation and serving (NumPy). Axes are `[..., agent,
symbol]`; money is in currency, orders and positions are real numbers of shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rl.domains.indicators import Indicators, annualise
from rl.domains.trading_config import LOT, TradingConfig

OBSERVATION_LIMIT = 5.0
MARKET_FEATURES, OWN_FEATURES, SHARED, PRIVATE = 11, 4, 3, 5
"""Numbers per symbol of the market, per symbol of one's own, of the episode, and of oneself."""
ORDER_SIZE = 3
"""Numbers of an action per symbol: size, stop and take-profit."""
_SMALLEST_EQUITY = 0.01


@dataclass(frozen=True, kw_only=True)
class TradingView:
    """What is known before a step; any leading batch axes, NumPy or torch."""

    price: Any
    """`[..., symbol]`"""
    first_price: Any
    """`[..., symbol]`: before the first step."""
    indicators: Indicators
    """`[..., symbol]` each."""
    market_drawdown: Any
    """`[...]`: fall of the mean of all symbols, in first prices, from its peak; share."""
    shares: Any
    """`[..., agent, symbol]`: positions; negative if short."""
    cash: Any
    """`[..., agent]`"""
    equity: Any
    """`[..., agent]`: see `TradingDomain.appraise`."""
    entry: Any
    """`[..., agent, symbol]`: mean price the position was opened at; the price if there is none."""
    stop: Any
    """`[..., agent, symbol]`: loss since entry that closes the position; 0 for none."""
    take: Any
    """`[..., agent, symbol]`: gain since entry that closes the position; 0 for none."""
    peak: Any
    """`[..., agent]`: highest equity so far."""
    balance: Any
    """`[agent]`: at the beginning."""
    symbol_active: Any
    """`[..., symbol]`: 1 where it is traded."""
    agent_alive: Any
    """`[..., agent]`: 1 where it takes part."""
    transaction_cost: Any
    """`[...]`"""
    max_position: Any
    """`[...]`"""
    time_left: float
    """Share of the episode that is left."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What is sent to the market, `[..., agent, symbol]` each."""

    shares: Any
    """Bought, or sold if negative."""
    stop: Any
    """Levels that guard the position during the step; 0 for none."""
    take: Any
    is_exit: Any
    """Whether a stop, a take-profit or a margin call closed the position."""
    is_called: Any
    """`[..., agent]`: whether the broker called."""


class TradingDomain:
    """Equity, observation and feasible orders, on NumPy or torch arrays."""

    def __init__(self, config: TradingConfig, xp: Any = np) -> None:
        """Keep the market.

        Args:
            config: The market and its broker.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.config = config
        self._xp = xp
        symbols = len(config.symbols)
        self.action_size = ORDER_SIZE * symbols
        self.market_size = symbols * MARKET_FEATURES + SHARED
        self.own_size = symbols * OWN_FEATURES + PRIVATE
        self.observation_size = self.market_size + self.own_size

    def appraise(self, cash: Any, shares: Any, price: Any, first_price: Any) -> Any:
        """Compute equity: cash and positions at the price, less what closing them would push it.

        All agents' positions are taken to be closed together, each at the mean price. By that
        deduction orders of agents earn nothing through the price they move, for one alone or for
        all together: each order is filled half way through the push, and what is held is valued
        likewise. What one gains by another's push, the other loses.

        Args:
            cash: `[..., agent]`
            shares: `[..., agent, symbol]`
            price: `[..., symbol]`
            first_price: `[..., symbol]`

        Returns:
            `[..., agent]`
        """
        push = self.config.market_impact_factor / (2.0 * LOT) * first_price[..., None, :]
        held = shares * (price[..., None, :] - push * shares.sum(-2)[..., None, :])
        return cash + held.sum(-1)

    def cost(self, shares: Any, view: TradingView) -> tuple[Any, Any, Any]:
        """Compute what trading costs, `[..., agent]` each.

        Args:
            shares: `[..., agent, symbol]`: bought or sold.
            view: Prices and fee.

        Returns:
            Commission, half the spread, and temporary impact.
        """
        xp = self._xp
        traded = (xp.abs(shares) * view.price[..., None, :]).sum(-1)
        factor = self.config.temporary_impact_factor / LOT * view.first_price[..., None, :]
        return (
            traded * view.transaction_cost[..., None],
            traded * self.config.half_spread,
            (factor * shares * shares).sum(-1),
        )

    def project(self, action: Any, view: TradingView) -> Orders:
        """Turn actions into orders that cash, leverage and short limits allow.

        An order is worth size * order_share * equity; orders that reduce a position are always
        allowed. Positions are cut to `max_position`; then all orders that open or add to short
        positions are scaled by one factor to the short limit, then all that open or add by one
        factor to the leverage limit, costs and own impact paid for. At a leverage limit of 1 cash
        stays positive but for what others' orders and positions do to the price. A position whose
        stop or take-profit was passed is closed instead, and all of an agent whose equity is below
        `margin_call` times the value of its positions.

        Args:
            action: `[..., agent, 3 * symbol]` in [-1, 1], clipped: size, stop and take-profit of
                the first symbol, then of the next. Negative levels are none; 1 is `max_stop`,
                `max_take`.
            view: What is known.
        """
        xp, config = self._xp, self.config
        active = view.symbol_active[..., None, :] * view.agent_alive[..., None]
        chosen = xp.clip(action, -1.0, 1.0).reshape(*action.shape[:-1], -1, ORDER_SIZE)
        chosen = chosen * active[..., None]
        price = view.price[..., None, :]
        gross = (xp.abs(view.shares) * price).sum(-1)
        called = (view.equity < config.margin_call * gross) & (view.agent_alive > 0)
        is_exit = (self._passes_level(view) | called[..., None]) & (view.shares != 0)
        unit = xp.clip(view.equity, 0.0, None)[..., None] / price
        largest = view.max_position[..., None, None] * unit
        lowest, highest = xp.minimum(view.shares, -largest), xp.maximum(view.shares, largest)
        target = view.shares + config.order_share * chosen[..., 0] * unit
        target = xp.minimum(xp.maximum(target, lowest), highest)
        target = xp.where(is_exit, 0.0, target)
        return Orders(
            shares=self._fit(target - view.shares, view),
            stop=xp.clip(chosen[..., 1], 0.0, None) * config.max_stop,
            take=xp.clip(chosen[..., 2], 0.0, None) * config.max_take,
            is_exit=is_exit,
            is_called=called,
        )

    def encode(self, view: TradingView) -> Any:
        """Observe market and own account.

        Args:
            view: What is known.

        Returns:
            `[..., agent, observation]` in [-5, 5]: the market (see `_encode_market`), then one's
            own positions, levels, cash, equity, drawdown and leverage; zeros for who is out.
        """
        return self.join(self.encode_market(view), view)

    def join(self, market: Any, view: TradingView) -> Any:
        """Put what all see and what one sees of oneself together.

        Args:
            market: `[..., market]`: from `encode_market`.
            view: What is known.

        Returns:
            `[..., agent, observation]`; zeros for who is out.
        """
        xp = self._xp
        shared = xp.broadcast_to(market[..., None, :], (*view.cash.shape, self.market_size))
        seen = xp.concatenate([shared, self.encode_own(view)], -1)
        return seen if (view.agent_alive > 0).all() else seen * view.agent_alive[..., None]

    def encode_market(self, view: TradingView) -> Any:
        """Observe what all agents see.

        Of each symbol: whether it is traded, price since the beginning, last return over slow
        volatility, RSI, MACD, its signal, place in the bands, width of the bands, volatility per
        year, fast over slow volatility, deviation from the mean; then drawdown of the market, time
        left, fee.

        Args:
            view: What is known.

        Returns:
            `[..., market]` in [-5, 5].
        """
        xp, read = self._xp, view.indicators
        deviation = view.price - read.band_middle
        parts = [
            xp.ones_like(view.price),
            4.0 * xp.log(view.price / view.first_price),
            read.last_return / read.slow_volatility,
            read.rsi / 50.0 - 1.0,
            50.0 * read.macd / view.price,
            50.0 * read.macd_signal / view.price,
            deviation / (2.0 * read.band_deviation + 1e-6 * view.price),
            20.0 * read.band_deviation / view.price,
            annualise(read.volatility),
            read.volatility / read.slow_volatility - 1.0,
            10.0 * deviation / view.price,
        ]
        symbols = xp.stack(parts, -2) * view.symbol_active[..., None, :]
        symbols = symbols.reshape(*view.price.shape[:-1], -1)
        left = xp.full_like(view.market_drawdown, view.time_left)
        shared = xp.stack([view.market_drawdown, left, 100.0 * view.transaction_cost], -1)
        return xp.clip(xp.concatenate([symbols, shared], -1), -OBSERVATION_LIMIT, OBSERVATION_LIMIT)

    def encode_own(self, view: TradingView) -> Any:
        """Observe what is one's own.

        Of each symbol: value of the position over equity, gain since entry, stop and take-profit
        over their largest; then cash and value of all positions over equity, equity over the
        initial balance less 1, drawdown, largest position.

        Args:
            view: What is known.

        Returns:
            `[..., agent, own]` in [-5, 5].
        """
        xp, config = self._xp, self.config
        equity, held = view.equity, view.shares * view.price[..., None, :]
        worth = xp.maximum(equity, _SMALLEST_EQUITY * view.balance)
        gain = self._gain(view)
        parts = [
            held / worth[..., None],
            5.0 * gain,
            view.stop / config.max_stop,
            view.take / config.max_take,
        ]
        symbols = xp.stack(parts, -2).reshape(*view.cash.shape, -1)
        private = xp.stack(
            [
                view.cash / worth,
                xp.abs(held).sum(-1) / worth,
                equity / view.balance - 1.0,
                1.0 - equity / view.peak,
                xp.zeros_like(equity) + view.max_position[..., None],
            ],
            -1,
        )
        return xp.clip(
            xp.concatenate([symbols, private], -1), -OBSERVATION_LIMIT, OBSERVATION_LIMIT
        )

    def _gain(self, view: TradingView) -> Any:
        """Return the gain of each position since entry as a share of the price it was opened at."""
        moved = view.price[..., None, :] / view.entry - 1.0
        return self._xp.where(view.shares < 0, -moved, moved)

    def _passes_level(self, view: TradingView) -> Any:
        gain = self._gain(view)
        loses = (view.stop > 0) & (gain <= -view.stop)
        return loses | ((view.take > 0) & (gain >= view.take))

    def _fit(self, order: Any, view: TradingView) -> Any:
        """Scale what opens or adds to positions to the short and the leverage limit."""
        xp, config = self._xp, self.config
        price, shares = view.price[..., None, :], view.shares
        least, most = xp.clip(-shares, None, 0.0), xp.clip(-shares, 0.0, None)
        reduces = xp.minimum(xp.maximum(order, least), most)
        opens = order - reduces
        kept = shares + reduces
        shorts = xp.clip(opens, None, 0.0)
        room = config.short_limit * view.equity + (xp.clip(kept, None, 0.0) * price).sum(-1)
        factor = self._factor(room, (-shorts * price).sum(-1))
        opens = opens + (factor[..., None] - 1.0) * shorts
        before = self._outlay(reduces, view)
        need = (xp.abs(opens) * price).sum(-1)
        need = need + config.leverage_limit * (self._outlay(reduces + opens, view) - before)
        room = config.leverage_limit * (view.equity - before) - (xp.abs(kept) * price).sum(-1)
        return reduces + self._factor(room, need)[..., None] * opens

    def _outlay(self, shares: Any, view: TradingView) -> Any:
        """Return all costs and what own orders add to the price they are filled at."""
        config = self.config
        rate = (view.transaction_cost + config.half_spread)[..., None] * view.price
        factor = (config.temporary_impact_factor + 0.5 * config.market_impact_factor) / LOT
        size = self._xp.abs(shares)
        paid = rate[..., None, :] + (factor * view.first_price)[..., None, :] * size
        return (paid * size).sum(-1)

    def _factor(self, room: Any, need: Any) -> Any:
        xp = self._xp
        return xp.where(
            need > room, xp.clip(room, 0.0, None) / xp.clip(need, 1e-9, None), xp.ones_like(need)
        )
