"""Bursty arrivals: a Poisson process whose rate a Markov chain switches (MMPP).

Fischer and Meier-Hellstern (1993), "The Markov-modulated Poisson process cookbook". With two
states, one of them silent, it is the interrupted Poisson process, whose burstiness has closed
forms (Kuczura 1973).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data.demand_law import Floats
from data.fit_report import FitFigure, FitReport
from data.scenario import Array, ScenarioError
from utils.errors import ConfigError
from utils.seeding import make_generator

WINDOWS = (1, 10, 60)
"""Windows of the index of dispersion, in seconds."""
LONGEST_WINDOWS = 10
"""Windows of the greatest length that a trace must fill to be fitted."""


@dataclass(frozen=True, kw_only=True)
class ArrivalLaw:
    """Arrivals at a rate that jumps between states; the next state is any other, alike likely."""

    rates: tuple[float, ...] = (0.0, 15.0)
    """Arrivals per second in each state."""
    mean_seconds: tuple[float, ...] = (40.0, 8.0)
    """Mean stay in each state; stays are exponential."""

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn from."""
        if not self.rates or len(self.rates) != len(self.mean_seconds):
            raise ConfigError(f"give one rate and one mean stay per state: {self}")
        if not all(math.isfinite(rate) and rate >= 0 for rate in self.rates):
            raise ConfigError(f"rates={self.rates} must be finite and at least 0")
        if not all(math.isfinite(stay) and stay > 0 for stay in self.mean_seconds):
            raise ConfigError(f"mean_seconds={self.mean_seconds} must be finite and above 0")

    @property
    def mean_rate(self) -> float:
        """Arrivals per second in the long run."""
        weighted = sum(a * b for a, b in zip(self.rates, self.mean_seconds, strict=True))
        return weighted / sum(self.mean_seconds)

    def draw_counts(
        self,
        num_episodes: int,
        num_steps: int,
        step_seconds: float,
        generator: np.random.Generator,
    ) -> Array:
        """Draw arrivals per step, `[episode, time]`, from the steady state.

        Args:
            num_episodes: How many.
            num_steps: Length of each.
            step_seconds: Length of a step.
            generator: The only source of chance.

        Raises:
            ConfigError: A size is not positive.
        """
        if min(num_episodes, num_steps) < 1 or step_seconds <= 0:
            raise ConfigError("episodes, steps and step_seconds must be positive")
        horizon = num_steps * step_seconds
        ends, done = self._path(num_episodes, horizon, generator)
        # One interpolation for all episodes: each lies on its own stretch of the axis.
        offset = np.arange(num_episodes)[:, None] * 2.0 * ends.max()
        edges = np.arange(num_steps + 1) * step_seconds
        at = np.interp((offset + edges).ravel(), (offset + ends).ravel(), done.ravel())
        expected = np.diff(at.reshape(num_episodes, -1), axis=1)
        counts: Array = generator.poisson(np.maximum(expected, 0)).astype(np.float32)
        return counts

    def draw_times(self, seconds: float, generator: np.random.Generator) -> Floats:
        """Draw the moments of arrival within a stretch of time, in seconds, in order.

        Args:
            seconds: Length of the stretch, above 0.
            generator: The only source of chance.

        Raises:
            ConfigError: The stretch is empty.
        """
        if not (math.isfinite(seconds) and seconds > 0):
            raise ConfigError(f"seconds={seconds} must be finite and above 0")
        ends, done = self._path(1, seconds, generator)
        total = np.interp(seconds, ends[0], done[0])
        marks = np.sort(generator.random(generator.poisson(total))) * total
        times: Floats = np.interp(marks, done[0], ends[0])
        return times

    def _path(
        self, num_episodes: int, horizon: float, generator: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Return moments of change and the expected arrivals up to each, `[episode, change]`."""
        stays, rates = np.asarray(self.mean_seconds), np.asarray(self.rates)
        count = 16 + int(2 * horizon / stays.mean())
        state = generator.choice(len(stays), size=(num_episodes, 1), p=stays / stays.sum())
        ends = done = np.zeros((num_episodes, 1))
        while ends[:, -1].min() < horizon:
            steps = generator.integers(1, max(len(stays), 2), (num_episodes, count))
            walk = np.cumsum(np.concatenate([state, steps], axis=1), axis=1) % len(stays)
            here, state = walk[:, :-1], walk[:, -1:]
            stay = generator.exponential(stays[here])
            ends = np.concatenate([ends, ends[:, -1:] + np.cumsum(stay, axis=1)], axis=1)
            gained = np.cumsum(stay * rates[here], axis=1)
            done = np.concatenate([done, done[:, -1:] + gained], axis=1)
        return ends, done


def measure_arrivals(times: Floats) -> tuple[float, ...]:
    """Return rate, variation of the gaps, and the index of dispersion in each of `WINDOWS`.

    The variation is the standard deviation of the gaps over their mean, 1 for a Poisson process;
    the index of dispersion is the variance of the counts over their mean, 1 again.

    Args:
        times: Moments of arrival, in seconds, in order; at least three.
    """
    gaps = np.diff(times)
    indices = []
    for window in WINDOWS:
        whole = int((times[-1] - times[0]) // window)
        bins = ((times - times[0]) // window).astype(int)
        counts = np.bincount(bins, minlength=whole + 1)[:whole]
        indices.append(float(counts.var() / counts.mean()))
    return (float(1 / gaps.mean()), float(gaps.std() / gaps.mean()), *indices)


def fit_arrivals(times: Floats, *, seed: int = 0) -> tuple[ArrivalLaw, FitReport]:
    """Fit bursts and silence to the moments of arrival.

    The rate is met exactly. Of the two free parameters, share of time that bursts take (p) and
    rate of switching (s), the search over a grid minimises the squared logarithmic errors of
    the squared variation 1 + A and the indices 1 + A (1 - (1 - e^(-s w)) / (s w)), where
    A = 2 rate (1 - p) / (p s).

    Args:
        times: Moments of arrival, in seconds, in order.
        seed: Of the draws that the report compares with.

    Raises:
        ScenarioError: The times are not in order, not finite, too few, or not bursty.
    """
    check_times(times)
    rate, variation, *indices = measure_arrivals(times)
    if min(variation, *indices) <= 1:
        raise ScenarioError(
            f"variation {variation:.2f} and dispersion {indices} are those of a steady stream; "
            "use ArrivalLaw with one state"
        )
    share = np.geomspace(0.001, 0.999, 400)[:, None]
    switching = np.geomspace(1e-4, 10.0, 600)
    excess = 2 * rate * (1 - share) / (share * switching)
    loss = np.log((1 + excess) / variation**2) ** 2
    for window, index in zip(WINDOWS, indices, strict=True):
        x = switching * window
        loss = loss + np.log((1 + excess * (1 + np.expm1(-x) / x)) / index) ** 2
    row, column = np.unravel_index(np.argmin(loss), loss.shape)
    p, s = float(share[row, 0]), float(switching[column])
    law = ArrivalLaw(rates=(0.0, rate / p), mean_seconds=(1 / (s * p), 1 / (s * (1 - p))))
    return law, compare_arrivals(law, times, seed=seed)


def compare_arrivals(
    law: ArrivalLaw, times: Floats, *, seed: int = 0, replicas: int = 200
) -> FitReport:
    """Set a trace beside the mean over stretches of equal length drawn from a law.

    Args:
        law: Fitted to this or to another trace.
        times: Moments of arrival, in seconds, in order.
        seed: Of the draws.
        replicas: How many stretches are drawn.
    """
    check_times(times)
    generator = make_generator(seed, "arrival fit")
    drawn = (law.draw_times(float(times[-1] - times[0]), generator) for _ in range(replicas))
    made = np.mean([measure_arrivals(one) for one in drawn if len(one) > 2], axis=0)
    names = ("rate", "gap_variation", *(f"dispersion_{window}s" for window in WINDOWS))
    return FitReport(
        figures=tuple(
            FitFigure(name=name, real=real, made=float(value))
            for name, real, value in zip(names, measure_arrivals(times), made, strict=True)
        )
    )


def check_times(times: Floats) -> None:
    """Refuse moments that no law can be fitted to.

    Args:
        times: Moments of arrival, in seconds.

    Raises:
        ScenarioError: Saying why.
    """
    if times.ndim != 1 or len(times) < 100:
        raise ScenarioError(f"{times.shape} arrivals are too few; give 100 or more in one row")
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ScenarioError("arrivals must be finite and in time order; sort and clean them")
    if times[-1] - times[0] < LONGEST_WINDOWS * max(WINDOWS):
        raise ScenarioError(
            f"the trace lasts {times[-1] - times[0]:.0f} s; give {LONGEST_WINDOWS * max(WINDOWS)} s"
        )
