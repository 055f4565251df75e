"""Pictures of an evaluation as PNG files: profiles, intervals, Pareto fronts; without a display."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rl.evaluation.objectives import SweepPoint, WeightSweep
from rl.evaluation.resampling import Interval, Locations, Profile
from utils.errors import ConfigError

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
GREY, INK = "#999999", "#222222"
DOTS_PER_INCH = 150
LINES = ("-", "--", ":", "-.")
"""A second mark where entrants outnumber colours."""


def plot_profiles(profiles: Mapping[str, Profile], path: Path, *, score: str = "KPI") -> Figure:
    """Draw the share of scores above each threshold, with its band.

    Args:
        profiles: By entrant, at least one.
        path: PNG file to write.
        score: What is scored, for the axis.

    Returns:
        The picture that was written.

    Raises:
        ConfigError: There is nobody to draw.
    """
    figure = _new_figure(profiles, height=4.5)
    axes = figure.subplots()
    for number, (name, profile) in enumerate(profiles.items()):
        color = COLORS[number % len(COLORS)]
        style = LINES[number // len(COLORS) % len(LINES)]
        shares = [share.value for share in profile.shares]
        low, high = _ends(profile.shares)
        axes.plot(profile.thresholds, shares, color=color, linestyle=style, label=name)
        axes.fill_between(profile.thresholds, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(f"{score} above which")
    axes.set_ylabel("share of runs and episodes")
    axes.set_title("Performance profiles: higher is better", loc="left", fontweight="bold")
    axes.grid(alpha=0.3)
    axes.legend()
    return _save(figure, path)


def plot_intervals(located: Mapping[str, Locations], path: Path, *, score: str = "KPI") -> Figure:
    """Draw mean, median and interquartile mean with their intervals, side by side.

    Args:
        located: By entrant, at least one; drawn from below.
        path: PNG file to write.
        score: What is scored, for the axis.

    Returns:
        The picture that was written.

    Raises:
        ConfigError: There is nobody to draw.
    """
    figure = _new_figure(located, height=1.4 + 0.4 * len(located))
    panels = figure.subplots(1, 3, sharey=True)
    places = np.arange(len(located))
    for axes, which in zip(panels, ("mean", "median", "iqm"), strict=True):
        found: list[Interval] = [getattr(one, which) for one in located.values()]
        values = np.asarray([interval.value for interval in found])
        low, high = _ends(found)
        axes.use_sticky_edges = False
        axes.barh(places, high - low, left=low, height=0.5, color=COLORS[0], alpha=0.4)
        axes.plot(values, places, "|", color=INK, markersize=14, markeredgewidth=2)
        axes.set_title("IQM" if which == "iqm" else which, loc="left", fontweight="bold")
        axes.set_xlabel(score)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(places, list(located))
    panels[0].set_ylim(-0.6, len(located) - 0.4)
    return _save(figure, path)


def plot_pareto(sweep: WeightSweep, path: Path) -> Figure:
    """Draw what every weighing reached in two objectives, and the front.

    Args:
        sweep: Of two objectives.
        path: PNG file to write.

    Returns:
        The picture that was written.

    Raises:
        ConfigError: There are more objectives than a plane has axes.
    """
    if len(sweep.objectives) != 2:
        raise ConfigError(f"{len(sweep.objectives)} objectives; a Pareto plot shows two")
    figure = _new_figure(sweep.points, height=5)
    axes = figure.subplots()
    _draw_points(figure, sweep.front, color=COLORS[5], label="Pareto front", line="-")
    dominated = tuple(point for point in sweep.points if point.is_dominated)
    if dominated:
        _draw_points(figure, dominated, color=GREY, label="dominated", line="")
    for point in sweep.points:
        place = (point.values[0].value, point.values[1].value)
        axes.annotate(point.name, place, xytext=(5, 5), textcoords="offset points", fontsize=8)
    for axis, objective in ((axes.xaxis, sweep.objectives[0]), (axes.yaxis, sweep.objectives[1])):
        wish = "less" if objective.is_cost else "more"
        axis.set_label_text(f"{objective.name} ({wish} is better)")
    axes.set_title("What the weights reach", loc="left", fontweight="bold")
    axes.grid(alpha=0.3)
    axes.legend()
    return _save(figure, path)


def _draw_points(
    figure: Figure, points: tuple[SweepPoint, ...], *, color: str, label: str, line: str
) -> None:
    (axes,) = figure.axes
    columns = [[point.values[axis] for point in points] for axis in (0, 1)]
    x, y = (np.asarray([interval.value for interval in column]) for column in columns)
    errors = [
        np.abs(np.stack(_ends(column)) - values)
        for column, values in zip(columns, (x, y), strict=True)
    ]
    axes.errorbar(
        x, y, xerr=errors[0], yerr=errors[1], fmt=f"o{line}", color=color, capsize=3, label=label
    )


def _ends(intervals: list[Interval] | tuple[Interval, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return both ends; where an interval has none, both are the figure itself."""
    low = [one.value if one.low is None else one.low for one in intervals]
    high = [one.value if one.high is None else one.high for one in intervals]
    return np.asarray(low), np.asarray(high)


def _new_figure(drawn: Mapping[str, object] | tuple[object, ...], height: float) -> Figure:
    if not drawn:
        raise ConfigError("there is nothing to draw; give at least one")
    return Figure(figsize=(9, height), layout="constrained")


def _save(figure: Figure, path: Path) -> Figure:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    return figure
