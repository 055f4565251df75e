"""Curves of several runs as one: their mean over steps with an interval over runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from rl.evaluation.run_report import Curve
from utils.errors import ConfigError

LEVEL = 0.95
INTERVAL = f"Bands: {LEVEL:.0%} intervals of the mean over runs (Student's t)."


def merge_curves(curves: Sequence[Curve], *, name: str) -> Curve:
    """Average curves at every step that any of them knows and all of them span.

    Between its own points a curve is taken as straight. Points that are not finite are left out.
    The interval is Student's t over runs; a single curve keeps its own interval.

    Args:
        curves: Of runs that differ in their seed only; at least one.
        name: Of the merged curve.

    Raises:
        ConfigError: There is no curve, or they have no step in common.
    """
    if not curves:
        raise ConfigError(f"no curve to merge into {name!r}: give at least one")
    if len(curves) == 1:
        (one,) = curves
        return Curve(name=name, env_steps=one.env_steps, mean=one.mean, low=one.low, high=one.high)
    known = [_known(curve) for curve in curves]
    first = max(steps[0] for steps, _ in known)
    last = min(steps[-1] for steps, _ in known)
    grid = np.unique(np.concatenate([steps for steps, _ in known]))
    grid = grid[(grid >= first) & (grid <= last)]
    if not len(grid):
        raise ConfigError(f"curves of {name!r} have no step in common: compare runs of like length")
    values = np.stack([np.interp(grid, steps, value) for steps, value in known])
    mean, reach = values.mean(0), _reach(values)
    return Curve(
        name=name,
        env_steps=tuple(grid.tolist()),
        mean=tuple(mean.tolist()),
        low=tuple((mean - reach).tolist()),
        high=tuple((mean + reach).tolist()),
        num_runs=len(curves),
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return a mean over runs and its interval; a single run has none.

    Args:
        values: One per run; at least one.
    """
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, None, None
    reach = float(_reach(np.asarray(values)))
    return mean, mean - reach, mean + reach


def _reach(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the width of Student's t interval of the mean over the first axis."""
    error = values.std(0, ddof=1) / np.sqrt(len(values))
    return np.asarray(error * student_t.ppf((1 + LEVEL) / 2, len(values) - 1))


def _known(curve: Curve) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    pairs = [
        (step, value)
        for step, value in zip(curve.env_steps, curve.mean, strict=True)
        if value is not None
    ]
    if not pairs:
        raise ConfigError(f"curve {curve.name!r} has no finite point: leave it out")
    return np.asarray([step for step, _ in pairs]), np.asarray([value for _, value in pairs])
