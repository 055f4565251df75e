"""A law of demand for many products: season, trend, lulls, overdispersion, promotions, shifts.

Units are counts. Given its intensity a step is Poisson, with day noise that makes it
overdispersed: gamma noise gives the negative binomial, lognormal noise the longer tail of real
shops (Aitchison and Ho 1989, "The multivariate Poisson-log normal distribution", Biometrika 76).
Steps without any demand come from a second, clustered process, as in Croston (1972).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.scenario import Array
from utils.errors import ConfigError

Floats = NDArray[np.float64]
_BOUNDS = {
    "zero_share": (0.0, 0.999),
    "zero_clustering": (0.0, 1.0),
    "correlation": (0.0, 1.0),
    "persistence": (0.0, 0.999),
    "promotion_probability": (0.0, 1.0),
    "shift_probability": (0.0, 1.0),
    "promotion_steps": (1.0, math.inf),
    "trend": (-math.inf, math.inf),
    "dispersion_slope": (-math.inf, math.inf),
}
"""Allowed range of each number; the others must be at least 0."""


@dataclass(frozen=True, kw_only=True)
class DemandLaw:
    """What customers ask of each product, in units per step; all series of one law are alike.

    Expected units of an open step are level x season x trend, times promotions and shifts.
    """

    level: float = 20.0
    """Mean over series and open steps at step 0, promotions apart; units per step."""
    level_spread: float = 0.0
    """Standard deviation of the logarithm of the level among series."""
    trend: float = 0.0
    """Growth per step, as a share of the level at step 0; demand does not fall below zero."""
    season: tuple[float, ...] = (1.0,)
    """Weight of each step of the period, scaled to mean one over the open ones; 0 is closed."""
    zero_share: float = 0.0
    """Share of open steps of an average series in which nobody comes, in [0, 1)."""
    zero_slope: float = 0.0
    """Fall of the probit of that share per unit of the logarithm of expected units."""
    zero_clustering: float = 0.0
    """Share of the variance behind such steps that the slow intensity makes, in [0, 1]."""
    dispersion: float = 0.0
    """Squared coefficient of variation of the day noise at `level`; 0 is Poisson."""
    dispersion_slope: float = 0.0
    """Exponent of (level of the series / level) in its dispersion."""
    day_noise: Literal["lognormal", "gamma"] = "lognormal"
    intensity_sd: float = 0.0
    """Standard deviation of the slow part of the logarithm of the intensity."""
    persistence: float = 0.9
    """Correlation of the slow part from one step to the next, in [0, 1)."""
    correlation: float = 0.0
    """Share of the slow part and of lognormal day noise that all series have in common."""
    promotion_probability: float = 0.0
    """Chance that a promotion of a series begins in a step."""
    promotion_steps: int = 5
    promotion_uplift: float = 1.0
    """Factor on the intensity during a promotion."""
    shift_probability: float = 0.0
    """Chance per step and series that the level changes for good."""
    shift_sd: float = 0.3
    """Standard deviation of the logarithm of such a change; its mean factor is one."""

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn from, naming the field."""
        for name, value in vars(self).items():
            if isinstance(value, (int, float)):
                _check_number(name, value)
        if self.day_noise not in {"lognormal", "gamma"}:
            raise ConfigError(f"day_noise={self.day_noise!r}: choose lognormal or gamma")
        season = np.asarray(self.season, float)
        if not np.isfinite(season).all() or (season < 0).any() or not season.any():
            raise ConfigError(
                f"season={self.season} needs finite weights >= 0, one of them above 0"
            )

    def draw(
        self,
        num_episodes: int,
        num_steps: int,
        num_series: int,
        generator: np.random.Generator,
        *,
        levels: NDArray[np.floating] | None = None,
    ) -> Array:
        """Draw whole units, `[episode, time, series]`; step 0 is the first of the season.

        Args:
            num_episodes: How many.
            num_steps: Length of each.
            num_series: Products.
            generator: The only source of chance.
            levels: `[series]` or `[episode, series]`: given levels instead of drawn ones.

        Raises:
            ConfigError: A size is below 1, or levels are of another shape or negative.
        """
        shape = (num_episodes, num_steps, num_series)
        if min(shape) < 1:
            raise ConfigError(f"episodes, steps and series are {shape}; each must be at least 1")
        level = self._levels(shape, levels, generator)
        expected = level * self._seasonal(num_steps) * self._changes(shape, generator)
        slow = self._correlated(shape, self.persistence, generator)
        intensity = expected * self._day_noise(shape, level, generator)
        intensity *= np.exp(self.intensity_sd * slow - self.intensity_sd**2 / 2)
        if self.zero_share > 0:
            intensity *= self._occurrence(expected, slow, generator)
        return generator.poisson(intensity).astype(np.float32)

    def _levels(
        self,
        shape: tuple[int, int, int],
        levels: NDArray[np.floating] | None,
        generator: np.random.Generator,
    ) -> Floats:
        """Return `[episode, 1, series]`."""
        episodes, _, series = shape
        if levels is None:
            normal = generator.standard_normal((episodes, 1, series))
            drawn: Floats = self.level * np.exp(
                self.level_spread * normal - self.level_spread**2 / 2
            )
            return drawn
        given = np.asarray(levels, float)
        if given.shape not in {(series,), (episodes, series)}:
            raise ConfigError(f"levels have shape {given.shape}; give one per series ({series})")
        if not np.isfinite(given).all() or (given < 0).any():
            raise ConfigError("levels must be finite and at least 0")
        return np.broadcast_to(given, (episodes, series))[:, None]

    def _seasonal(self, num_steps: int) -> Floats:
        """Return season times trend, `[time, 1]`."""
        season = np.asarray(self.season, float)
        steps = np.arange(num_steps)
        weight = (season / season[season > 0].mean())[steps % len(season)]
        factor: Floats = weight * np.maximum(1 + self.trend * steps, 0)
        return factor[:, None]

    def _changes(self, shape: tuple[int, int, int], generator: np.random.Generator) -> Floats:
        """Return the factor of promotions and shifts, broadcastable to `shape`."""
        factor = np.ones((1, 1, 1))
        if self.promotion_probability > 0:
            active = draw_spells(shape, self.promotion_probability, self.promotion_steps, generator)
            factor = np.where(active, self.promotion_uplift, 1.0)
        if self.shift_probability > 0:
            begins = generator.random(shape) < self.shift_probability
            sizes = self.shift_sd * generator.standard_normal(shape) - self.shift_sd**2 / 2
            factor = factor * np.exp(np.cumsum(begins * sizes, axis=1))
        return factor

    def _correlated(
        self, shape: tuple[int, int, int], persistence: float, generator: np.random.Generator
    ) -> Floats:
        """Return normals of variance one, a share of which all series have in common."""
        own = autoregress(generator.standard_normal(shape), persistence)
        if self.correlation == 0:
            return own
        common = autoregress(generator.standard_normal((*shape[:2], 1)), persistence)
        mixed: Floats = math.sqrt(self.correlation) * common + math.sqrt(1 - self.correlation) * own
        return mixed

    def _day_noise(
        self, shape: tuple[int, int, int], level: Floats, generator: np.random.Generator
    ) -> Floats:
        """Return independent factors of mean one, `shape` or scalar-like."""
        if self.dispersion == 0:
            return np.ones((1, 1, 1))
        ratio = np.maximum(level, 1e-9) / max(self.level, 1e-9)
        squared_cv = self.dispersion * ratio**self.dispersion_slope
        if self.day_noise == "gamma":
            return generator.gamma(np.broadcast_to(1 / squared_cv, shape)) * squared_cv
        variance = np.log1p(squared_cv)
        normal = self._correlated(shape, 0.0, generator)
        noise: Floats = np.exp(np.sqrt(variance) * normal - variance / 2)
        return noise

    def _occurrence(self, expected: Floats, slow: Floats, generator: np.random.Generator) -> Floats:
        """Return zero where nobody comes, else the factor that keeps the mean.

        Somebody comes where sqrt(w) slow + sqrt(1 - w) noise exceeds a threshold. Weighted by the
        intensity exp(s slow - s^2 / 2), the left side is shifted by s sqrt(w): hence the factor.
        """
        ratio = np.maximum(expected, 1e-9) / max(self.level, 1e-9)
        threshold = NormalDist().inv_cdf(self.zero_share) - self.zero_slope * np.log(ratio)
        weight = self.zero_clustering
        noise = generator.standard_normal(slow.shape)
        comes = math.sqrt(weight) * slow + math.sqrt(1 - weight) * noise > threshold
        chance = normal_cdf(self.intensity_sd * math.sqrt(weight) - threshold)
        factor: Floats = comes / np.maximum(chance, 1e-6)
        return factor


