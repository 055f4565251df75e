"""An evaluation table as a report shows it: the figures of the table, in a table of cells."""

from __future__ import annotations

from rl.evaluation.comparison import EvaluationTable, ScoreRow
from rl.evaluation.run_report import Amount, Cell, ReportTable, TableRow
from rl.evaluation.statistics import Estimate


def show_scores(table: EvaluationTable) -> ReportTable:
    """Lay a table out for a report.

    Args:
        table: What was found.
    """
    rival = "to best expert" if table.has_expert else f"to {table.baseline}"
    return ReportTable(
        title=f"Scores on {table.data}",
        header=(
            "who",
            "KPI",
            f"{table.level:.0%} interval",
            rival,
            f"{table.level:.0%} interval, paired",
            f"{table.block_name}s better",
            "gap closed",
            *(column.title for column in table.columns),
        ),
        rows=tuple(
            TableRow(cells=_cells(row, table), kind=row.kind) for row in reversed(table.rows)
        ),
        note=_explain(table),
    )


def _cells(row: ScoreRow, table: EvaluationTable) -> tuple[Cell, ...]:
    spec, difference, closed = table.kpi_format, row.difference, row.gap_closed
    baseline = "(best expert)" if table.has_expert else "(baseline)"
    return (
        row.name.replace("_", " ") if row.kind != "bound" else "bound",
        Amount(value=row.kpi.mean, text=f"{row.kpi.mean:{spec}}"),
        _interval(row.kpi, spec),
        Amount(value=difference.mean, text=f"{difference.mean:+{spec}}")
        if difference is not None
        else baseline,
        _interval(difference, f"+{spec}") if difference is not None else "",
        None if row.kind == "bound" else row.blocks_better,
        Amount(value=closed.mean, text=f"{closed.mean:.0%}") if closed is not None else None,
        *(
            None if value is None else Amount(value=value, text=f"{value:{column.format}}")
            for value, column in zip(row.figures, table.columns, strict=True)
        ),
    )


def _interval(estimate: Estimate, spec: str) -> str:
    return f"[{estimate.low:{spec}}, {estimate.high:{spec}}]"


def _explain(table: EvaluationTable) -> str:
    block, kinds = table.block_name, {row.kind for row in table.rows}
    seeds = f", training seeds: {table.num_seeds}" if table.num_seeds else ""
    sentences = [
        f"KPI: {table.kpi}.",
        f"{table.num_episodes:,} episodes from {table.num_blocks:,} {block}s{seeds}; intervals by",
        f"bootstrap over whole {block}s and seeds, differences paired.",
    ]
    if "bound" in kinds:
        sentences.append("Nobody can exceed the bound, and nobody need be able to reach it.")
    if table.has_expert:
        sentences.append("The best expert is chosen on these very episodes, in its favour.")
    else:
        sentences.append("No expert's rule is known here: being better than chance is little.")
    return " ".join(sentences)
