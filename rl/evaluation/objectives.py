"""Several objectives: what a sweep over their weights reaches, and which of it is worth having."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl.evaluation.contest import Contest, Numbers, ScenarioSet, Scores
from rl.evaluation.entrants import Entrant, play_runs
from rl.evaluation.episode_statistics import estimate_mean
from rl.evaluation.resampling import USUAL, Interval, Resampling
from rl.evaluation.statistics import StatisticsError
from utils.errors import ConfigError

KPI = "kpi"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One thing that is wanted."""

    name: str
    """`kpi`, or a figure of the contest."""
    worst: float
    """Value from which the hypervolume is measured; what is worse adds nothing."""
    is_cost: bool = False
    """Less of it is better."""

    def __post_init__(self) -> None:
        """Refuse an end that is none.

        Raises:
            ConfigError: `worst` is not finite.
        """
        if not math.isfinite(self.worst):
            raise ConfigError(f"worst of {self.name} is {self.worst}; give a finite value")


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """Who was trained, or tuned, for one weighing of the objectives."""

    weights: tuple[float, ...]
    """Of the objectives in their order; not negative, they sum to 1."""
    entrant: Entrant


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """What one weighing reached."""

    name: str
    weights: tuple[float, ...]
    values: tuple[Interval, ...]
    """Mean of each objective, in its own unit."""
    is_dominated: bool
    """Another point is as good in everything and better in something."""


@dataclass(frozen=True, kw_only=True)
class WeightSweep:
    """All weighings, and the front of those that are not dominated."""

    objectives: tuple[Objective, ...]
    points: tuple[SweepPoint, ...]
    hypervolume: float | None
    """Area that the front dominates, from the worst values; None unless there are two."""

    @property
    def front(self) -> tuple[SweepPoint, ...]:
        """The points that are not dominated, by their first objective."""
        kept = [point for point in self.points if not point.is_dominated]
        return tuple(sorted(kept, key=lambda point: point.values[0].value))


def weigh_two(num_points: int) -> tuple[tuple[float, float], ...]:
    """Return evenly spread weights of two objectives, from all on the second to all on the first.

    Args:
        num_points: At least 2.

    Raises:
        ConfigError: There are fewer.
    """
    if num_points < 2:
        raise ConfigError(f"num_points is {num_points}; a sweep has two ends, give at least 2")
    return tuple((float(w), float(1 - w)) for w in np.linspace(0.0, 1.0, num_points))


def sweep_objectives(
    contest: Contest,
    episodes: ScenarioSet,
    objectives: Sequence[Objective],
    weighted: Sequence[Weighted],
    *,
    resampling: Resampling = USUAL,
) -> WeightSweep:
    """Let every weighing play the same episodes.

    Args:
        contest: The world.
        episodes: What is played.
        objectives: At least two.
        weighted: At least one, names different.
        resampling: How intervals are made.

    Raises:
        ConfigError: There are too few objectives, weights do not fit them, or one is unknown.
    """
    names = [one.entrant.name for one in weighted]
    if len(objectives) < 2 or not names or len(set(names)) != len(names):
        raise ConfigError(f"give two objectives or more, and differently named entrants: {names}")
    for one in weighted:
        _check_weights(one, len(objectives))
    values = []
    for one in weighted:
        runs = play_runs(contest, one.entrant, episodes)
        values.append(
            tuple(
                estimate_mean(_values(runs, objective.name), episodes.blocks, resampling)
                for objective in objectives
            )
        )
    sign = np.asarray([-1.0 if objective.is_cost else 1.0 for objective in objectives])
    reached = sign * np.asarray([[interval.value for interval in row] for row in values])
    worst = sign * np.asarray([objective.worst for objective in objectives])
    points = tuple(
        SweepPoint(
            name=one.entrant.name, weights=one.weights, values=row, is_dominated=bool(dominated)
        )
        for one, row, dominated in zip(weighted, values, find_dominated(reached), strict=True)
    )
    return WeightSweep(
        objectives=tuple(objectives),
        points=points,
        hypervolume=measure_hypervolume(reached, worst) if len(objectives) == 2 else None,
    )


def find_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """Say of each point whether another is as good in everything and better in something.

    Equal points do not dominate one another.

    Args:
        points: `[point, objective]`; more is better.

    Raises:
        StatisticsError: The shape is wrong or a value is not finite.
    """
    values = _checked(points)
    at_least = (values[:, None] >= values).all(-1)
    better = (values[:, None] > values).any(-1)
    return np.asarray((at_least & better).any(0))


def measure_hypervolume(points: ArrayLike, worst: ArrayLike) -> float:
    """Return the area that points of two objectives dominate, from the worst point on.

    Args:
        points: `[point, 2]`; more is better.
        worst: `[2]`; points that are worse in either add nothing.

    Raises:
        StatisticsError: There are not two objectives, or a value is not finite.
    """
    values, corner = _checked(points), np.asarray(worst, np.float64)
    if values.shape[1] != 2 or corner.shape != (2,) or not np.isfinite(corner).all():
        raise StatisticsError(f"points {values.shape}, worst {corner.shape}: give two objectives")
    beyond = values[(values > corner).all(-1)] - corner
    area, height = 0.0, 0.0
    for width, tall in beyond[np.lexsort((-beyond[:, 1], -beyond[:, 0]))]:
        area += width * max(0.0, tall - height)
        height = max(height, tall)
    return float(area)


def _check_weights(one: Weighted, num_objectives: int) -> None:
    fits = len(one.weights) == num_objectives and min(one.weights) >= 0
    if not fits or not math.isclose(sum(one.weights), 1.0, abs_tol=1e-6):
        raise ConfigError(
            f"weights of {one.entrant.name} are {one.weights}; give {num_objectives}, not "
            "negative, that sum to 1"
        )


def _values(runs: Sequence[Scores], name: str) -> Numbers:
    if name == KPI:
        return np.stack([run.kpi for run in runs])
    if name not in runs[0].figures:
        raise ConfigError(f"no objective {name!r}; there are {[KPI, *runs[0].figures]}")
    return np.stack([run.figures[name] for run in runs])


def _checked(points: ArrayLike) -> Numbers:
    values = np.asarray(points, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise StatisticsError(f"points {values.shape} must be finite, [point, objective]")
    return values
