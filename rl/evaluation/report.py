"""The evaluation as files: JSON for machines, Markdown and pictures for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.scenario import WorkloadScenarios
from rl.domains.resource_allocation import AllocationConfig
from rl.evaluation.comparison import EvaluationTable, ScoreRow
from rl.evaluation.plots import (
    LearningCurve,
    PlayedWindow,
    busiest_window,
    plot_learning,
    plot_scores,
    plot_window,
)
from rl.evaluation.statistics import Estimate
from rl.evaluation.tuning import TunedExpert
from utils.config import to_json
from utils.persistence.files import write_atomically

FORMAT_VERSION = 1
HEADER = (
    "who",
    "KPI per window",
    "to best expert",
    "days better",
    "gap closed",
    "value served",
    "idle cost",
    "work lost",
    "used",
    "fairness",
)


@dataclass(frozen=True, kw_only=True)
class WindowExample:
    """What is needed to draw one window: the world, the windows and who played them."""

    config: AllocationConfig
    scenarios: WorkloadScenarios
    played: tuple[PlayedWindow, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where the files of a report lie."""

    summary: Path
    """Markdown."""
    data: Path
    """JSON."""
    plots: tuple[Path, ...]


def write_report(
    folder: Path,
    table: EvaluationTable,
    *,
    title: str,
    experts: Sequence[TunedExpert] = (),
    curve: LearningCurve | None = None,
    example: WindowExample | None = None,
) -> Report:
    """Write report.json, report.md and the plots there is data for.

    Args:
        folder: Made if absent; files of an earlier report are replaced.
        table: What was found.
        title: First line of the summary.
        experts: What the experts were tuned to.
        curve: Evaluations during training.
        example: Drawn in its busiest window.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = _write_plots(folder, table, curve, example)
    content = {
        "format": FORMAT_VERSION,
        "title": title,
        "table": to_json(table),
        "experts": [to_json(expert) for expert in experts],
        "curve": None if curve is None else to_json(curve),
        "plots": [path.name for path in plots],
    }
    report = Report(summary=folder / "report.md", data=folder / "report.json", plots=plots)
    write_atomically(report.data, (json.dumps(content, indent=2) + "\n").encode())
    write_atomically(report.summary, _summary(title, table, experts, plots).encode())
    return report


def format_table(table: EvaluationTable) -> str:
    """Return the table as Markdown that also reads well as plain text.

    Args:
        table: What was found.
    """
    lines = [HEADER, *(_cells(row) for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    rule = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(line) + " |" for line in [padded[0], rule, *padded[1:]])


def conclude(table: EvaluationTable) -> str:
    """Say in one sentence per agent whether it beats the best expert.

    Args:
        table: What was found.
    """
    return "\n".join(_verdict(row, table) for row in table.rows if row.kind == "agent")


def _verdict(row: ScoreRow, table: EvaluationTable) -> str:
    difference = row.difference
    if difference is None:
        return ""
    words = "is on a par with"
    if difference.low > 0:
        words = "beats"
    elif difference.high < 0:
        words = "is worse than"
    share = row.gap_closed.mean if row.gap_closed else 0.0
    closed = f", {share:.0%} of the gap to the bound" if share > 0 else ""
    return (
        f"{row.name} {words} the best tuned expert ({table.best_expert}): difference "
        f"{_signed(difference)} per window, better on {row.days_better} of {table.num_days} days"
        f"{closed}."
    )


def _summary(
    title: str, table: EvaluationTable, experts: Sequence[TunedExpert], plots: Sequence[Path]
) -> str:
    verdict = conclude(table)
    parts = [
        f"# {title}",
        *([verdict] if verdict else []),
        format_table(table),
        _explanation(table),
    ]
    if experts:
        parts += ["## Experts, tuned on training scenarios", _expert_table(experts)]
    parts += [f"![{path.stem.replace('_', ' ')}]({path.name})" for path in plots]
    return "\n\n".join(parts) + "\n"


def _explanation(table: EvaluationTable) -> str:
    seeds = f", training seeds: {table.num_seeds}" if table.num_seeds else ""
    return (
        f"Played on {table.data}: {table.num_windows} windows from {table.num_days} days{seeds}. "
        "KPI = priority-weighted value of served work minus the cost of idle units. "
        f"Brackets: {table.level:.0%} bootstrap interval over whole days and seeds; differences "
        f"are paired. Over {table.num_days} days such an interval is somewhat narrow, so "
        "report.json also holds Student's t over days (`difference_cautious`). The bound is the "
        "optimum of a linear program that knows the whole window beforehand; nobody beats it, and "
        "nobody without foresight need be able to reach it. The best expert is chosen on these "
        "very windows, in its favour."
    )


def _expert_table(experts: Sequence[TunedExpert]) -> str:
    lines = [
        "| expert | headroom | look-back | urgency | training KPI |",
        "| ------ | -------- | --------- | ------- | ------------ |",
    ]
    lines += [
        f"| {expert.name} | {expert.parameters.headroom:g} | {expert.parameters.lookback} "
        f"| {expert.parameters.urgency:g} | {expert.score:,.0f} |"
        for expert in experts
    ]
    return "\n".join(lines)


def _cells(row: ScoreRow) -> tuple[str, ...]:
    outcome = row.outcome
    closed = row.gap_closed
    return (
        row.name,
        f"{row.kpi.mean:,.0f} [{row.kpi.low:,.0f}, {row.kpi.high:,.0f}]",
        _signed(row.difference) if row.difference else "(best expert)",
        "" if row.days_better is None else str(row.days_better),
        f"{closed.mean:.0%} [{closed.low:.0%}, {closed.high:.0%}]" if closed else "",
        f"{outcome.served_value:,.0f}" if outcome else "",
        f"{outcome.holding_cost:,.0f}" if outcome else "0",
        f"{outcome.lost_share:.1%}" if outcome else "",
        f"{outcome.utilisation:.0%}" if outcome else "",
        f"{outcome.fairness:.3f}" if outcome else "",
    )


def _signed(estimate: Estimate) -> str:
    return f"{estimate.mean:+,.0f} [{estimate.low:+,.0f}, {estimate.high:+,.0f}]"


def _write_plots(
    folder: Path,
    table: EvaluationTable,
    curve: LearningCurve | None,
    example: WindowExample | None,
) -> tuple[Path, ...]:
    plots = [folder / "scores.png"]
    plot_scores(table, plots[0])
    if curve is not None and curve.points:
        plots.append(folder / "learning.png")
        plot_learning(curve, plots[-1])
    if example is not None:
        plots.append(folder / "window.png")
        episode = busiest_window(example.config, example.scenarios)
        plot_window(
            example.config, example.scenarios, episode, played=example.played, path=plots[-1]
        )
    return tuple(plots)
