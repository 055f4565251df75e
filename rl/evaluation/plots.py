"""The pictures of a report, as PNG files; drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, StrMethodFormatter

from data.scenario import WorkloadScenarios
from rl.domains.resource_allocation import AllocationConfig
from rl.evaluation.comparison import EvaluationTable, ScoreRow
from rl.evaluation.evaluator import PlayTrace
from rl.evaluation.statistics import Estimate

KIND_COLORS = {"random": "#999999", "expert": "#56B4E9", "agent": "#D55E00", "bound": "#009E73"}
SERVICE_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
SERVICE_HATCHES = ("", "//", "..", "xx")
"""A second mark where services outnumber colours."""
INK = "#222222"
DOTS_PER_INCH = 150
MINUTES_PER_STEP = 5
KPI_UNIT = "KPI: served value minus holding cost, per window"


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One evaluation during training."""

    env_steps: int
    kpi: float


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """The evaluations of one training run, and who else played the same windows."""

    windows: str
    """Which windows, for people."""
    points: tuple[CurvePoint, ...]
    expert: float
    """KPI of the best expert on these windows."""
    bound: float
    """Mean hindsight bound of these windows."""


@dataclass(frozen=True, kw_only=True)
class PlayedWindow:
    """One contender's way through the windows, of which one is drawn."""

    name: str
    trace: PlayTrace


