"""Bootstrap resamples as counts: how often each score was drawn, and what the middle then is.

A score drawn twice counts twice. Means, medians and interquartile means of all resamples come from
one sorted array, without a loop over resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl.evaluation.statistics import StatisticsError
from utils.errors import ConfigError
from utils.seeding import make_generator

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]
MOST_COUNTS_AT_ONCE = 4_000_000
"""Of one block of resamples, so that many episodes do not fill the memory."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals are made."""

    level: float = 0.95
    """Probability of an interval."""
    num_resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no interval."""
        if not 0 < self.level < 1:
            raise ConfigError(f"level is {self.level}; give a probability between 0 and 1")
        if self.num_resamples < 100:
            raise ConfigError(
                f"num_resamples is {self.num_resamples}; give at least 100, or the ends of an "
                "interval are chance"
            )


USUAL: Final = Resampling()


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure and its percentile bootstrap interval."""

    value: float
    low: float | None
    """None, as is `high`, if there was only one thing to resample."""
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Locations:
    """Where scores lie."""

    mean: Interval
    median: Interval
    iqm: Interval
    """Mean of the middle half: sturdier than the mean, less wasteful than the median."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Share of scores above each threshold: 1 minus their distribution function."""

    thresholds: tuple[float, ...]
    shares: tuple[Interval, ...]


def require_scores(scores: ArrayLike, axes: str) -> Numbers:
    """Return scores as a matrix, or refuse them.

    Args:
        scores: Two axes, not empty, all finite.
        axes: Their names, for the message.

    Raises:
        StatisticsError: They are not.
    """
    matrix = np.asarray(scores, np.float64)
    if matrix.ndim != 2 or not matrix.size:
        raise StatisticsError(f"scores have shape {matrix.shape}; give {axes}, neither empty")
    if not np.isfinite(matrix).all():
        raise StatisticsError("a score is not finite; a run that failed has no score, leave it out")
    return matrix


def count_runs(num_runs: int, num_tasks: int, resampling: Resampling) -> Counts:
    """Draw runs anew within each task (Agarwal et al. 2021).

    Args:
        num_runs: Of every task.
        num_tasks: The strata; always all of them are there.
        resampling: How many resamples, and their seed.

    Returns:
        `[resample, run, task]`.
    """
    generator = make_generator(resampling.seed, "bootstrap/runs within tasks")
    shape = (resampling.num_resamples, num_tasks)
    drawn = generator.multinomial(num_runs, np.full(num_runs, 1 / num_runs), shape)
    return drawn.transpose(0, 2, 1)


def count_blocks(num_runs: int, blocks: ArrayLike, resampling: Resampling) -> Counts:
    """Draw whole blocks of episodes and whole runs anew; episodes of a block are alike.

    Args:
        num_runs: Each of which played all episodes.
        blocks: `[episode]`: label of the block of each.
        resampling: How many resamples, and their seed.

    Returns:
        `[resample, run, episode]`.
    """
    labels = np.unique(np.asarray(blocks), return_inverse=True)[1]
    generator = make_generator(resampling.seed, "bootstrap/runs and blocks")
    size, num_blocks = resampling.num_resamples, int(labels.max()) + 1
    runs = generator.multinomial(num_runs, np.full(num_runs, 1 / num_runs), size)
    drawn = generator.multinomial(num_blocks, np.full(num_blocks, 1 / num_blocks), size)
    return np.asarray(runs[:, :, None] * drawn[:, None, labels])


def estimate_interval(value: float, resampled: Numbers, resampling: Resampling) -> Interval:
    """Return the percentile interval of a figure.

    Args:
        value: From the scores as they are.
        resampled: `[resample]`: from each resample; empty if there was nothing to resample.
        resampling: Whose level is used.
    """
    if not len(resampled):
        return Interval(value=value, low=None, high=None)
    tail = (1 - resampling.level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value=value, low=float(low), high=float(high))


def locate(scores: Numbers, counts: Counts | None, resampling: Resampling) -> Locations:
    """Return mean, median and interquartile mean of all scores.

    Args:
        scores: Any shape.
        counts: `[resample, ...]`, else of the same shape; None if there was nothing to resample.
        resampling: Whose level is used.
    """
    as_they_are = middle_means(scores.ravel(), np.ones((1, scores.size), np.int64))
    drawn = _resampled_means(scores.ravel(), counts)
    found = [
        estimate_interval(float(value[0]), resampled, resampling)
        for value, resampled in zip(as_they_are, drawn, strict=True)
    ]
    return Locations(mean=found[0], median=found[1], iqm=found[2])


def profile(
    scores: Numbers, counts: Counts | None, thresholds: ArrayLike, resampling: Resampling
) -> Profile:
    """Return the share of scores above each threshold, with a band.

    The band holds each point by itself, not the whole curve at once.

    Args:
        scores: Any shape.
        counts: `[resample, ...]`, else of the same shape; None if there was nothing to resample.
        thresholds: In rising order.
        resampling: Whose level is used.

    Raises:
        StatisticsError: Thresholds do not rise or are not finite.
    """
    taus = np.asarray(thresholds, np.float64)
    if taus.ndim != 1 or not len(taus) or not np.isfinite(taus).all() or (np.diff(taus) <= 0).any():
        raise StatisticsError("thresholds must be finite and rise; give them in order, each once")
    above = (scores.ravel()[:, None] > taus).astype(np.float64)
    drawn = np.zeros((0, len(taus)))
    if counts is not None:
        weights = counts.reshape(len(counts), -1)
        drawn = weights @ above / weights.sum(1, keepdims=True)
    shares = tuple(
        estimate_interval(float(share), drawn[:, column], resampling)
        for column, share in enumerate(above.mean(0))
    )
    return Profile(thresholds=tuple(float(tau) for tau in taus), shares=shares)


def middle_means(scores: Numbers, counts: Counts) -> tuple[Numbers, Numbers, Numbers]:
    """Return mean, median and interquartile mean of scores that count several times.

    All three are means of what is left when a share is cut off at each end: nothing, all but the
    middle one or two, a quarter rounded down.

    Args:
        scores: `[score]`.
        counts: `[resample, score]`: how often each counts.

    Returns:
        `[resample]` each.
    """
    order = np.argsort(scores, kind="stable")
    ordered, often = scores[order], counts[:, order]
    upto = often.cumsum(1)
    before, total = upto - often, upto[:, -1:]

    def mean_without(cut: Counts) -> Numbers:
        kept = np.clip(np.minimum(upto, total - cut) - np.maximum(before, cut), 0, None)
        means: Numbers = kept @ ordered / kept.sum(1)
        return means

    return mean_without(0 * total), mean_without((total - 1) // 2), mean_without(total // 4)


def _resampled_means(scores: Numbers, counts: Counts | None) -> tuple[Numbers, ...]:
    if counts is None:
        return (np.zeros(0),) * 3
    weights = counts.reshape(len(counts), -1)
    parts = max(1, weights.size // MOST_COUNTS_AT_ONCE)
    found = [middle_means(scores, part) for part in np.array_split(weights, parts)]
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))
