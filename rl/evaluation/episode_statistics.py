"""What the scores of played episodes say: where they lie, their tail, how often they suffice.

Scores are `[run, episode]`: a run is one trained copy, and all runs play the same episodes. So more
runs are not more episodes, and where independent episodes are counted, runs are averaged first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import norm

from rl.algorithms.risk import tail_mean
from rl.evaluation.resampling import (
    USUAL,
    Counts,
    Interval,
    Locations,
    Numbers,
    Profile,
    Resampling,
    count_blocks,
    estimate_interval,
    locate,
    profile,
    require_scores,
)
from rl.evaluation.statistics import StatisticsError

AXES = "[run, episode]"
LEAST_EPISODES: Final = {0.05: 20, 0.01: 100}
"""For each share of worst episodes: fewer do not hold one such episode."""


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A figure, or why there is none."""

    value: float | None
    reason: str = ""
    """Empty where there is a value."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """How often something was so, with Wilson's interval."""

    value: float
    low: float
    high: float
    num_episodes: int


@dataclass(frozen=True, kw_only=True)
class GuardedShare:
    """How often something was so, or why that is not known."""

    share: Share | None
    reason: str = ""
    """Empty where there is a share."""


def locate_episodes(
    scores: ArrayLike, blocks: ArrayLike, resampling: Resampling = USUAL
) -> Locations:
    """Return mean, median and interquartile mean over all runs and episodes.

    Whole blocks of episodes, and whole runs, are drawn anew.

    Args:
        scores: `[run, episode]`.
        blocks: `[episode]`: label of the block of each.
        resampling: How intervals are made.

    Raises:
        StatisticsError: Shapes do not fit or a score is not finite.
    """
    matrix = _fitting(scores, blocks)
    return locate(matrix, _counts(matrix, blocks, resampling), resampling)


def estimate_mean(scores: ArrayLike, blocks: ArrayLike, resampling: Resampling = USUAL) -> Interval:
    """Return the mean alone, as for paired differences.

    Args:
        scores: `[run, episode]`.
        blocks: `[episode]`: label of the block of each.
        resampling: How intervals are made.

    Raises:
        StatisticsError: Shapes do not fit or a score is not finite.
    """
    matrix = _fitting(scores, blocks)
    counts = _counts(matrix, blocks, resampling)
    drawn = np.zeros(0)
    if counts is not None:
        weights = counts.reshape(len(counts), -1)
        drawn = weights @ matrix.ravel() / weights.sum(1)
    return estimate_interval(float(matrix.mean()), drawn, resampling)


def share_of_wins(
    scores: ArrayLike, others: ArrayLike, blocks: ArrayLike, resampling: Resampling = USUAL
) -> Interval:
    """Return the probability of improvement on common random numbers; a tie is half a win.

    Every run meets every run of the other on the same episode. Blocks and runs are drawn anew, the
    runs of the other are taken as they are.

    Args:
        scores: `[run, episode]`.
        others: `[run, episode]`: the same episodes.
        blocks: `[episode]`: label of the block of each.
        resampling: How intervals are made.

    Raises:
        StatisticsError: The episodes differ in number, or a score is not finite.
    """
    ours, theirs = _fitting(scores, blocks), _fitting(others, blocks)
    wins = (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)
    return estimate_mean(wins.mean(1), blocks, resampling)


def profile_episodes(
    scores: ArrayLike,
    blocks: ArrayLike,
    thresholds: ArrayLike,
    resampling: Resampling = USUAL,
) -> Profile:
    """Return the share of all runs and episodes above each threshold.

    Args:
        scores: `[run, episode]`.
        blocks: `[episode]`: label of the block of each.
        thresholds: In rising order.
        resampling: How bands are made.

    Raises:
        StatisticsError: Shapes do not fit, a score is not finite, or thresholds do not rise.
    """
    matrix = _fitting(scores, blocks)
    return profile(matrix, _counts(matrix, blocks, resampling), thresholds, resampling)


def mean_of_worst(scores: ArrayLike, tail_share: float) -> Guarded:
    """Return CVaR, the mean of the worst share of episodes; of several runs the mean of theirs.

    Args:
        scores: `[run, episode]`.
        tail_share: 0.05 for CVaR 95, 0.01 for CVaR 99.

    Raises:
        StatisticsError: The shape is wrong or a score is not finite.
    """
    matrix, least = require_scores(scores, AXES), LEAST_EPISODES[tail_share]
    episodes = matrix.shape[1]
    if episodes < least:
        return Guarded(
            value=None,
            reason=f"{episodes} episodes hold no worst {tail_share:.0%}; play {least} or more",
        )
    tails = [float(tail_mean(torch.from_numpy(run), tail_share)) for run in matrix]
    return Guarded(value=float(np.mean(tails)))


def share_of(is_so: ArrayLike, level: float = 0.95) -> Share:
    """Return how often something was so, with Wilson's score interval.

    The number of trials is that of the episodes, however many runs played them.

    Args:
        is_so: `[run, episode]` of truth values.
        level: Probability of the interval.

    Raises:
        StatisticsError: The shape is wrong.
    """
    matrix = require_scores(is_so, AXES)
    count, share = matrix.shape[1], float(matrix.mean())
    z = float(norm.ppf((1 + level) / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return Share(
        value=share,
        low=max(0.0, float(centre - half)),
        high=min(1.0, float(centre + half)),
        num_episodes=count,
    )


def jain_index(amounts: ArrayLike) -> Numbers:
    """Return (sum x)^2 / (n sum x^2): 1 if all n have the same, 1/n if one has all.

    Args:
        amounts: `[..., party]`, not negative; all zero counts as fair.

    Raises:
        StatisticsError: There are no parties, or an amount is negative or not finite.
    """
    x = np.asarray(amounts, np.float64)
    if x.ndim < 1 or not x.shape[-1]:
        raise StatisticsError(f"amounts have shape {x.shape}; give [..., party], at least one")
    if not np.isfinite(x).all() or (x < 0).any():
        raise StatisticsError("Jain's index needs finite amounts >= 0; it means nothing for losses")
    x = x / np.maximum(x.max(-1, keepdims=True), np.finfo(np.float64).tiny)
    squares = (x**2).sum(-1)
    fair: Numbers = np.where(
        squares > 0, x.sum(-1) ** 2 / np.where(squares > 0, x.shape[-1] * squares, 1.0), 1.0
    )
    return fair


def _fitting(scores: ArrayLike, blocks: ArrayLike) -> Numbers:
    matrix = require_scores(scores, AXES)
    if np.shape(blocks) != matrix.shape[1:]:
        raise StatisticsError(f"{matrix.shape[1]} episodes, blocks of shape {np.shape(blocks)}")
    return matrix


def _counts(matrix: Numbers, blocks: ArrayLike, resampling: Resampling) -> Counts | None:
    if len(matrix) == 1 and len(np.unique(np.asarray(blocks))) == 1:
        return None
    return count_blocks(len(matrix), blocks, resampling)