def plot_scores(table: EvaluationTable, path: Path) -> None:
    """Draw the KPI of everybody, and the paired differences to the best expert.

    Args:
        table: What was found.
        path: PNG file to write.
    """
    height = 1.7 + 0.42 * len(table.rows)
    figure = _new_figure(11, height)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_bars(left, table)
    _draw_differences(right, table)
    figure.suptitle(
        f"{_sentence_case(table.data)}: {table.num_windows} windows from {table.num_days} days",
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    _save(figure, path)


def plot_learning(curve: LearningCurve, path: Path) -> None:
    """Draw KPI against environment steps, between best expert and bound of the same windows.

    Args:
        curve: At least one point.
        path: PNG file to write.
    """
    figure = _new_figure(8, 4.5)
    axes = figure.subplots()
    axes.plot(
        [point.env_steps / 1e6 for point in curve.points],
        [point.kpi for point in curve.points],
        color=KIND_COLORS["agent"],
        marker="o",
        markersize=4,
        label=f"agent: {curve.points[-1].kpi:,.0f}",
    )
    for label, value, kind in (
        ("hindsight bound", curve.bound, "bound"),
        ("best tuned expert", curve.expert, "expert"),
    ):
        axes.axhline(value, color=KIND_COLORS[kind], linewidth=2, label=f"{label}: {value:,.0f}")
    axes.set_xlabel("environment steps (millions)")
    axes.set_ylabel(KPI_UNIT.replace(", ", ",\n"))
    axes.set_title(f"Learning, scored on {curve.windows}", loc="left", fontweight="bold")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    _save(figure, path)


def plot_window(
    config: AllocationConfig,
    scenarios: WorkloadScenarios,
    episode: int,
    *,
    played: Sequence[PlayedWindow],
    path: Path,
) -> None:
    """Draw one window: what was asked for and what each contender held, against capacity.

    Args:
        config: The world.
        scenarios: The windows that were played.
        episode: Which window.
        played: Who is shown, one row each.
        path: PNG file to write.
    """
    rows, columns = len(played) + 1, len(config.resources)
    figure = _new_figure(5.6 * columns, 2.3 * rows + 1.0)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    usage = np.asarray([service.usage for service in config.services])
    layers = [("Asked for on arrival", scenarios.demand[episode][:, :, None] * usage)]
    for player in played:
        kpi = player.trace.reward[episode].sum()
        title = f"Held by {_readable(player.name)} (KPI {kpi:,.0f})"
        layers.append((title, player.trace.allocation[episode]))
    for row, (title, amounts) in zip(grid, layers, strict=True):
        for resource, axes in enumerate(row):
            _draw_stack(axes, config, amounts[..., resource])
            capacity = scenarios.capacity[episode, :, resource]
            edges = _hours(len(capacity))
            label = "capacity (drops are failures)"
            axes.stairs(capacity, edges, baseline=None, color=INK, linewidth=1.8, label=label)
            axes.set_title(f"{title}: {config.resources[resource]}", loc="left", fontsize=10)
            axes.set_ylabel(f"{config.resources[resource]} units")
    for axes in grid[1:].flat:
        axes.set_ylim(0, 1.15 * max(config.capacity))
    for axes in grid[-1]:
        axes.set_xlabel("hours into the window")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False
    )
    figure.suptitle(
        f"Window {episode}, begins at {_clock_time(scenarios.time_of_day[episode, 0])}",
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    _save(figure, path)


def busiest_window(config: AllocationConfig, scenarios: WorkloadScenarios) -> int:
    """Return the window in which demand exceeds capacity most.

    Args:
        config: The world.
        scenarios: The windows.
    """
    usage = np.asarray([service.usage for service in config.services])
    excess = np.maximum(scenarios.demand @ usage - scenarios.capacity, 0.0)
    return int(excess.sum((1, 2)).argmax())


def _draw_bars(axes: Axes, table: EvaluationTable) -> None:
    positions = np.arange(len(table.rows))
    means = [row.kpi.mean for row in table.rows]
    highest = max(row.kpi.high for row in table.rows)
    axes.barh(positions, means, color=[KIND_COLORS[row.kind] for row in table.rows], height=0.65)
    _draw_intervals(axes, positions, [row.kpi for row in table.rows])
    for position, row in enumerate(table.rows):
        axes.text(highest * 1.02, position, f"{row.kpi.mean:,.0f}", va="center", color=INK)
    axes.set_yticks(positions, [_label(row) for row in table.rows])
    axes.set_xlim(0, highest * 1.16)
    axes.set_ylim(-0.6, len(table.rows) - 0.4)
    axes.set_xlabel(f"{KPI_UNIT}\n({table.level:.0%} interval over days)")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _remove_frame(axes)


def _draw_differences(axes: Axes, table: EvaluationTable) -> None:
    """Show the contenders within reach of the best expert; the others would flatten them."""
    limit = table.row("bound").difference
    reach = 2.0 * max(limit.high, 0.0) if limit is not None else 0.0
    axes.axvline(0, color=INK, linewidth=1)
    beyond = []
    for position, row in enumerate(table.rows):
        if row.difference is None:
            axes.plot(0, position, "o", color=KIND_COLORS[row.kind], markersize=8)
            axes.annotate(
                "best expert", (0, position), xytext=(8, 0), textcoords="offset points", va="center"
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
        axes.text(left - 0.9 * margin, position, f"← {difference.mean:,.0f}", va="center")
    axes.set_yticks(np.arange(len(table.rows)), [])
    axes.set_ylim(-0.6, len(table.rows) - 0.4)
    axes.set_xlabel(f"difference to the best expert, same windows\n(paired, {table.level:.0%})")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+,.0f}" if round(x) else "0"))
    axes.grid(axis="x", alpha=0.3)
    _remove_frame(axes)


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


def _draw_stack(axes: Axes, config: AllocationConfig, amounts: np.ndarray) -> None:
    edges = _hours(len(amounts))
    bottom = np.zeros(len(amounts))
    for index, service in enumerate(config.services):
        top = bottom + amounts[:, index]
        axes.stairs(
            top,
            edges,
            baseline=bottom,
            fill=True,
            color=SERVICE_COLORS[index % len(SERVICE_COLORS)],
            hatch=SERVICE_HATCHES[index // len(SERVICE_COLORS) % len(SERVICE_HATCHES)],
            label=f"{_readable(service.name)} (value {service.priority:g})",
        )
        bottom = top
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)


def _hours(steps: int) -> np.ndarray:
    return np.arange(steps + 1) * MINUTES_PER_STEP / 60


def _label(row: ScoreRow) -> str:
    if row.kind == "bound":
        return "hindsight bound"
    if row.kind == "agent":
        return f"{_readable(row.name)} (agent, seeds: {row.kpi.num_seeds})"
    return f"{_readable(row.name)} (expert)" if row.kind == "expert" else _readable(row.name)


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _clock_time(time_of_day: float) -> str:
    minutes = round(time_of_day * 24 * 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def _remove_frame(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _new_figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
