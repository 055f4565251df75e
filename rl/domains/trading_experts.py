"""How experts trade, from the same view as the agent: from holding cash to volatility targets.

All but the random one turn target weights (value of a position over equity) into the order that
closes the gap, as far as one order goes; gaps below `BAND` are left, or costs eat the gain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.domains.indicators import annualise
from rl.domains.trading import ORDER_SIZE, TradingView
from rl.domains.trading_config import TradingConfig

Array = NDArray[np.float32]
Expert = Callable[[TradingView, TradingConfig, np.random.Generator], Array]
BAND = 0.02
"""Gap between weight and target, as a share of equity, that is not worth a trade."""
TARGET_VOLATILITY = 0.15
"""Per year, of an account that `target_volatility` is fully invested with."""
INVESTED = 0.98
"""Share of equity that experts put in the market; the rest pays costs."""


def trade_at_random(
    view: TradingView, config: TradingConfig, generator: np.random.Generator
) -> Array:
    """Draw size, stop and take-profit of every order anew from U(-1, 1).

    Args:
        view: What is known, NumPy.
        config: Not used.
        generator: Of the orders.
    """
    del config
    shape = (*view.shares.shape[:-1], ORDER_SIZE * view.shares.shape[-1])
    return generator.uniform(-1.0, 1.0, shape).astype(np.float32)


def hold_cash(view: TradingView, config: TradingConfig, generator: np.random.Generator) -> Array:
    """Never trade.

    Args:
        view: What is known, NumPy.
        config: Not used.
        generator: Not used.
    """
    del config, generator
    shape = (*view.shares.shape[:-1], ORDER_SIZE * view.shares.shape[-1])
    return np.zeros(shape, np.float32)


def buy_and_hold(view: TradingView, config: TradingConfig, generator: np.random.Generator) -> Array:
    """Put equal parts in all symbols, then never trade again.

    Args:
        view: What is known, NumPy.
        config: The market.
        generator: Not used.
    """
    del generator
    weight = _weigh(view)
    is_full = view.cash[..., None] <= (1.0 - INVESTED + BAND) * view.equity[..., None]
    target = np.where(is_full, weight, np.maximum(weight, _share_equally(view)))
    return _order(target, view, config)


def weigh_equally(
    view: TradingView, config: TradingConfig, generator: np.random.Generator
) -> Array:
    """Keep equal parts in all symbols (1/N): sell what has risen, buy what has fallen.

    Args:
        view: What is known, NumPy.
        config: The market.
        generator: Not used.
    """
    del generator
    return _order(_share_equally(view), view, config)


def follow_trend(view: TradingView, config: TradingConfig, generator: np.random.Generator) -> Array:
    """Hold what rises by MACD over its signal, short what falls (Appel's crossover).

    Args:
        view: What is known, NumPy.
        config: The market.
        generator: Not used.
    """
    del generator
    sign = np.sign(view.indicators.macd - view.indicators.macd_signal)[..., None, :]
    return _order(
        _share_equally(view) * np.where(sign > 0, 1.0, config.short_limit * sign), view, config
    )


def revert_to_mean(
    view: TradingView, config: TradingConfig, generator: np.random.Generator
) -> Array:
    """Lean against the place of the price in its Bollinger bands: none held at the upper one.

    Args:
        view: What is known, NumPy.
        config: The market.
        generator: Not used.
    """
    del generator
    read = view.indicators
    place = (view.price - read.band_middle) / (2.0 * read.band_deviation + 1e-6 * view.price)
    return _order(_share_equally(view) * np.clip(0.5 - place, 0.0, 1.0)[..., None, :], view, config)


def target_volatility(
    view: TradingView, config: TradingConfig, generator: np.random.Generator
) -> Array:
    """Hold what lies above its 20-step mean, less of it the more it moves (Moreira and Muir, 2017).

    Args:
        view: What is known, NumPy.
        config: The market.
        generator: Not used.
    """
    del generator
    read = view.indicators
    yearly = annualise(np.maximum(read.volatility, 1e-4))
    scale = np.where(view.price > read.band_middle, TARGET_VOLATILITY / yearly, 0.0)
    return _order(_share_equally(view) * np.clip(scale, 0.0, 1.0)[..., None, :], view, config)


EXPERTS: dict[str, Expert] = {
    "random": trade_at_random,
    "hold_cash": hold_cash,
    "buy_and_hold": buy_and_hold,
    "equal_weight": weigh_equally,
    "momentum": follow_trend,
    "mean_reversion": revert_to_mean,
    "trend_volatility_target": target_volatility,
}


def _weigh(view: TradingView) -> NDArray[Any]:
    worth = np.maximum(view.equity, 0.01 * view.balance)[..., None]
    weight: NDArray[Any] = view.shares * view.price[..., None, :] / worth
    return weight


def _share_equally(view: TradingView) -> NDArray[Any]:
    count = np.maximum(view.symbol_active.sum(-1, keepdims=True), 1.0)
    share = INVESTED * view.symbol_active / count
    return np.broadcast_to(share[..., None, :], view.shares.shape)


def _order(target: NDArray[Any], view: TradingView, config: TradingConfig) -> Array:
    """Return the action that closes the gap to the target weights; levels are never set."""
    gap = target - _weigh(view)
    size = np.where(np.abs(gap) > BAND, np.clip(gap / config.order_share, -1.0, 1.0), 0.0)
    action = np.zeros((*gap.shape, ORDER_SIZE), np.float32)
    action[..., 0] = size
    return action.reshape(*gap.shape[:-1], -1)
