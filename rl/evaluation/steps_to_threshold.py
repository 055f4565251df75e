"""How many environment steps runs needed to reach a score, those that never did included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy.stats import CensoredData, ecdf

from rl.evaluation.episode_statistics import Guarded
from rl.evaluation.statistics import StatisticsError

ROUNDING = 1e-9
"""Of the product of shares that should be a half."""


@dataclass(frozen=True, kw_only=True)
class CurveOfRun:
    """The evaluations of one run during training."""

    env_steps: tuple[int, ...]
    """In rising order."""
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse curves that tell nothing.

        Raises:
            StatisticsError: Lengths differ, steps do not rise, or a score is not a number.
        """
        steps = self.env_steps
        if not steps or len(steps) != len(self.scores):
            raise StatisticsError(f"{len(steps)} step counts, {len(self.scores)} scores")
        if any(after <= before for before, after in pairwise(steps)):
            raise StatisticsError("env_steps must rise")
        if any(math.isnan(score) for score in self.scores):
            raise StatisticsError("a score is not a number; leave that evaluation out")


@dataclass(frozen=True, kw_only=True)
class StepsToThreshold:
    """When runs first scored a threshold."""

    threshold: float
    steps: tuple[int | None, ...]
    """Of each run; None for a censored one, which ended before."""
    num_reached: int
    num_censored: int
    median: Guarded
    """By Kaplan and Meier: the fewest steps after which half of all runs are there."""


def steps_to_threshold(curves: Sequence[CurveOfRun], threshold: float) -> StepsToThreshold:
    """Say when runs first reached a score; a run that never did counts as not yet there.

    Args:
        curves: One per run, at least one.
        threshold: Reached by an equal or higher score.

    Raises:
        StatisticsError: There are no runs.
    """
    if not curves:
        raise StatisticsError("there are no runs; give at least one")
    steps = tuple(_first_reach(curve, threshold) for curve in curves)
    ends = [curve.env_steps[-1] for curve, at in zip(curves, steps, strict=True) if at is None]
    reached = [at for at in steps if at is not None]
    return StepsToThreshold(
        threshold=threshold,
        steps=steps,
        num_reached=len(reached),
        num_censored=len(ends),
        median=_median(reached, ends),
    )


def _first_reach(curve: CurveOfRun, threshold: float) -> int | None:
    pairs = zip(curve.env_steps, curve.scores, strict=True)
    return next((steps for steps, score in pairs if score >= threshold), None)


def _median(reached: list[int], ends: list[int]) -> Guarded:
    waiting = ecdf(CensoredData(uncensored=reached, right=ends)).sf
    for steps, share in zip(waiting.quantiles, waiting.probabilities, strict=True):
        if share <= 0.5 + ROUNDING:
            return Guarded(value=float(steps))
    return Guarded(
        value=None,
        reason=f"only {len(reached)} of {len(reached) + len(ends)} runs reached it; train longer",
    )
