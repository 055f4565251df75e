"""Indicators of a market timeline, each from the prices up to its step; `[time, symbol]` arrays.

Wilder (1978) for the index of relative strength, Appel (1979) for the convergence of averages,
Bollinger (1992) for the bands.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.demand_law import Floats

RSI_STEPS = 14
MACD_STEPS = (12, 26, 9)
BAND_STEPS = 20
BAND_WIDTH = 2.0


def average_exponentially(values: Floats, weight: float) -> Floats:
    """Return a_t = a_{t-1} + weight (x_t - a_{t-1}), with a_0 = x_0.

    Args:
        values: x, `[time, ...]`.
        weight: In (0, 1].
    """
    averages = values.copy()
    for t in range(1, len(values)):
        averages[t] = averages[t - 1] + weight * (values[t] - averages[t - 1])
    return averages


def compute_relative_strength(rise: Any, fall: Any, xp: Any = np) -> Any:
    """Return 100 U / (U + D) of mean rises U and mean falls D; 50 where nothing moved.

    Args:
        rise: U, not negative.
        fall: D, not negative.
        xp: Array namespace, `numpy` or `torch`.
    """
    moved = rise + fall
    return xp.where(moved > 0, 100.0 * rise / xp.clip(moved, 1e-12, None), 50.0)


def compute_rsi(price: Floats, steps: int = RSI_STEPS) -> Floats:
    """Return 100 U / (U + D), U and D being Wilder's averages of the rises and the falls.

    The averages begin as plain means of the first `steps` moves; before that, and where nothing
    moved, the index is 50.

    Args:
        price: Above 0.
        steps: Length of the average.
    """
    move = np.diff(price, axis=0)
    index = np.full(price.shape, 50.0)
    if len(move) < steps:
        return index
    averages = []
    for part in (np.maximum(move, 0), np.maximum(-move, 0)):
        seeded = np.concatenate([part[:steps].mean(0, keepdims=True), part[steps:]])
        averages.append(average_exponentially(seeded, 1 / steps))
    index[steps:] = compute_relative_strength(*averages)
    return index


def compute_macd(price: Floats, steps: tuple[int, int, int] = MACD_STEPS) -> tuple[Floats, Floats]:
    """Return the difference of a fast and a slow average, and its own average.

    Args:
        price: Above 0.
        steps: Fast, slow and signal; each average has weight 2 / (steps + 1).
    """
    fast, slow, signal = (2 / (one + 1) for one in steps)
    line = average_exponentially(price, fast) - average_exponentially(price, slow)
    return line, average_exponentially(line, signal)


def compute_bands(values: Floats, steps: int = BAND_STEPS) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the last `steps` values, fewer at the start.

    Args:
        values: `[time, ...]`.
        steps: Length of the window.
    """
    count = np.minimum(np.arange(1, len(values) + 1), steps).reshape(-1, *[1] * (values.ndim - 1))
    centre = values.mean(0)
    mean = _sum_window(values - centre, steps) / count
    square = _sum_window((values - centre) ** 2, steps) / count
    return mean + centre, np.sqrt(np.maximum(square - mean**2, 0))


def _sum_window(values: Floats, steps: int) -> Floats:
    total = np.cumsum(values, axis=0)
    window: Floats = total.copy()
    window[steps:] -= total[:-steps]
    return window
