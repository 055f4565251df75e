"""Means with honest intervals: windows of one day are alike, so whole days are resampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student_t

from utils.errors import QuartermasterError

Values = NDArray[np.float64]


class StatisticsError(QuartermasterError, ValueError):
    """Scores have the wrong shape or are not finite."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure, its interval and what it rests on."""

    mean: float
    low: float
    high: float
    num_windows: int
    num_blocks: int
    """Days, the units that are taken to be independent."""
    num_seeds: int


def block_bootstrap_interval(
    values: ArrayLike,
    blocks: ArrayLike,
    *,
    level: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Estimate a mean by resampling whole blocks and, where there are several, whole seeds.

    The percentile interval. With few blocks it is narrower than it says (5 blocks of a normal
    law: about 83 % at a level of 95 %); `clustered_t_interval` is the cautious companion.

    Args:
        values: `[window]` or `[seed, window]`; a paired comparison passes differences.
        blocks: `[window]`: label of the block of each window.
        level: Probability of the interval, in (0, 1).
        num_resamples: How many resamples.
        seed: The only source of chance.

    Raises:
        StatisticsError: Shapes do not fit or a value is not finite.
    """
    return block_bootstrap_ratio(
        values,
        np.ones_like(np.asarray(values, np.float64)),
        blocks,
        level=level,
        num_resamples=num_resamples,
        seed=seed,
    )


def block_bootstrap_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    blocks: ArrayLike,
    *,
    level: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Estimate a ratio of means by resampling whole blocks and seeds.

    Args:
        numerator: `[window]` or `[seed, window]`.
        denominator: The same shape; its mean must stay positive in every resample.
        blocks: `[window]`: label of the block of each window.
        level: Probability of the interval, in (0, 1).
        num_resamples: How many resamples.
        seed: The only source of chance.

    Raises:
        StatisticsError: Shapes do not fit, a value is not finite, or the denominator vanishes.
    """
    above, labels = _checked(numerator, blocks)
    below, _ = _checked(denominator, blocks)
    if above.shape != below.shape:
        raise StatisticsError(f"numerator {above.shape} and denominator {below.shape} differ")
    generator = np.random.default_rng(seed)
    num_seeds, num_blocks = len(above), int(labels.max()) + 1
    seed_weights = _resampling_weights(num_seeds, num_resamples, generator)
    block_weights = _resampling_weights(num_blocks, num_resamples, generator)
    above_sums, below_sums = _block_sums(above, labels), _block_sums(below, labels)
    below_means = _weighted_sums(below_sums, seed_weights, block_weights)
    if below.sum() <= 0 or below_means.min() <= 0:
        raise StatisticsError("the denominator of a ratio must be positive in every resample")
    ratios = _weighted_sums(above_sums, seed_weights, block_weights) / below_means
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(
        mean=float(above.sum() / below.sum()),
        low=float(low),
        high=float(high),
        num_windows=above.shape[1],
        num_blocks=num_blocks,
        num_seeds=num_seeds,
    )


def clustered_t_interval(values: ArrayLike, blocks: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Estimate a mean with Student's t over blocks, which stays honest when they are few.

    The variance of the mean over K blocks with residual sums e_k = sum (value - mean) is
    K / (K - 1) * sum e_k^2 / N^2, to which the variance of the mean over seeds is added; the
    degrees of freedom are the smaller of K - 1 and the number of seeds - 1.

    Args:
        values: `[window]` or `[seed, window]`.
        blocks: `[window]`: label of the block of each window; at least two.
        level: Probability of the interval, in (0, 1).

    Raises:
        StatisticsError: Shapes do not fit, a value is not finite, or there is only one block.
    """
    scores, labels = _checked(values, blocks)
    (num_seeds, num_windows), num_blocks = scores.shape, int(labels.max()) + 1
    if num_blocks < 2:
        raise StatisticsError("an interval over blocks needs at least two of them")
    mean = float(scores.mean())
    residual_sums = np.bincount(labels, weights=scores.mean(0) - mean)
    variance = num_blocks / (num_blocks - 1) * (residual_sums**2).sum() / num_windows**2
    freedom = num_blocks - 1
    if num_seeds > 1:
        variance += scores.mean(1).var(ddof=1) / num_seeds
        freedom = min(freedom, num_seeds - 1)
    half = float(student_t.ppf((1 + level) / 2, freedom) * np.sqrt(variance))
    return Estimate(
        mean=mean,
        low=mean - half,
        high=mean + half,
        num_windows=num_windows,
        num_blocks=num_blocks,
        num_seeds=num_seeds,
    )


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean of the middle half; a quarter is cut at each end, rounded down.

    Args:
        values: Any shape, not empty.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def _checked(values: ArrayLike, blocks: ArrayLike) -> tuple[Values, NDArray[np.intp]]:
    scores = np.atleast_2d(np.asarray(values, np.float64))
    labels = np.unique(np.asarray(blocks), return_inverse=True)[1]
    if scores.ndim != 2 or not scores.size or labels.shape != scores.shape[1:]:
        raise StatisticsError(f"values {scores.shape} do not fit blocks {labels.shape}")
    if not np.isfinite(scores).all():
        raise StatisticsError("a score is not finite")
    return scores, labels


def _resampling_weights(items: int, num_resamples: int, generator: np.random.Generator) -> Values:
    """Draw how often each item is taken, `[resample, item]`."""
    return generator.multinomial(items, np.full(items, 1 / items), num_resamples).astype(np.float64)


def _block_sums(scores: Values, labels: NDArray[np.intp]) -> Values:
    membership = labels[:, None] == np.arange(labels.max() + 1)
    sums: Values = scores @ membership
    return sums


def _weighted_sums(sums: Values, seed_weights: Values, block_weights: Values) -> Values:
    weighted: Values = np.einsum("rs,sb,rb->r", seed_weights, sums, block_weights, optimize=True)
    return weighted
