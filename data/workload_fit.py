"""Fits the demand law of a service to a real series, and says how close it came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.fit_report import FitFigure, FitReport
from data.scenario import ScenarioError
from data.workload import (
    STEPS_PER_DAY,
    FailureConfig,
    ServiceDemand,
    SyntheticConfig,
    SyntheticWorkload,
    WorldConfig,
)
from utils.seeding import make_generator

Numbers = NDArray[np.float64]
BURST_DEVIATIONS = 4.0
"""Robust standard deviations of the logarithm above the median at which a burst begins."""
SHORTEST_BURST = 2
MEAN_BURST_FACTOR = 0.9
"""A drawn burst is 0.7 to 1.1 times as high as its law says."""
DAYS_DRAWN = 400


def fit_service_demand(series: Numbers, first_slot: int = 0) -> tuple[ServiceDemand, FitReport]:
    """Fit level, season, noise and flat bursts to the demand of one service.

    Bursts are spells far above the median; the rest gives the mean, a daily sine, and the lognormal
    noise with the same variation and correlation of neighbours. A law has no negative correlation.

    Args:
        series: `[time]`: work per step of five minutes; two days or more.
        first_slot: Step of the day of the first one.

    Returns:
        The law, and mean, variation, persistence, tail and burst share of the series beside those
        of days drawn from the law.

    Raises:
        ScenarioError: The series is too short, empty of work, negative or not finite.
    """
    if series.ndim != 1 or len(series) < 2 * STEPS_PER_DAY:
        raise ScenarioError(f"give two days or more, [time], not an array of {series.shape}")
    if not np.isfinite(series).all() or (series < 0).any() or not series.any():
        raise ScenarioError("the series holds negative or non-finite values, or no work at all")
    burst = find_bursts(series)
    angle = 2 * np.pi * ((first_slot + np.arange(len(series))) % STEPS_PER_DAY) / STEPS_PER_DAY
    calm, turn = series[~burst], angle[~burst]
    mean = float(calm.mean())
    waves = np.stack([np.ones_like(turn), np.sin(turn), np.cos(turn)], axis=1)
    _, *swing = np.linalg.lstsq(waves, calm / max(mean, 1e-12), rcond=None)[0]
    amplitude = float(min(np.hypot(*swing), 1.0))
    season = 1.0 + waves[:, 1:] @ np.asarray(swing)
    noise, persistence = _fit_noise(calm / np.maximum(season, 0.05))
    starts, lengths = _spells(burst)
    law = ServiceDemand(
        mean=mean,
        daily_amplitude=amplitude,
        noise=noise,
        noise_persistence=persistence,
        bursts_per_day=len(starts) / (len(series) / STEPS_PER_DAY),
        burst_steps=float(max(lengths.mean(), 1.0)) if len(starts) else 1.0,
        burst_height=float((series[burst].mean() - mean) / MEAN_BURST_FACTOR) if burst.any() else 0,
    )
    made = draw_days(law, DAYS_DRAWN)
    real = series[: len(series) // STEPS_PER_DAY * STEPS_PER_DAY].reshape(-1, STEPS_PER_DAY)
    ours, theirs = _figures(made), _figures(real)
    figures = (FitFigure(name=name, real=theirs[name], made=ours[name]) for name in ours)
    return law, FitReport(figures=tuple(figures))


def find_bursts(series: Numbers) -> NDArray[np.bool_]:
    """Return which steps belong to bursts.

    Args:
        series: `[time]`.
    """
    level = np.log(np.maximum(series, 0.01 * series.mean()))
    middle = np.median(level)
    spread = 1.4826 * np.median(np.abs(level - middle))
    high = level > middle + max(BURST_DEVIATIONS * spread, np.log(2.0))
    starts, lengths = _spells(high)
    burst = np.zeros(len(series), bool)
    for start, length in zip(starts, lengths, strict=True):
        burst[start : start + length] = length >= SHORTEST_BURST
    return burst


def draw_days(law: ServiceDemand, num_days: int, seed: int = 0) -> Numbers:
    """Draw days of demand, `[day, time]`, each as the law says on average.

    Args:
        law: Of the service.
        num_days: How many.
        seed: Of the chance.
    """
    world = WorldConfig(
        priority=(1.0,),
        capacity=(1.0,),
        price=(0.0,),
        max_steps=STEPS_PER_DAY,
        lookback=1,
        failures=FailureConfig(failures_per_day=0.0),
    )
    source = SyntheticWorkload(SyntheticConfig(services=(law,), variation=0.0), world)
    return source.draw(num_days, make_generator(seed, "fitted days")).demand[..., 0].astype(float)


def _fit_noise(calm: Numbers) -> tuple[float, float]:
    """Return deviation and persistence of the logarithm whose exponential varies as `calm` does."""
    variance = float(np.log1p(calm.var() / max(calm.mean(), 1e-12) ** 2))
    if variance < 1e-9:
        return 0.0, 0.0
    neighbours = max(_persistence(calm), 0.0)
    persistence = float(np.log1p(neighbours * np.expm1(variance)) / variance)
    return float(np.sqrt(variance)), min(persistence, 0.99)


def _figures(days: Numbers) -> dict[str, float]:
    """Measure `[day, time]`."""
    mean = days.mean()
    above = days > 3 * np.median(days) + 0.1 * mean
    return {
        "mean": float(mean),
        "deviation / mean": float(days.std() / mean),
        "autocorrelation, one step": _persistence(days),
        "99 % quantile / mean": float(np.quantile(days, 0.99) / mean),
        "share of steps above three medians": float(above.mean()),
    }


def _persistence(values: Numbers) -> float:
    """Return the correlation of neighbours along the last axis."""
    centred = values - values.mean()
    variance = (centred**2).mean()
    return float((centred[..., 1:] * centred[..., :-1]).mean() / max(variance, 1e-12))


def _spells(active: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where runs of True begin and how long they are."""
    edges = np.diff(np.concatenate([[0], active.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return starts, ends - starts
