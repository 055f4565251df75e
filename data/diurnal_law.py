"""A day's rhythm: an hourly profile times a slow and a fast lognormal noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data.demand_law import Floats, autoregress
from data.fit_report import FitFigure, FitReport
from data.scenario import Array, ScenarioError
from utils.errors import ConfigError
from utils.seeding import make_generator

HOURS = 24
LAGS = (1, 12)
"""Lags that the slow noise is fitted to, in steps."""


@dataclass(frozen=True, kw_only=True)
class DiurnalLaw:
    """Positive readings whose mean follows the hour."""

    level: float = 1.0
    profile: tuple[float, ...] = (1.0,) * HOURS
    """Weight of each hour, scaled to mean one; the law interpolates from mid-hour to mid-hour."""
    slow_sd: float = 0.0
    """Standard deviation of the slow part of the logarithm."""
    persistence: float = 0.9
    """Correlation of the slow part from one step to the next, in [0, 1)."""
    fast_sd: float = 0.1
    """Standard deviation of the part that is new in each step."""
    steps_per_day: int = 288

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn from."""
        numbers = (self.level, self.slow_sd, self.fast_sd)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ConfigError(f"level, slow_sd, fast_sd must be finite and at least 0: {self}")
        if not 0 <= self.persistence < 1 or self.steps_per_day < 1:
            raise ConfigError(f"needed: persistence in [0, 1), steps_per_day >= 1: {self}")
        profile = np.asarray(self.profile, float)
        if len(profile) != HOURS or not np.isfinite(profile).all():
            raise ConfigError(f"profile has {len(profile)} weights; give 24 finite ones")
        if profile.min() < 0 or profile.max() == 0:
            raise ConfigError("profile weights must be at least 0, one of them above 0")

    def expected(self, slots: np.ndarray) -> Floats:
        """Return the mean at steps of the day, of the shape given.

        Args:
            slots: Steps since midnight, any integers.
        """
        weights = np.asarray(self.profile, float) / np.mean(self.profile)
        hour = (slots % self.steps_per_day + 0.5) * HOURS / self.steps_per_day - 0.5
        before = np.floor(hour).astype(int)
        part = hour - before
        mean: Floats = weights[before % HOURS] * (1 - part) + weights[(before + 1) % HOURS] * part
        return self.level * mean

    def draw(
        self,
        num_episodes: int,
        num_steps: int,
        generator: np.random.Generator,
        *,
        first_slot: int = 0,
    ) -> Array:
        """Draw readings, `[episode, time]`.

        Args:
            num_episodes: How many.
            num_steps: Length of each.
            generator: The only source of chance.
            first_slot: Step of the day at which episodes begin.

        Raises:
            ConfigError: A size is below 1.
        """
        if min(num_episodes, num_steps) < 1:
            raise ConfigError("episodes and steps must be at least 1")
        shape = (num_episodes, num_steps)
        slow = autoregress(generator.standard_normal(shape), self.persistence)
        noise = self.slow_sd * slow + self.fast_sd * generator.standard_normal(shape)
        noise -= (self.slow_sd**2 + self.fast_sd**2) / 2
        mean = self.expected(first_slot + np.arange(num_steps))
        return (mean * np.exp(noise)).astype(np.float32)


def measure_seasonality(readings: Floats, first_slot: int, steps_per_day: int) -> float:
    """Return the share of the variance that the mean of the hour explains, in [0, 1].

    Args:
        readings: `[time]`.
        first_slot: Step of the day of the first.
        steps_per_day: Steps of a day.
    """
    hours = _hours(len(readings), first_slot, steps_per_day)
    residual = readings - _hourly_means(readings, hours)[hours]
    return float(1 - residual.var() / readings.var())


def fit_diurnal(
    readings: Floats, *, first_slot: int = 0, steps_per_day: int = 288, seed: int = 0
) -> tuple[DiurnalLaw, FitReport]:
    """Fit by moments: hourly means, then variance and two autocovariances of what they leave.

    With y the reading over its hourly mean, var y = e^(a + b) - 1 and cov_k = e^(a r^k) - 1, where
    a and b are the variances of the slow and the fast part and r the persistence.

    Args:
        readings: `[time]`, at least 0.
        first_slot: Step of the day of the first.
        steps_per_day: Steps of a day.
        seed: Of the draws that the report compares with.

    Raises:
        ScenarioError: They cover less than three days, or are not finite, negative or constant.
    """
    if readings.ndim != 1 or len(readings) < 3 * steps_per_day:
        raise ScenarioError(f"{readings.shape} readings are too few; give three days in one row")
    if not np.isfinite(readings).all() or (readings < 0).any():
        raise ScenarioError("readings must be finite and at least 0; clean them")
    hours = _hours(len(readings), first_slot, steps_per_day)
    profile = _hourly_means(readings, hours)
    if readings.var() == 0 or profile.min() <= 0:
        raise ScenarioError("readings do not vary, or are all zero in some hour of the day")
    y = readings / profile[hours]
    y = y / y.mean() - 1
    near, far = (math.log1p(max(float((y[k:] * y[:-k]).mean()), 0.0)) for k in LAGS)
    persistence = min((far / near) ** (1 / (LAGS[1] - LAGS[0])), 0.999) if near > 0 else 0.0
    total = math.log1p(float(y.var()))
    slow = min(near / persistence, total) if persistence > 0 else 0.0
    law = DiurnalLaw(
        level=float(profile.mean()),
        profile=tuple((profile / profile.mean()).tolist()),
        slow_sd=math.sqrt(slow),
        persistence=persistence,
        fast_sd=math.sqrt(total - slow),
        steps_per_day=steps_per_day,
    )
    return law, compare_diurnal(law, readings, first_slot=first_slot, seed=seed)


def compare_diurnal(
    law: DiurnalLaw, readings: Floats, *, first_slot: int = 0, seed: int = 0, replicas: int = 100
) -> FitReport:
    """Set real readings beside the mean over stretches of equal length drawn from a law.

    Args:
        law: Fitted to these or to others.
        readings: `[time]`.
        first_slot: Step of the day of the first.
        seed: Of the draws.
        replicas: How many stretches are drawn.
    """
    generator = make_generator(seed, "diurnal fit")
    drawn = law.draw(replicas, len(readings), generator, first_slot=first_slot).astype(float)

    def measure(row: Floats) -> tuple[float, ...]:
        centred = row - row.mean()
        fades = ((centred[k:] * centred[:-k]).mean() / row.var() for k in LAGS)
        season = measure_seasonality(row, first_slot, law.steps_per_day)
        top = np.percentile(row, 99) / row.mean()
        return (float(row.mean()), float(row.std() / row.mean()), season, *fades, float(top))

    names = ("mean", "variation", "seasonality", *(f"autocorrelation_{k}" for k in LAGS))
    made = np.mean([measure(row) for row in drawn], axis=0)
    return FitReport(
        figures=tuple(
            FitFigure(name=name, real=float(real), made=float(value))
            for name, real, value in zip(
                (*names, "p99_over_mean"), measure(readings), made, strict=True
            )
        )
    )


def _hours(count: int, first_slot: int, steps_per_day: int) -> np.ndarray:
    return (first_slot + np.arange(count)) % steps_per_day * HOURS // steps_per_day


def _hourly_means(readings: Floats, hours: np.ndarray) -> Floats:
    sums = np.bincount(hours, readings, minlength=HOURS)
    means: Floats = sums / np.maximum(np.bincount(hours, minlength=HOURS), 1)
    return means
