"""Do returns look like those of a share? The stylised facts of Cont (2001), measured and judged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.errors import QuartermasterError

LONGER_STEPS = 20
"""Steps that the longer return adds up: a month of days."""
TAIL_SHARE = 0.05
LEVERAGE_LAGS = 10
DECAY_LAGS = 100
SHORTEST_SERIES = 500
_POSITIVE_SHARE = 0.75

Values = NDArray[np.float64]


class ReturnsError(QuartermasterError, ValueError):
    """A series of returns is too short, does not move, or is not finite."""


@dataclass(frozen=True, kw_only=True)
class StylisedFacts:
    """What is measured on a series of logarithmic returns, lags in steps."""

    return_acf_1: float
    """Autocorrelation of returns at lag 1."""
    absolute_acf_1: float
    """Autocorrelation of absolute returns at lag 1."""
    absolute_acf_10: float
    absolute_acf_50: float
    kurtosis: float
    """Excess kurtosis."""
    kurtosis_20: float
    """Excess kurtosis of the sums of 20 returns, not overlapping."""
    hill: float
    """Hill's (1975) tail exponent of the largest 5 % of absolute returns."""
    leverage: float
    """Correlation of a return with the squared one k steps later, mean over k = 1 .. 10."""
    decay: float
    """a in acf |r|(k) ~ k^-a: least squares in logarithms over k = 1 .. 100, where positive.

    Not a number where fewer than three quarters of these autocorrelations are positive: nothing is
    there that could decay.
    """

    def values(self) -> Values:
        """Return all figures, `[figure]`, in the order of the fields."""
        return np.asarray([getattr(self, field.name) for field in fields(self)])


@dataclass(frozen=True, kw_only=True)
class Band:
    """Where daily returns of a share lie."""

    name: str
    text: str
    """For people."""
    holds: Callable[[StylisedFacts], bool]


BANDS = (
    Band(
        name="no autocorrelation",
        text="|acf1 r| < .10",
        holds=lambda one: abs(one.return_acf_1) < 0.10,
    ),
    Band(
        name="volatility clustering",
        text="acf |r| at 1, 10, 50: .15 .. .40, > .08, > .03",
        holds=lambda one: (
            0.15 <= one.absolute_acf_1 <= 0.40
            and one.absolute_acf_10 > 0.08
            and one.absolute_acf_50 > 0.03
        ),
    ),
    Band(
        name="heavy tails",
        text="excess kurtosis 4 .. 20",
        holds=lambda one: 4 <= one.kurtosis <= 20,
    ),
    Band(
        name="aggregational gaussianity",
        text="less than half of it at 20 days",
        holds=lambda one: one.kurtosis_20 < one.kurtosis / 2,
    ),
    Band(name="tail exponent", text="Hill 2.5 .. 4.0", holds=lambda one: 2.5 <= one.hill <= 4.0),
    Band(
        name="leverage effect",
        text="-.12 .. -.005",
        holds=lambda one: -0.12 <= one.leverage <= -0.005,
    ),
    Band(name="slow decay", text="exponent .1 .. .5", holds=lambda one: 0.1 <= one.decay <= 0.5),
)
"""The bands of a daily share price over 5,000 returns or more, seven of them.

Six properties are measured: autocorrelation of returns, that of absolute returns (three lags, one
band: they are one curve), kurtosis, tail exponent, leverage, decay. Kurtosis counts twice, because
a fat daily tail and its fading with the time scale are two of Cont's facts, and a generator can
have one without the other.
"""


def inside_bands(facts: StylisedFacts) -> tuple[bool, ...]:
    """Say for each of `BANDS` whether it holds.

    Args:
        facts: What was measured.
    """
    return tuple(band.holds(facts) for band in BANDS)


def stylised_facts(returns: ArrayLike) -> StylisedFacts:
    """Measure one series.

    Args:
        returns: `[time]`, changes of the logarithm of the price.

    Raises:
        ReturnsError: Fewer than 500 returns, more than one axis, not finite, or all alike.
    """
    series = check_returns(returns)
    size = np.abs(series)
    absolute = autocorrelation(size, DECAY_LAGS)
    whole = len(series) // LONGER_STEPS * LONGER_STEPS
    return StylisedFacts(
        return_acf_1=float(autocorrelation(series, 1)[1]),
        absolute_acf_1=float(absolute[1]),
        absolute_acf_10=float(absolute[10]),
        absolute_acf_50=float(absolute[50]),
        kurtosis=excess_kurtosis(series),
        kurtosis_20=excess_kurtosis(series[:whole].reshape(-1, LONGER_STEPS).sum(1)),
        hill=hill_exponent(size, TAIL_SHARE),
        leverage=_leverage(series),
        decay=_decay(absolute),
    )


def check_returns(returns: ArrayLike) -> Values:
    """Return the series in double precision if it can be measured.

    Args:
        returns: `[time]`.

    Raises:
        ReturnsError: As for `stylised_facts`.
    """
    series = np.asarray(returns, dtype=np.float64)
    if series.ndim != 1 or len(series) < SHORTEST_SERIES:
        raise ReturnsError(
            f"returns has shape {series.shape}; give one series of {SHORTEST_SERIES} or more"
        )
    if not np.isfinite(series).all():
        raise ReturnsError("returns holds values that are not finite; drop or mend those days")
    if np.ptp(series) == 0:
        raise ReturnsError("returns are all alike; give a price that moves")
    return series


def autocorrelation(series: Values, lags: int) -> Values:
    """Estimate autocorrelations, with the mean and variance of the whole series.

    Args:
        series: `[time]`.
        lags: The longest.

    Returns:
        `[lags + 1]`, the first being 1.
    """
    centred = series - series.mean()
    spectrum = np.fft.rfft(centred, 2 * len(centred))
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[: lags + 1]
    result: Values = covariance / covariance[0]
    return result


def excess_kurtosis(series: Values) -> float:
    """Return the fourth moment over the squared second, less 3.

    Args:
        series: `[time]`.
    """
    centred = series - series.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2 - 3)


def hill_exponent(size: Values, share: float) -> float:
    """Estimate the exponent of a Pareto tail.

    Args:
        size: `[time]`, not negative.
        share: Of the sample that counts as tail.
    """
    count = int(share * len(size))
    largest = np.sort(size)[::-1][: count + 1]
    return float(1 / np.log(largest[:count] / largest[count]).mean())


def _leverage(series: Values) -> float:
    squared = series**2
    return float(
        np.mean([np.corrcoef(series[:-k], squared[k:])[0, 1] for k in range(1, LEVERAGE_LAGS + 1)])
    )


def _decay(absolute: Values) -> float:
    positive = absolute[1:] > 0
    if positive.mean() < _POSITIVE_SHARE:
        return math.nan
    lags = np.arange(1, len(absolute))[positive]
    return float(-np.polyfit(np.log(lags), np.log(absolute[1:][positive]), 1)[0])
