"""The pictures of a report, as PNG files; drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, StrMethodFormatter

from rl.evaluation.comparison import BOUND, EvaluationTable, ScoreRow
from rl.evaluation.statistics import Estimate

KIND_COLORS = {"random": "#999999", "expert": "#56B4E9", "agent": "#D55E00", "bound": "#009E73"}
"""From Okabe and Ito's palette, which colour-blind readers can tell apart."""
INK = "#222222"
DOTS_PER_INCH = 150
TITLE_WIDTH = 100
"""Characters of a line."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One evaluation during training."""

    env_steps: int
    kpi: float


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """The evaluations of one training run, and who else played the same episodes."""

    data: str
    """Which episodes are played, for people."""
    points: tuple[CurvePoint, ...]
    kpi: str
    """What is maximised, with its unit."""
    kpi_format: str
    expert: float | None
    """KPI of the best expert on these episodes, if there are experts."""
    bound: float | None
    """Mean bound of these episodes, if it is known."""


def plot_scores(table: EvaluationTable, path: Path) -> None:
    """Draw the KPI of everybody, and the paired differences to the best expert.

    Args:
        table: What was found.
        path: PNG file to write.
    """
    height = 1.7 + 0.42 * len(table.rows)
    figure = new_figure(11, height)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_bars(left, table)
    _draw_differences(right, table)
    figure.suptitle(
        fill(f"{_sentence_case(table.data)}: {count_blocks(table)}", TITLE_WIDTH),
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    save_figure(figure, path)


def plot_learning(curve: LearningCurve, path: Path) -> None:
    """Draw KPI against environment steps, with best expert and bound of the same episodes.

    Args:
        curve: At least one point.
        path: PNG file to write.
    """
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    axes.plot(
        [point.env_steps / 1e6 for point in curve.points],
        [point.kpi for point in curve.points],
        color=KIND_COLORS["agent"],
        marker="o",
        markersize=4,
        label=f"agent: {curve.points[-1].kpi:{curve.kpi_format}}",
    )
    for label, value, kind in (
        ("bound", curve.bound, "bound"),
        ("best tuned expert", curve.expert, "expert"),
    ):
        if value is not None:
            shown = f"{label}: {value:{curve.kpi_format}}"
            axes.axhline(value, color=KIND_COLORS[kind], linewidth=2, label=shown)
    axes.set_xlabel("environment steps (millions)")
    axes.set_ylabel(curve.kpi)
    axes.set_title(f"Learning, scored on {curve.data}", loc="left", fontweight="bold")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_figure(figure, path)


def _draw_bars(axes: Axes, table: EvaluationTable) -> None:
    """Show everybody's KPI; random play that is far off would flatten the others, so it is cut."""
    positions = np.arange(len(table.rows))
    inside = [row for row in table.rows if row.kind != "random"] or list(table.rows)
    left = min(0.0, *(row.kpi.low for row in inside))
    right = max(0.0, *(row.kpi.high for row in table.rows))
    colors = [KIND_COLORS[row.kind] for row in table.rows]
    means = [row.kpi.mean for row in table.rows]
    axes.barh(positions, np.maximum(means, left), color=colors, height=0.65)
    shown = [position for position in positions if means[position] >= left]
    estimates = [table.rows[position].kpi for position in shown]
    _draw_intervals(axes, np.asarray(shown), estimates)
    room = 0.02 * (right - left)
    for position, row in enumerate(table.rows):
        label = f"{row.kpi.mean:{table.kpi_format}}"
        place = max(row.kpi.high, 0.0) + room
        axes.text(place, position, label if row.kpi.mean >= left else f"← {label}", va="center")
    axes.set_yticks(positions, [_label(row) for row in table.rows])
    axes.set_xlim(left * 1.04, right + 0.16 * (right - left))
    axes.set_ylim(-0.6, len(table.rows) - 0.4)
    axes.set_xlabel(f"{table.kpi}\n({table.level:.0%} interval over {table.block_name}s)")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    remove_frame(axes)


def _draw_differences(axes: Axes, table: EvaluationTable) -> None:
    """Show the contenders within reach of the baseline; the others would flatten them."""
    reach = _reach(table)
    axes.axvline(0, color=INK, linewidth=1)
    beyond = []
    for position, row in enumerate(table.rows):
        if row.difference is None:
            axes.plot(0, position, "o", color=KIND_COLORS[row.kind], markersize=8)
            name = "best expert" if row.kind == "expert" else row.name
            axes.annotate(
                name, (0, position), xytext=(8, 0), textcoords="offset points", va="center"
            )
        elif row.difference.mean < -reach:
            beyond.append((position, row.difference))
        else:
            color = KIND_COLORS[row.kind]
            axes.plot(row.difference.mean, position, "o", color=color, markersize=8)
            _draw_intervals(axes, np.asarray([position]), [row.difference])
    left, right = axes.get_xlim()
    margin = 0.12 * (right - left)
    axes.set_xlim(left - margin, right + margin)
    for position, difference in beyond:
        label = f"← {difference.mean:{table.kpi_format}}"
        axes.text(left - 0.9 * margin, position, label, va="center")
    axes.set_yticks(np.arange(len(table.rows)), [])
    axes.set_ylim(-0.6, len(table.rows) - 0.4)
    baseline = "the best expert" if table.has_expert else table.baseline
    axes.set_xlabel(f"difference to {baseline}, same episodes\n(paired, {table.level:.0%})")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+,g}" if x else "0"))
    axes.grid(axis="x", alpha=0.3)
    remove_frame(axes)


def _reach(table: EvaluationTable) -> float:
    """Return how far below the baseline a difference is still drawn: twice the best one above."""
    best = [row.difference.high for row in table.rows if row.difference is not None]
    return 2.0 * max([0.0, *best])


def _draw_intervals(axes: Axes, positions: np.ndarray, estimates: Sequence[Estimate]) -> None:
    means = np.asarray([estimate.mean for estimate in estimates])
    below = means - [estimate.low for estimate in estimates]
    above = np.asarray([estimate.high for estimate in estimates]) - means
    axes.errorbar(
        means,
        positions,
        xerr=np.maximum(np.stack([below, above]), 0.0),
        fmt="none",
        ecolor=INK,
        capsize=3,
        linewidth=1.2,
    )


def _label(row: ScoreRow) -> str:
    if row.kind == BOUND:
        return "bound (nobody can do better)"
    if row.kind == "agent":
        return f"{readable(row.name)} (agent, seeds: {row.kpi.num_seeds})"
    return f"{readable(row.name)} (expert)" if row.kind == "expert" else readable(row.name)


def readable(name: str) -> str:
    """Return a name with spaces.

    Args:
        name: With underscores.
    """
    return name.replace("_", " ")


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def remove_frame(axes: Axes) -> None:
    """Leave only the lower axis.

    Args:
        axes: To be drawn plainly.
    """
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure whose parts keep clear of each other.

    Args:
        width: In inches.
        height: In inches.
    """
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG file.

    Args:
        figure: Drawn.
        path: Of the file.
    """
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")


def count_blocks(table: EvaluationTable) -> str:
    """Say how much was played.

    Args:
        table: What was found.
    """
    if table.num_blocks == table.num_episodes:
        return f"{table.num_episodes} episodes"
    return f"{table.num_episodes} episodes from {table.num_blocks} {table.block_name}s"
