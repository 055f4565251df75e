"""Fit a demand law to real series, and measure how alike what it makes is.

The method is that of simulated moments (McFadden 1989): the law is drawn on the calendar and at
the levels of the real series, the same figures are taken on both, and each parameter is moved
until its figure agrees. Small-sample bias is then the same on both sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.demand_law import DemandLaw, Floats
from data.fit_report import FitFigure, FitReport
from data.scenario import ScenarioError
from utils.seeding import make_generator

LAGS = (7, 28)
"""Short and long lag of the autocorrelations, in steps."""
ROUNDS = 24
REPLICAS = 24
"""Times the history is drawn in each round of the fit."""
FULL_ROUNDS = 6
"""Rounds with whole steps; later ones shrink as 1 / round, which averages the noise out."""
SLOPE_LIMIT = 3.0


@dataclass(frozen=True, kw_only=True)
class DemandHistory:
    """What was asked for, step by step, closed steps included."""

    units: Floats
    """`[time, series]`, zero where closed."""
    is_open: NDArray[np.bool_]
    """`[time]`."""
    names: tuple[str, ...]
    """One per series."""

    def __post_init__(self) -> None:
        """Check once, where histories enter."""
        if self.units.ndim != 2 or self.units.size == 0:
            raise ScenarioError(
                f"units have shape {self.units.shape}; give [time, series], not empty"
            )
        if self.is_open.shape != self.units.shape[:1] or len(self.names) != self.units.shape[1]:
            raise ScenarioError("is_open needs one flag per step, names one per series")
        if not np.isfinite(self.units).all() or (self.units < 0).any():
            raise ScenarioError("units hold negative or non-finite values; clean them")
        if self.is_open.sum() < 4 * max(LAGS):
            raise ScenarioError(
                f"{self.is_open.sum()} open steps are too few to fit; give {4 * max(LAGS)} or more"
            )
        if (self.units[self.is_open].sum(0) == 0).any():
            raise ScenarioError("a series without any demand cannot be fitted; leave it out")

    @property
    def levels(self) -> Floats:
        """Mean units per open step, `[series]`."""
        level: Floats = self.units[self.is_open].mean(0)
        return level

    def take(self, series: slice) -> DemandHistory:
        """Return some of the series.

        Args:
            series: Which.
        """
        return replace(self, units=self.units[:, series], names=self.names[series])


@dataclass(frozen=True, kw_only=True)
class DemandFigures:
    """The moments of many series, over open steps, autocorrelations over pairs of open steps."""

    zero_share: float
    """Share of open steps without demand, mean over series."""
    zero_share_spread: float
    """Standard deviation of that share over series; not fitted."""
    variance_to_mean: float
    """Median over series, in units."""
    autocorrelation_7: float
    """Of units, seven steps apart, mean over series."""
    calendar_autocorrelation_7: float
    """Of units over all steps, closed ones counting as the zeros they are."""
    log_autocorrelation_7: float
    """Over open steps again, of log(1 + units), which single large orders do not govern."""
    log_autocorrelation_28: float
    zero_autocorrelation_7: float
    """The same of whether anything was asked for."""
    log_correlation: float
    """Between two series, of log(1 + units), mean over pairs."""
    zero_slope: float
    """Regression slope of the probit of (zeros + 1/2) / (steps + 1) on log level, per series."""
    dispersion_slope: float
    """Regression slope of log(variance / mean) on log level."""


def measure_demand(units: Floats, is_open: NDArray[np.bool_]) -> DemandFigures:
    """Take all figures.

    Args:
        units: `[replica, time, series]`; figures are means (or medians) over both other axes.
        is_open: `[time]`.
    """
    gaps = np.where(is_open[:, None], units, np.nan)
    table = gaps.transpose(1, 0, 2).reshape(len(is_open), -1)
    shown = table[is_open]
    mean = shown.mean(0)
    keep = mean > 0
    ratio = shown.var(0)[keep] / mean[keep]
    log_mean = np.log(mean[keep])
    zeros = (shown == 0).sum(0)[keep]
    probit = [NormalDist().inv_cdf((count + 0.5) / (len(shown) + 1)) for count in zeros]
    logs = np.log1p(table)
    return DemandFigures(
        zero_share=float((shown == 0).mean()),
        zero_share_spread=float((zeros / len(shown)).std()),
        variance_to_mean=float(np.median(ratio)),
        autocorrelation_7=_autocorrelate(table, LAGS[0]),
        calendar_autocorrelation_7=_autocorrelate(np.nan_to_num(table), LAGS[0]),
        log_autocorrelation_7=_autocorrelate(logs, LAGS[0]),
        log_autocorrelation_28=_autocorrelate(logs, LAGS[1]),
        zero_autocorrelation_7=_autocorrelate(np.where(np.isnan(table), table, table > 0), LAGS[0]),
        log_correlation=float(
            np.mean([_mean_correlation(one) for one in np.log1p(units[:, is_open])])
        ),
        zero_slope=-_slope(log_mean, np.asarray(probit)),
        dispersion_slope=_slope(log_mean, np.log(np.maximum(ratio, 1e-9))),
    )


def fit_demand(
    history: DemandHistory,
    *,
    period: int = 7,
    day_noise: Literal["lognormal", "gamma"] = "lognormal",
    seed: int = 0,
) -> tuple[DemandLaw, FitReport]:
    """Fit a law to all series of a history.

    Promotions and shifts are left off: a history that does not mark them cannot tell them from
    noise. Closed steps of the period are those in which the history was never open.

    Args:
        history: At least two series with demand; step 0 becomes the first of the season.
        period: Length of the season, in steps.
        day_noise: Law of the noise of single steps.
        seed: Of the draws that the fit compares with.

    Returns:
        The law, and every figure on the history beside what the law makes of its levels.

    Raises:
        ScenarioError: There is one series only, or one that does not vary.
    """
    if history.units.shape[1] < 2:
        raise ScenarioError("one series does not make a population; give at least two series")
    if (history.units[history.is_open].var(0) == 0).any():
        raise ScenarioError("a series that does not vary cannot be fitted; leave it out")
    real = measure_demand(history.units[None], history.is_open)
    law = _first_guess(history, period, day_noise)
    for number in range(ROUNDS):
        made = measure_demand(draw_like(law, history, seed + number), history.is_open)
        law = _move(law, real, made, gain=min(1.0, FULL_ROUNDS / (number + 1)))
    return law, compare_demand(law, history, seed=seed)


def compare_demand(law: DemandLaw, history: DemandHistory, *, seed: int = 0) -> FitReport:
    """Draw a law at the levels and on the calendar of a history and set the figures side by side.

    Args:
        law: Fitted to these or to other series.
        history: What to compare with.
        seed: Of the draws.
    """
    real = measure_demand(history.units[None], history.is_open)
    drawn = [draw_like(law, history, seed + 1000 + number) for number in range(4)]
    made = measure_demand(np.concatenate(drawn), history.is_open)
    names = [field.name for field in fields(DemandFigures)]
    return FitReport(
        figures=tuple(
            FitFigure(name=name, real=getattr(real, name), made=getattr(made, name))
            for name in names
        )
    )


def draw_like(law: DemandLaw, history: DemandHistory, seed: int) -> Floats:
    """Draw replicas of a history at its levels and on its calendar, `[replica, time, series]`.

    Args:
        law: What is drawn.
        history: Whose levels and calendar.
        seed: Of the draws.
    """
    steps, series = history.units.shape
    growth = np.maximum(1 + law.trend * np.flatnonzero(history.is_open), 0).mean()
    generator = make_generator(seed, "demand fit")
    units = law.draw(REPLICAS, steps, series, generator, levels=history.levels / growth)
    made: Floats = units.astype(np.float64) * history.is_open[:, None]
    return made


def _first_guess(
    history: DemandHistory, period: int, day_noise: Literal["lognormal", "gamma"]
) -> DemandLaw:
    """Read season, trend and levels off the history; the rest are mild starting values."""
    steps = np.flatnonzero(history.is_open)
    total = history.units[history.is_open].sum(1) / history.units[history.is_open].sum(1).mean()
    slots = steps % period
    opened = np.bincount(slots, minlength=period)
    season = np.bincount(slots, total, minlength=period) / np.maximum(opened, 1)
    slope, start = np.polyfit(steps, total / season[slots], 1)
    logs = np.log(history.levels)
    spread = float(logs.std())
    return DemandLaw(
        level=float(np.exp(logs.mean() + spread**2 / 2)) * float(start),
        level_spread=spread,
        trend=float(slope / start),
        season=tuple(float(value) for value in season),
        zero_share=0.1,
        zero_slope=0.5,
        zero_clustering=0.1,
        dispersion=1.0,
        day_noise=day_noise,
        intensity_sd=0.3,
        persistence=0.97,
        correlation=0.1,
    )


def _move(law: DemandLaw, real: DemandFigures, made: DemandFigures, *, gain: float) -> DemandLaw:
    """Move each parameter towards agreement of the figure it governs most."""

    def scaled(value: float, name: str, low: float, high: float) -> float:
        ratio: float = max(getattr(real, name), 1e-3) / max(getattr(made, name), 1e-3)
        factor: float = min(max(ratio, 0.5), 2.0) ** gain
        return min(max(value * factor, low), high)

    def shifted(value: float, name: str) -> float:
        moved: float = value + gain * (getattr(real, name) - getattr(made, name))
        return min(max(moved, -SLOPE_LIMIT), SLOPE_LIMIT)

    def fade(figures: DemandFigures) -> float:
        ends = (figures.log_autocorrelation_7, figures.log_autocorrelation_28)
        short, long = (max(end, 1e-3) for end in ends)
        return min(max(math.log(short / long) / (LAGS[1] - LAGS[0]), 1e-3), 0.1)

    # The fade says nothing of the persistence before the slow part has found its size.
    change = (fade(real) / fade(made)) ** gain if gain < 1 else 1.0
    forgotten = min(max((1 - law.persistence) * change, 0.002), 0.5)
    return replace(
        law,
        zero_share=scaled(law.zero_share, "zero_share", 1e-4, 0.95),
        zero_slope=max(shifted(law.zero_slope, "zero_slope"), 0.0),
        zero_clustering=scaled(law.zero_clustering, "zero_autocorrelation_7", 1e-4, 0.95),
        dispersion=scaled(law.dispersion, "variance_to_mean", 1e-4, 100.0),
        dispersion_slope=shifted(law.dispersion_slope, "dispersion_slope"),
        intensity_sd=scaled(law.intensity_sd, "log_autocorrelation_7", 1e-3, 2.0),
        persistence=1 - forgotten,
        correlation=scaled(law.correlation, "log_correlation", 1e-4, 0.9),
    )


def _slope(x: Floats, y: Floats) -> float:
    """Return the regression slope of y on x; zero where x does not vary."""
    centred = x - x.mean()
    square = float((centred**2).sum())
    return float((centred * y).sum()) / square if square > 1e-12 else 0.0


def _autocorrelate(table: Floats, lag: int) -> float:
    """Return the mean over columns of the autocorrelation over pairs of steps both open."""
    centred = table - np.nanmean(table, axis=0)
    variance = np.nanmean(centred**2, axis=0)
    pairs = np.nanmean(centred[lag:] * centred[:-lag], axis=0)
    keep = variance > 0
    return float(np.mean(pairs[keep] / variance[keep])) if keep.any() else 0.0


def _mean_correlation(series: Floats) -> float:
    """Return the mean correlation of the pairs of columns of `[time, series]`."""
    centred = series - series.mean(0)
    scale = np.sqrt((centred**2).sum(0))
    unit = centred[:, scale > 0] / scale[scale > 0]
    count = unit.shape[1]
    return float((unit.sum(1) ** 2).sum() - count) / (count * (count - 1)) if count > 1 else 0.0
