"""Many runs on many tasks, judged as Agarwal et al. (2021, arXiv:2108.13264) propose.

Scores are `[run, task]`, already on one scale. Resamples draw runs anew within every task, so the
intervals say what other seeds would have given on the same tasks. Checked against rliable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rl.evaluation.resampling import (
    USUAL,
    Counts,
    Interval,
    Locations,
    Numbers,
    Profile,
    Resampling,
    count_runs,
    estimate_interval,
    locate,
    profile,
    require_scores,
)
from rl.evaluation.statistics import StatisticsError

AXES = "[run, task]"


def aggregate_runs(scores: ArrayLike, resampling: Resampling = USUAL) -> Locations:
    """Return mean, median and interquartile mean with stratified intervals.

    The median is that of the tasks' means; the interquartile mean is over all runs of all tasks.

    Args:
        scores: `[run, task]`.
        resampling: How intervals are made.

    Raises:
        StatisticsError: The shape is wrong or a score is not finite.
    """
    matrix = require_scores(scores, AXES)
    counts = _counts(matrix, resampling)
    pooled = locate(matrix, counts, resampling)
    drawn = np.zeros(0)
    if counts is not None:
        drawn = np.median((counts * matrix).sum(1) / len(matrix), axis=-1)
    median = estimate_interval(float(np.median(matrix.mean(0))), drawn, resampling)
    return Locations(mean=pooled.mean, median=median, iqm=pooled.iqm)


def probability_of_improvement(
    scores: ArrayLike, others: ArrayLike, resampling: Resampling = USUAL
) -> Interval:
    """Return how likely a run beats a run of another on the same task; a tie is half a win.

    Mann-Whitney's U over the number of pairs, averaged over tasks. Runs of the two are drawn anew
    independently of one another.

    Args:
        scores: `[run, task]`.
        others: `[run, task]`: the same tasks, perhaps another number of runs.
        resampling: How intervals are made.

    Raises:
        StatisticsError: The tasks differ in number, or a score is not finite.
    """
    ours, theirs = require_scores(scores, AXES), require_scores(others, AXES)
    if ours.shape[1] != theirs.shape[1]:
        raise StatisticsError(f"{ours.shape[1]} tasks against {theirs.shape[1]}; give the same")
    wins = (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)
    drawn = np.zeros(0)
    if len(ours) > 1 or len(theirs) > 1:
        size = resampling.num_resamples
        both = count_runs(len(ours), ours.shape[1], resampling)
        # Another stream for the others, or equal numbers of runs would be drawn alike.
        apart = Resampling(
            level=resampling.level, num_resamples=size, seed=resampling.seed + 1_000_003
        )
        against = count_runs(len(theirs), theirs.shape[1], apart)
        drawn = np.einsum("rit,ijt,rjt->r", both, wins, against, optimize=True) / wins.size
    return estimate_interval(float(wins.mean()), np.asarray(drawn, np.float64), resampling)


def profile_runs(
    scores: ArrayLike, thresholds: ArrayLike, resampling: Resampling = USUAL
) -> Profile:
    """Return the run-score distribution: the share of all runs above each threshold.

    Args:
        scores: `[run, task]`.
        thresholds: In rising order.
        resampling: How bands are made.

    Raises:
        StatisticsError: The shape is wrong, a score is not finite, or thresholds do not rise.
    """
    matrix = require_scores(scores, AXES)
    return profile(matrix, _counts(matrix, resampling), thresholds, resampling)


def _counts(matrix: Numbers, resampling: Resampling) -> Counts | None:
    num_runs, num_tasks = matrix.shape
    return count_runs(num_runs, num_tasks, resampling) if num_runs > 1 else None
