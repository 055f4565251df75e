"""Pictures of what the benchmarks of decisions found: rows of any of them, and a frontier."""

from __future__ import annotations

from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.quality_rows import QualityRow, Report
from rl.domains.execution import almgren_chriss
from rl.evaluation.execution_bounds import compute_execution_bound

LABEL_WIDTH = 36
OURS, EXPERT, PUBLISHED, BOUND = "#0072B2", "#E69F00", "#009E73", "#222222"
RISK_AVERSIONS = (0.0, *np.logspace(-8, -3, 80))
"""Of the curve: from equal slices to all at once."""
EXPERT_LABELS = {"twap": "equal slices", "immediate": "all at once"}


def _start(title: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.0, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_rows(title: str, rows: list[QualityRow]) -> Figure:
    """Draw ours, the best expert, the published figure and the bound of each row.

    Args:
        title: Of the benchmark.
        rows: What was found.
    """
    figure, axes = _start(title, 1.8 + 0.42 * len(rows))
    kinds = (
        ("bound", "bound", "|", BOUND),
        ("published", "published", "D", PUBLISHED),
        ("expert", "best expert", "s", EXPERT),
        ("ours", "ours", "o", OURS),
    )
    for field, label, marker, color in kinds:
        points = [(getattr(row, field), -at) for at, row in enumerate(rows)]
        known = [(x, y) for x, y in points if x is not None]
        if known:
            size = 170 if marker == "|" else 42
            across, down = zip(*known, strict=True)
            axes.scatter(across, down, s=size, marker=marker, color=color, label=label)
    for at, row in enumerate(rows):
        if row.expert is not None:
            axes.plot([row.expert, row.ours], [-at, -at], color="#BBBBBB", lw=1.2, zorder=0)
    labels = [fill(row.setting, LABEL_WIDTH) for row in rows]
    axes.set_yticks([-at for at in range(len(rows))], labels, fontsize=8)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    better = "less is better" if rows[0].lower_is_better else "more is better"
    axes.set_xlabel(f"{rows[0].unit} ({better})")
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside lower center", ncol=len(kinds), frameon=False, fontsize=9)
    return figure


def draw_frontier(title: str, report: Report) -> Figure:
    """Draw mean cost against its deviation: agents and experts beside the optimal schedules.

    Args:
        title: Of the benchmark.
        report: JSON of `benchmarks.execution`.
    """
    figure, axes = _start(title, 4.6)
    best = [compute_execution_bound(almgren_chriss(float(value))) for value in RISK_AVERSIONS]
    axes.plot(
        [one.deviation / 1000 for one in best],
        [one.expected_cost / 1000 for one in best],
        color=BOUND,
        lw=1.2,
        label="Almgren-Chriss optimum, closed form",
    )
    experts = {one["policy"]: one for one in report["rows"] if one["policy"] in EXPERT_LABELS}
    for label, one in experts.items():
        at = one["deviation"] / 1000, one["expected_cost"] / 1000
        axes.scatter(*at, s=42, marker="s", color=EXPERT, zorder=3)
        axes.annotate(EXPERT_LABELS[label], at, (8, 6), textcoords="offset points", fontsize=8)
    for one in report["learned"]:
        at = one["deviation"] / 1000, one["cost"] / 1000
        axes.scatter(*at, s=42, marker="o", color=OURS, zorder=3)
        if one["seed"] == 0:
            words = f"risk aversion {one['risk_aversion']:.0e}"
            axes.annotate(words, at, (8, 6), textcoords="offset points", fontsize=8)
    axes.scatter([], [], s=42, marker="s", color=EXPERT, label="expert, closed form")
    axes.scatter([], [], s=42, marker="o", color=OURS, label="ours, simulated")
    axes.set_xlabel("standard deviation of the cost, 1,000 (less is better)")
    axes.set_ylabel("mean cost, 1,000 (less is better)")
    axes.grid(alpha=0.25)
    axes.margins(x=0.09)
    figure.legend(loc="outside lower center", ncol=3, frameon=False, fontsize=9)
    return figure