def _check_number(name: str, value: float) -> None:
    low, high = _BOUNDS.get(name, (0.0, math.inf))
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name}={value} must be finite and lie in [{low:g}, {high:g}]")


def autoregress(shocks: Floats, persistence: float) -> Floats:
    """Turn standard normal shocks into a stationary first-order autoregression of variance one.

    Args:
        shocks: `[episode, time, ...]`; overwritten.
        persistence: Correlation from one step to the next, in [0, 1).
    """
    if persistence > 0:
        scale = math.sqrt(1 - persistence**2)
        for t in range(1, shocks.shape[1]):
            shocks[:, t] = persistence * shocks[:, t - 1] + scale * shocks[:, t]
    return shocks


def draw_spells(
    shape: tuple[int, int, int], probability: float, length: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw spells of one length, under way at step 0 as often as later; overlaps merge.

    Args:
        shape: `[episode, time, series]`.
        probability: Chance that a spell begins in a step.
        length: Steps that it lasts.
        generator: The only source of chance.
    """
    episodes, steps, series = shape
    begins = generator.random((episodes, steps + length - 1, series)) < probability
    counts = np.cumsum(np.pad(begins, ((0, 0), (1, 0), (0, 0))), axis=1)
    active: NDArray[np.bool_] = counts[:, length:] > counts[:, :-length]
    return active


def normal_cdf(x: Floats) -> Floats:
    """Return the standard normal distribution function to 1e-7.

    Args:
        x: Any shape.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.17.
    """
    t = 1 / (1 + 0.2316419 * np.abs(x))
    series = (0.319381530, -0.356563782, 1.781477937, -1.821255978, 1.330274429)
    upper = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * np.polyval([*series[::-1], 0.0], t)
    cdf: Floats = np.where(x >= 0, 1 - upper, upper)
    return cdf
