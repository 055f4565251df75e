"""Builds the report of several runs: those that differ in their seed only become one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from rl.evaluation.chart_layout import format_number
from rl.evaluation.run_curves import INTERVAL, mean_interval, merge_curves
from rl.evaluation.run_report import Chart, ComparisonReport, Curve, ReportTable, TableRow
from rl.training.run_reporting import (
    RecordedRun,
    evaluation_charts,
    make_run_report,
    metric_curve,
)
from utils.errors import ConfigError

SAME_QUESTION: Final = ("seed", "experiment_name", "tags")
"""Settings in which runs may differ and still be the same thing tried again."""
RETURN: Final = "return"


@dataclass(frozen=True, kw_only=True)
class RunGroup:
    """Runs of one configuration, but for the seed."""

    name: str
    runs: tuple[RecordedRun, ...]


def make_comparison(runs: Sequence[RecordedRun]) -> ComparisonReport:
    """Put runs beside each other.

    Args:
        runs: At least two, all different.

    Raises:
        ConfigError: There are fewer, or one is named twice.
    """
    ids = [run.details.summary.id for run in runs]
    if len(ids) < 2 or len(set(ids)) != len(ids):
        raise ConfigError(f"runs to compare: {ids}; give at least two different ones")
    groups = group_runs(runs)
    charts = [_chart(groups, _validation), _chart(groups, _returns)]
    return ComparisonReport(
        title=" against ".join(group.name for group in groups)
        if len(groups) > 1
        else f"{groups[0].name}, {len(runs)} runs",
        verdict=_verdict(groups),
        charts=tuple(chart for chart in charts if chart is not None),
        tables=(_score_table(groups), *_difference_table(groups)),
        runs=tuple(make_run_report(run) for run in runs),
    )


def group_runs(runs: Sequence[RecordedRun]) -> list[RunGroup]:
    """Put runs of the same settings together and name each group by what sets it apart.

    Args:
        runs: In any order; groups come in the order of their first run.
    """
    groups: dict[str, list[RecordedRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_settings(run), sort_keys=True), []).append(run)
    apart = _differing([_settings(members[0]) for members in groups.values()])
    return [
        RunGroup(name=_group_name(_settings(members[0]), apart), runs=tuple(members))
        for members in groups.values()
    ]


def _settings(run: RecordedRun) -> dict[str, Any]:
    config = run.details.config
    return {name: value for name, value in config.items() if name not in SAME_QUESTION}


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for one in settings for name in one)
    return [
        name for name in names if any(one.get(name) != settings[0].get(name) for one in settings)
    ]


def _group_name(settings: Mapping[str, Any], apart: Sequence[str]) -> str:
    names = [name for name in apart if name not in {"algorithm", "environment"}]
    first = f"{settings.get('algorithm', 'run')} in {settings.get('environment', 'its world')}"
    if "environment" not in apart:
        first = str(settings.get("algorithm", "run"))
    rest = ", ".join(f"{name}={_write(settings.get(name))}" for name in names)
    return f"{first} ({rest})" if rest else first


def _write(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _validation(run: RecordedRun) -> Chart | None:
    charts = evaluation_charts(run.details.evaluations)
    return charts[0] if charts else None


def _returns(run: RecordedRun) -> Chart | None:
    points = run.curves.get(RETURN)
    if not points:
        return None
    curve = metric_curve(RETURN, points)
    return Chart(name=RETURN, title="Return of training episodes", unit="", curves=(curve,))


def _chart(groups: Sequence[RunGroup], draw: Callable[[RecordedRun], Chart | None]) -> Chart | None:
    """Draw one line per group; levels are shown if all runs agree on them."""
    curves: list[Curve] = []
    drawn: list[Chart] = []
    for group in groups:
        charts = [chart for chart in map(draw, group.runs) if chart is not None]
        known = [one.curves[0] for one in charts if _has_point(one.curves[0])]
        if known:
            curves.append(merge_curves(known, name=_label(group)))
        drawn += charts
    if not curves:
        return None
    first = drawn[0]
    agree = all(chart.levels == first.levels for chart in drawn)
    notes = [INTERVAL if any(curve.num_runs > 1 for curve in curves) else first.note]
    if first.name == RETURN and len(curves) > 1:
        notes.append("Rewards of training may be shaped differently: judge by the scores.")
    return Chart(
        name=first.name,
        title=first.title,
        unit=first.unit,
        curves=tuple(curves),
        levels=first.levels if agree else (),
        note=" ".join(note for note in notes if note),
    )


def _has_point(curve: Curve) -> bool:
    return any(value is not None for value in curve.mean)


def _label(group: RunGroup) -> str:
    return group.name if len(group.runs) == 1 else f"{group.name}, {len(group.runs)} runs"


def _held_out_kpi(run: RecordedRun) -> float | None:
    """Return the agent's mean KPI on the held-out set, if it was judged."""
    judgement = run.files.judgement
    if judgement is None:
        return None
    agents = [row for row in judgement.tables[0].rows if row.kind == "agent"]
    return agents[0].kpi.mean if agents else None


