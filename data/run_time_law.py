"""Heavy-tailed sizes: run times of jobs, a mixture of lognormals with a truncated Pareto tail."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data.demand_law import Floats
from data.fit_report import FitFigure, FitReport
from data.scenario import Array, ScenarioError
from utils.errors import ConfigError
from utils.seeding import make_generator

TAIL_SHARE = 0.02
"""Share of the jobs that the fit gives to the tail."""
HILL_SHARE = 0.01
ROUNDS = 300


@dataclass(frozen=True, kw_only=True)
class RunTimeLaw:
    """Independent positive sizes; the body lies below `tail_start`, the tail above it."""

    weights: tuple[float, ...] = (0.5, 0.5)
    """Share of each kind of job in the body; sums to one."""
    log_means: tuple[float, ...] = (5.0, 8.0)
    """Mean of the logarithm of the seconds, per kind."""
    log_sds: tuple[float, ...] = (1.0, 1.0)
    tail_share: float = 0.02
    """Share of jobs in the tail, in [0, 1]."""
    tail_start: float = 2e5
    """Seconds."""
    tail_index: float = 1.4
    """Pareto exponent; smaller is heavier."""
    tail_end: float = 5e6
    """Seconds that no job exceeds."""

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn from."""
        sizes = {len(self.weights), len(self.log_means), len(self.log_sds)}
        numbers = (*self.weights, *self.log_means, *self.log_sds, self.tail_index, self.tail_end)
        if len(sizes) != 1 or not self.weights:
            raise ConfigError(f"give one weight, log mean and log sd per kind: {self}")
        if not all(math.isfinite(number) for number in numbers):
            raise ConfigError(f"numbers must be finite: {self}")
        if min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-6:
            raise ConfigError(f"weights={self.weights} must be at least 0 and sum to 1")
        if min(self.log_sds) <= 0 or self.tail_index <= 0:
            raise ConfigError(f"log_sds and tail_index must be above 0: {self}")
        if not 0 <= self.tail_share <= 1 or not 0 < self.tail_start < self.tail_end:
            raise ConfigError(f"needed: tail_share in [0, 1], 0 < tail_start < tail_end: {self}")
        if min(self.log_means) > math.log(self.tail_start):
            raise ConfigError("every log mean lies above log(tail_start); raise tail_start")

    def draw(self, count: int, generator: np.random.Generator) -> Array:
        """Draw sizes in seconds, `[count]`.

        Args:
            count: How many, at least 0.
            generator: The only source of chance.

        Raises:
            ConfigError: The count is negative.
        """
        if count < 0:
            raise ConfigError(f"count={count} must be at least 0")
        seconds = self._draw_body(count, generator)
        tail = generator.random(count) < self.tail_share
        floor = (self.tail_start / self.tail_end) ** self.tail_index
        uniform = 1 - generator.random(int(tail.sum())) * (1 - floor)
        seconds[tail] = self.tail_start * uniform ** (-1 / self.tail_index)
        return seconds.astype(np.float32)

    def _draw_body(self, count: int, generator: np.random.Generator) -> Floats:
        """Draw from the mixture, again where it passes the start of the tail."""
        seconds = np.full(count, np.inf)
        means, sds = np.asarray(self.log_means), np.asarray(self.log_sds)
        weights = np.asarray(self.weights) / sum(self.weights)
        while (missing := np.flatnonzero(seconds >= self.tail_start)).size:
            kind = generator.choice(len(weights), size=missing.size, p=weights)
            normal = generator.standard_normal(missing.size)
            seconds[missing] = np.exp(means[kind] + sds[kind] * normal)
        return seconds


def measure_run_times(seconds: Floats) -> dict[str, float]:
    """Return mean, quantiles and Hill's estimate of the tail exponent of the largest 1 %.

    Args:
        seconds: Run times.
    """
    points = (10, 25, 50, 75, 90, 99, 99.9)
    quantiles = np.percentile(seconds, points)
    return {
        "mean": float(seconds.mean()),
        **{f"p{point:g}": float(q) for point, q in zip(points, quantiles, strict=True)},
        "hill_1pct": estimate_hill(seconds, HILL_SHARE),
    }


