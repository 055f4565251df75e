"""An evaluation as Markdown, for people; every figure that is absent says why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rl.evaluation.episode_statistics import Guarded, GuardedShare, Share
from rl.evaluation.resampling import Interval
from rl.evaluation.set_results import EntrantRow, SetResult
from rl.evaluation.suite_results import EvaluationReport

HEADER = ("who", "runs", "mean", "median", "IQM", "CVaR 95", "CVaR 99", "to reference", "better")
CARE_HEADER = ("who", "success", "all constraints", "fairness, mean", "fairness, worst")


def format_evaluation(report: EvaluationReport, title: str) -> str:
    """Return the whole evaluation.

    Args:
        report: What was found.
        title: First line.
    """
    parts = [f"# {title}", _explain(report), "## Standard", *_set_parts(report.standard)]
    for result in report.stress:
        parts += [f"## Stress: {result.name}", *_set_parts(result)]
    if report.grid:
        parts += ["## Generalisation grid: change of the mean", _grid_table(report)]
    if report.sight:
        parts += ["## Disturbed sight: change of the mean", _sight_table(report)]
    for one in report.opponents:
        seats = ", ".join(str(seat) for seat in one.judged_seats)
        parts += [
            f"## Against {one.opponent}, on seats {seats}",
            "KPI: mean reward of the judged seats.",
            *_set_parts(one.result),
        ]
    return "\n\n".join(parts) + "\n"


def format_interval(interval: Interval) -> str:
    """Return a figure with its interval.

    Args:
        interval: Of the figure; without ends where there was nothing to resample.
    """
    if interval.low is None or interval.high is None:
        return f"{interval.value:.4g}"
    return f"{interval.value:.4g} [{interval.low:.4g}, {interval.high:.4g}]"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; bars in cells are escaped.

    Args:
        header: Names of the columns.
        rows: Cells, as many as columns.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _explain(report: EvaluationReport) -> str:
    return (
        f"KPI: {report.kpi}. Everybody plays the same episodes. "
        f"Brackets: {report.level:.0%} bootstrap intervals over whole "
        "blocks of episodes and whole runs; none where there is one block and one run. "
        '"Better": how likely the KPI of the same episode is higher than the reference\'s.'
    )


def _set_parts(result: SetResult) -> list[str]:
    about = (
        f"{result.about}: {result.num_episodes} episodes in {result.num_blocks} blocks, scenarios "
        f"{result.sha256[:12]}. Reference: {result.reference}."
    )
    return [
        about,
        markdown_table(HEADER, map(_cells, result.rows)),
        markdown_table(CARE_HEADER, map(_care_cells, result.rows)),
        *_notes(result),
    ]


def _cells(row: EntrantRow) -> tuple[str, ...]:
    lead = row.lead
    return (
        f"{row.name} ({row.kind})",
        str(row.num_runs),
        *(format_interval(one) for one in (row.kpi.mean, row.kpi.median, row.kpi.iqm)),
        _guarded(row.cvar_95),
        _guarded(row.cvar_99),
        "(reference)" if lead is None else format_interval(lead.difference),
        "" if lead is None else format_interval(lead.probability_of_improvement),
    )


def _care_cells(row: EntrantRow) -> tuple[str, ...]:
    return (
        row.name,
        _guarded_share(row.success),
        _guarded_share(row.all_constraints),
        _guarded(row.fairness.mean),
        _guarded(row.fairness.worst),
    )


def _notes(result: SetResult) -> list[str]:
    """Return why figures are absent, each reason once, how costs were kept, what lies behind."""
    absent = dict.fromkeys(
        f"{name}: {found.reason}."
        for row in result.rows
        for name, found in (
            ("CVaR 95", row.cvar_95),
            ("CVaR 99", row.cvar_99),
            ("success", row.success),
            ("constraints", row.all_constraints),
            ("fairness", row.fairness.mean),
        )
        if found.reason
    )
    costs = [
        f"{row.name}, cost {number}: mean {format_interval(one.mean_cost)}, at most "
        f"{one.limit:g} in {_share(one.kept)} of episodes."
        for row in result.rows
        for number, one in enumerate(row.constraints)
    ]
    behind = [
        f"{row.name}, {figure.name}: {_guarded(figure.mean)}"
        + (f" ({figure.mean.reason})." if figure.mean.reason else ".")
        for row in result.rows
        for figure in row.figures
    ]
    lines = [*absent, *costs, *behind]
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


def _grid_table(report: EvaluationReport) -> str:
    names = [change.name for change in report.grid[0].changes]
    return markdown_table(
        ("trouble", "intensity", *names),
        (
            (
                cell.stress.replace("_", " "),
                f"{cell.intensity:g}",
                *(format_interval(change.difference) for change in cell.changes),
            )
            for cell in report.grid
        ),
    )


def _sight_table(report: EvaluationReport) -> str:
    return markdown_table(
        ("who", "noise", "features dropped", "change"),
        (
            (
                one.change.name,
                f"{one.noise_level:g}" if one.noise_level else "",
                ", ".join(str(feature) for feature in one.dropped_features),
                format_interval(one.change.difference),
            )
            for one in report.sight
        ),
    )


def _guarded(found: Guarded) -> str:
    return "-" if found.value is None else f"{found.value:.4g}"


def _guarded_share(found: GuardedShare) -> str:
    return "-" if found.share is None else _share(found.share)


def _share(share: Share) -> str:
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]"