def _data(groups: Sequence[RunGroup]) -> set[str]:
    judgements = [run.files.judgement for group in groups for run in group.runs]
    return {one.tables[0].data for one in judgements if one is not None}


def _kpis(group: RunGroup) -> list[float]:
    return [kpi for kpi in map(_held_out_kpi, group.runs) if kpi is not None]


def _score_table(groups: Sequence[RunGroup]) -> ReportTable:
    rows = []
    for group in groups:
        kpis = _kpis(group)
        mean, low, high = mean_interval(kpis) if kpis else (None, None, None)
        cpu = [run.files.diary.cpu_seconds for run in group.runs if run.files.diary is not None]
        cells = (
            group.name,
            ", ".join(str(run.details.summary.seed) for run in group.runs),
            ", ".join(sorted({run.details.summary.state.value for run in group.runs})),
            max(run.details.summary.env_steps for run in group.runs),
            len(kpis),
            mean,
            low,
            high,
            float(np.mean(cpu)) if cpu else None,
        )
        rows.append(TableRow(cells=cells))
    header = (
        *("who", "seeds", "state", "environment steps", "judged", "held-out KPI"),
        *("95% from", "to", "CPU s per run"),
    )
    return ReportTable(
        title="Scores on held-out scenarios",
        header=header,
        rows=tuple(rows),
        note="KPI: mean over runs, with Student's t interval over runs where there are several."
        + "".join(f" Played on {data}." for data in sorted(_data(groups))),
    )


def _difference_table(groups: Sequence[RunGroup]) -> tuple[ReportTable, ...]:
    settings = [_settings(group.runs[0]) for group in groups]
    apart = _differing(settings)
    if not apart:
        return ()
    rows = tuple(
        TableRow(cells=(name, *(_write(one.get(name)) for one in settings))) for name in apart
    )
    header = ("setting", *(group.name for group in groups))
    return (ReportTable(title="What sets them apart", header=header, rows=rows),)


def _verdict(groups: Sequence[RunGroup]) -> str:
    judged = {group.name: _kpis(group) for group in groups if _kpis(group)}
    if len(judged) < len(groups):
        missing = ", ".join(group.name for group in groups if group.name not in judged)
        return f"Nothing can be said yet: not judged on held-out scenarios: {missing}."
    if len(_data(groups)) > 1:
        return "The runs were judged on different scenarios, so their scores do not compare."
    (data,) = _data(groups)
    order = sorted(judged, key=lambda name: -float(np.mean(judged[name])))
    if len(order) == 1:
        return f"On {data}: {_tell(order[0], judged[order[0]])}."
    words = "; ".join(_tell(name, judged[name]) for name in order)
    return f"On {data}, from best to worst: {words}. {_caution(order, judged)}"


def _tell(name: str, kpis: Sequence[float]) -> str:
    mean, low, high = mean_interval(kpis)
    interval = ""
    if low is not None and high is not None:
        interval = f" [{format_number(low)}, {format_number(high)}]"
    runs = "1 run" if len(kpis) == 1 else f"{len(kpis)} runs"
    return f"{name} {format_number(mean)}{interval} over {runs}"


def _caution(order: Sequence[str], judged: Mapping[str, Sequence[float]]) -> str:
    if any(len(judged[name]) < 2 for name in order[:2]):
        return "One run of a configuration says little about it: seeds differ."
    _, low, _ = mean_interval(judged[order[0]])
    _, _, high = mean_interval(judged[order[1]])
    if low is not None and high is not None and low > high:
        return "The intervals of the first two do not overlap."
    return "The intervals of the first two overlap: the order may be chance."