def estimate_hill(seconds: Floats, share: float) -> float:
    """Return Hill's (1975) estimate of the Pareto exponent.

    Args:
        seconds: Sizes.
        share: Which part of them, the largest ones, is the tail.
    """
    ordered = np.sort(seconds)[::-1]
    count = max(int(share * len(ordered)), 2)
    return float(1 / np.log(ordered[:count] / ordered[count]).mean())


def fit_run_times(
    seconds: Floats, *, kinds: int = 3, seed: int = 0
) -> tuple[RunTimeLaw, FitReport]:
    """Fit the body by expectation maximisation, the tail by maximum likelihood.

    The tail is the largest 2 %, Pareto between the smallest and the largest of them (Aban,
    Meerschaert and Panorska 2006). Run times below a second count as one second.

    Args:
        seconds: Run times, `[job]`.
        kinds: Number of lognormals.
        seed: Of the draws that the report compares with.

    Raises:
        ScenarioError: There are fewer than 1,000, or they are not finite, negative or all alike.
    """
    if seconds.ndim != 1 or len(seconds) < 1000:
        raise ScenarioError(f"{seconds.shape} run times are too few; give 1000 in one row")
    if not np.isfinite(seconds).all() or (seconds < 0).any():
        raise ScenarioError("run times must be finite and at least 0; clean them")
    usable = np.maximum(seconds, 1.0)
    start = float(np.quantile(usable, 1 - TAIL_SHARE))
    tail, body = usable[usable > start], np.log(usable[usable <= start])
    if body.std() == 0 or len(tail) < 2 or tail.max() <= tail.min():
        raise ScenarioError("the run times hardly vary; no heavy-tailed law can be fitted")
    weights, means, sds = _maximise(body, kinds)
    law = RunTimeLaw(
        weights=tuple(weights.tolist()),
        log_means=tuple(means.tolist()),
        log_sds=tuple(sds.tolist()),
        tail_share=len(tail) / len(usable),
        tail_start=start,
        tail_index=_truncated_index(tail / start),
        tail_end=float(tail.max()),
    )
    return law, compare_run_times(law, seconds, seed=seed)


def compare_run_times(law: RunTimeLaw, seconds: Floats, *, seed: int = 0) -> FitReport:
    """Set real run times beside as many, or at least 100,000, drawn from a law.

    Args:
        law: Fitted to these or to others.
        seconds: Run times, `[job]`.
        seed: Of the draws.
    """
    count = max(len(seconds), 100_000)
    made = measure_run_times(law.draw(count, make_generator(seed, "run time fit")).astype(float))
    real = measure_run_times(seconds)
    return FitReport(
        figures=tuple(FitFigure(name=key, real=real[key], made=made[key]) for key in real)
    )


def _maximise(logs: Floats, kinds: int) -> tuple[Floats, Floats, Floats]:
    """Return weights, means and deviations of a mixture of normals, by plain EM."""
    means = np.quantile(logs, (np.arange(kinds) + 0.5) / kinds)
    sds, weights = np.full(kinds, logs.std()), np.full(kinds, 1 / kinds)
    for _ in range(ROUNDS):
        density = weights / sds * np.exp(-(((logs[:, None] - means) / sds) ** 2) / 2)
        share = density / np.maximum(density.sum(1, keepdims=True), 1e-300)
        total = np.maximum(share.sum(0), 1e-9)
        means = (share * logs[:, None]).sum(0) / total
        spread = (share * (logs[:, None] - means) ** 2).sum(0) / total
        weights, sds = total / total.sum(), np.sqrt(np.maximum(spread, 1e-4))
    return weights, means, sds


def _truncated_index(ratios: Floats) -> float:
    """Solve the likelihood equation of a Pareto exponent between 1 and the largest ratio."""
    top, mean_log = float(np.log(ratios.max())), float(np.log(ratios).mean())

    def surplus(index: float) -> float:
        return 1 / index - top / math.expm1(index * top) - mean_log

    low, high = 1e-3, 50.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    return (low + high) / 2
