"""Technical indicators of prices, one price at a time: RSI, MACD, bands, volatility.

The same lines run on NumPy and torch. A state is small, so that a world can carry it from step to
step; nothing looks ahead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.price_indicators import (
    BAND_STEPS,
    BAND_WIDTH,
    MACD_STEPS,
    RSI_STEPS,
    compute_relative_strength,
)

FAST_STEPS, SLOW_STEPS, SIGNAL_STEPS = MACD_STEPS
LONG_STEPS = 60
"""Steps after which the weight of a squared return in the slow variance has fallen to 1 / e."""
WINDOW = BAND_STEPS + 1
"""Prices that a state remembers."""
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class IndicatorState:
    """What is remembered of the prices so far; `[..., symbol]` each, but for the window."""

    gain: Any
    """Mean rise of a step, by Wilder's smoothing."""
    loss: Any
    """Mean fall of a step, by Wilder's smoothing."""
    fast: Any
    """Exponential mean of the price over 12 steps."""
    slow: Any
    """Exponential mean of the price over 26 steps."""
    signal: Any
    """Exponential mean of MACD over 9 steps."""
    slow_variance: Any
    """Exponential mean of the squared return of the logarithm."""
    window: Any
    """`[..., 21, symbol]`: newest prices, newest last."""


@dataclass(frozen=True, kw_only=True)
class Indicators:
    """Readings after the newest price, `[..., symbol]` each."""

    last_return: Any
    """Return of the logarithm over the last step."""
    rsi: Any
    """Relative strength index in [0, 100]; 50 where nothing moved."""
    macd: Any
    """Moving average convergence divergence, in currency."""
    macd_signal: Any
    """Its exponential mean, in currency."""
    band_middle: Any
    """Mean of the newest 20 prices."""
    band_deviation: Any
    """Their standard deviation (of a population); the bands lie two of them away."""
    volatility: Any
    """Root mean square of the newest 20 returns of the logarithm, per step."""
    slow_volatility: Any
    """Root of the exponential mean of squared returns, per step."""

    @property
    def upper_band(self) -> Any:
        """Upper Bollinger band."""
        return self.band_middle + BAND_WIDTH * self.band_deviation

    @property
    def lower_band(self) -> Any:
        """Lower Bollinger band."""
        return self.band_middle - BAND_WIDTH * self.band_deviation


def begin_indicators(history: Any, xp: Any = np) -> IndicatorState:
    """Read a history from its oldest to its newest price.

    Means of rises, falls and squared returns are plain means until there are as many changes as
    they look back, as Wilder (1978) begins; exponential means begin at the oldest price. Before it
    the window holds the oldest price.

    Args:
        history: `[..., time, symbol]`: prices above 0, newest last; at least one.
        xp: Array namespace, `numpy` or `torch`.
    """
    oldest = history[..., 0, :]
    nothing = xp.zeros_like(oldest)
    state = IndicatorState(
        gain=nothing,
        loss=nothing,
        fast=oldest,
        slow=oldest,
        signal=nothing,
        slow_variance=nothing,
        window=xp.stack([oldest] * WINDOW, -2),
    )
    for changes in range(1, history.shape[-2]):
        state = update_indicators(state, history[..., changes, :], xp, num_changes=changes)
    return state


def update_indicators(
    state: IndicatorState, price: Any, xp: Any = np, *, num_changes: int = LONG_STEPS
) -> IndicatorState:
    """Bring a state forward by one price.

    Args:
        state: Before.
        price: `[..., symbol]`: the next price.
        xp: Array namespace, `numpy` or `torch`.
        num_changes: Changes of price seen so far, this one included; matters up to 60 only.
    """
    last = state.window[..., -1, :]
    change, squared = price - last, xp.square(xp.log(price / last))
    wilder = 1.0 / min(num_changes, RSI_STEPS)
    fast = state.fast + 2.0 / (FAST_STEPS + 1) * (price - state.fast)
    slow = state.slow + 2.0 / (SLOW_STEPS + 1) * (price - state.slow)
    return IndicatorState(
        gain=state.gain + wilder * (xp.clip(change, 0.0, None) - state.gain),
        loss=state.loss + wilder * (xp.clip(-change, 0.0, None) - state.loss),
        fast=fast,
        slow=slow,
        signal=state.signal + 2.0 / (SIGNAL_STEPS + 1) * (fast - slow - state.signal),
        slow_variance=state.slow_variance
        + (squared - state.slow_variance) / min(num_changes, LONG_STEPS),
        window=xp.concatenate([state.window[..., 1:, :], price[..., None, :]], -2),
    )


def read_indicators(state: IndicatorState, xp: Any = np) -> Indicators:
    """Compute the readings after the newest price.

    RSI after Wilder (1978): 100 gain / (gain + loss); MACD 12/26/9 after Appel; bands 20/2 after
    Bollinger. Kinks for gradients: rises and falls at a change of zero.

    Args:
        state: After that price.
        xp: Array namespace, `numpy` or `torch`.
    """
    window = state.window
    returns = xp.log(window[..., 1:, :] / window[..., :-1, :])
    newest = window[..., 1:, :]
    middle = newest.mean(-2)
    variance = xp.square(newest - middle[..., None, :]).mean(-2)
    return Indicators(
        last_return=returns[..., -1, :],
        rsi=compute_relative_strength(state.gain, state.loss, xp),
        macd=state.fast - state.slow,
        macd_signal=state.signal,
        band_middle=middle,
        band_deviation=xp.sqrt(variance + _TINY),
        volatility=xp.sqrt(xp.square(returns).mean(-2) + _TINY),
        slow_volatility=xp.sqrt(state.slow_variance + _TINY),
    )


def annualise(volatility: Any, steps_per_year: int = 252) -> Any:
    """Turn the volatility of a step into that of a year.

    Args:
        volatility: Per step.
        steps_per_year: Steps.
    """
    return volatility * math.sqrt(steps_per_year)
