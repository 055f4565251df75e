"""The evaluation as files: JSON for machines, Markdown and pictures for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rl.artifacts import Figure
from rl.evaluation.comparison import EvaluationTable, ScoreRow
from rl.evaluation.plots import LearningCurve, count_blocks, plot_learning, plot_scores
from rl.evaluation.statistics import Estimate
from utils.config import to_json
from utils.persistence.files import write_atomically

FORMAT_VERSION = 2
FEW_BLOCKS = 20
"""Fewer are too few for a bootstrap over them to be trusted alone."""
Experts = Mapping[str, Sequence[Figure]]
"""What each expert was tuned to."""


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
    tables: Sequence[EvaluationTable],
    *,
    title: str,
    experts: Experts,
    curve: LearningCurve | None = None,
    pictures: Sequence[Path] = (),
    data_sha256: Mapping[str, str] = MappingProxyType({}),
    note: str = "",
) -> Report:
    """Write report.json, report.md and the plots there is data for.

    Args:
        folder: Made if absent; files of an earlier report are replaced.
        tables: What was found; the first is what the result is judged on.
        title: First line of the summary.
        experts: What the experts were tuned to.
        curve: Evaluations during training.
        pictures: Of episodes, drawn already, in the folder.
        data_sha256: Hash of every set that was played, by name.
        note: What else a reader must know; a sentence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = (*_write_plots(folder, tables[0], curve), *pictures)
    content = {
        "format": FORMAT_VERSION,
        "title": title,
        "table": to_json(tables[0]),
        "other_tables": [to_json(table) for table in tables[1:]],
        "experts": {name: [to_json(one) for one in tuned] for name, tuned in experts.items()},
        "curve": None if curve is None else to_json(curve),
        "plots": [path.name for path in plots],
        "data_sha256": dict(data_sha256),
    }
    report = Report(summary=folder / "report.md", data=folder / "report.json", plots=plots)
    write_atomically(report.data, (json.dumps(content, indent=2) + "\n").encode())
    write_atomically(report.summary, _summary(title, tables, experts, plots, note=note).encode())
    return report


def format_table(table: EvaluationTable) -> str:
    """Return the table as Markdown that also reads well as plain text.

    Args:
        table: What was found.
    """
    baseline = "to best expert" if table.has_expert else f"to {table.baseline}"
    header = (
        "who",
        "KPI per episode",
        baseline,
        f"{table.block_name}s better",
        "gap closed",
        *(column.title for column in table.columns),
    )
    rows = [header, *(_cells(row, table) for row in table.rows)]
    lines = [[" ".join(cell.split()).replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
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
    words = "does not clearly beat"
    if table.num_blocks == 1:
        words = f"cannot be judged on one {table.block_name} against"
    elif difference.low > 0:
        words = "beats"
    elif difference.high < 0:
        words = "is worse than"
    share = row.gap_closed.mean if row.gap_closed else 0.0
    closed = f", {share:.0%} of the gap to the bound" if share > 0 else ""
    rival = "random play"
    if table.has_expert:
        rival = f"the best tuned expert ({table.baseline})"
    verdict = (
        f"{row.name} {words} {rival}: difference {_signed(difference, table)} per episode, better "
        f"on {row.blocks_better} of {table.num_blocks} {table.block_name}s{closed}."
    )
    if row.to_rival is None or table.rival == table.baseline:
        return verdict
    return f"{verdict} To {table.rival}: {_signed(row.to_rival, table)}."


def _summary(
    title: str,
    tables: Sequence[EvaluationTable],
    experts: Experts,
    plots: Sequence[Path],
    *,
    note: str,
) -> str:
    table, *others = tables
    verdict = conclude(table)
    parts = [
        f"# {title}",
        verdict,
        note,
        format_table(table),
        _explanation(table),
    ]
    for other in others:
        parts += [f"## Also played: {other.data}", conclude(other), format_table(other)]
    if any(experts.values()):
        parts += ["## Experts, tuned on training scenarios", _expert_list(experts)]
    parts += [f"![{path.stem.replace('_', ' ')}]({path.name})" for path in plots]
    return "\n\n".join(part for part in parts if part) + "\n"


def _explanation(table: EvaluationTable) -> str:
    seeds = f", training seeds: {table.num_seeds}" if table.num_seeds else ""
    sentences = [
        f"Played on {table.data}: {count_blocks(table)}{seeds}. KPI = {table.kpi}.",
        f"Brackets: {table.level:.0%} bootstrap interval over whole {table.block_name}s and seeds.",
        "Differences are paired.",
    ]
    if 1 < table.num_blocks < FEW_BLOCKS:
        sentences.append(
            f"Over {table.num_blocks} {table.block_name}s such an interval is somewhat narrow, so "
            f"report.json also holds Student's t over {table.block_name}s (`difference_cautious`)."
        )
    if table.num_blocks == 1:
        sentences.append(
            f"One {table.block_name} tells nothing about others: its brackets have no width."
        )
    if any(row.kind == "bound" for row in table.rows):
        sentences.append(
            "The bound is what nobody can exceed who does not know the future, or even who does; "
            "nobody need be able to reach it."
        )
    if table.has_expert:
        sentences.append("The best expert is chosen on these very episodes, in its favour.")
    else:
        sentences.append("No expert's rule is known here: being better than chance is little.")
    return " ".join(sentences)


def _expert_list(experts: Experts) -> str:
    lines = []
    for name, tuned in experts.items():
        found = ", ".join(f"{figure.name.replace('_', ' ')} {figure.value:g}" for figure in tuned)
        lines.append(f"- {name}: {found or 'nothing to tune'}")
    return "\n".join(lines)


def _cells(row: ScoreRow, table: EvaluationTable) -> tuple[str, ...]:
    closed, spec = row.gap_closed, table.kpi_format
    best = "(best expert)" if table.has_expert else "(baseline)"
    return (
        row.name,
        f"{row.kpi.mean:{spec}} [{row.kpi.low:{spec}}, {row.kpi.high:{spec}}]",
        _signed(row.difference, table) if row.difference else best,
        "" if row.blocks_better is None else str(row.blocks_better),
        f"{closed.mean:.0%} [{closed.low:.0%}, {closed.high:.0%}]" if closed else "",
        *(
            "" if value is None else f"{value:{column.format}}"
            for value, column in zip(row.figures, table.columns, strict=True)
        ),
    )


def _signed(estimate: Estimate, table: EvaluationTable) -> str:
    spec = f"+{table.kpi_format}"
    return f"{estimate.mean:{spec}} [{estimate.low:{spec}}, {estimate.high:{spec}}]"


def _write_plots(
    folder: Path, table: EvaluationTable, curve: LearningCurve | None
) -> tuple[Path, ...]:
    plots = [folder / "scores.png"]
    plot_scores(table, plots[0])
    if curve is not None and curve.points:
        plots.append(folder / "learning.png")
        plot_learning(curve, plots[-1])
    return tuple(plots)
