"""The curves of runs as charts with their rows and words; nothing here draws on a page or asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import altair as alt

from console.runs_words import newest_score, number
from console.showing import AXIS_ROOM, Drawing
from orchestration.client.runs import StageEntry
from utils.persistence.run_queries import Evaluation, MetricPoint

Row = Mapping[str, object]
HEIGHT = 260
LEVEL_COLORS = {"expert": "#d97706", "bound": "#8b8f98"}
"""Legible on light and on dark."""
GROUPS = (
    ("Return of training episodes", "return"),
    ("Entropy", "entropy"),
    ("KL divergence", "kl"),
    ("Loss terms", "loss"),
    ("Norm of the gradient", "gradient"),
)
"""Titles, and the word of a metric's name by which it belongs there; the first that fits."""
STEPS = "environment steps"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A chart with what is told beside it."""

    chart: Drawing
    rows: Sequence[Row]
    summary: str


def group_metrics(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the metrics that are looked at first, by title.

    Args:
        names: Of all metrics of a run.
    """
    groups: dict[str, list[str]] = {title: [] for title, _ in GROUPS}
    for name in sorted(names):
        words = name.lower().replace("/", "_").split("_")
        fitting = [title for title, part in GROUPS if part in words]
        if fitting and "coeff" not in words:
            groups[fitting[0]].append(name)
    return {title: found for title, found in groups.items() if found}


def curve_rows(name: str, points: Sequence[MetricPoint]) -> list[Row]:
    """Return the points of a curve as rows; what was not finite has no value.

    Args:
        name: Of the curve.
        points: In order of steps.
    """
    return [{"curve": name, STEPS: point.step, "value": point.value} for point in points]


def draw_curves(title: str, curves: Mapping[str, Sequence[MetricPoint]]) -> Picture:
    """Draw metrics over steps, a line each.

    Args:
        title: Of the axis.
        curves: By name.
    """
    rows = [row for name, points in curves.items() for row in curve_rows(name, points)]
    chart = (
        alt.Chart(_data(rows), height=HEIGHT)
        .mark_line(point=len(rows) < 60)
        .encode(x=_steps(), y=_values("value", title), tooltip=_tips("curve", "value"))
    )
    if len(curves) > 1:
        chart = chart.encode(color=_color(curves), strokeDash=_dash(curves))
    words = " ".join(_tell(name, points) for name, points in curves.items())
    return Picture(chart=chart, rows=rows, summary=words)


def evaluation_rows(evaluations: Sequence[Evaluation], curve: str = "policy") -> list[Row]:
    """Return the scores of evaluations as rows.

    Args:
        evaluations: Of one run, oldest first.
        curve: Whose they are.
    """
    keys = {"score": "kpi", "low": "kpi_low", "high": "kpi_high", "expert": "expert"}
    return [
        {
            "curve": curve,
            STEPS: one.env_steps,
            **{name: one.scores.get(key) for name, key in keys.items()},
        }
        for one in evaluations
    ]


def draw_evaluations(evaluations: Sequence[Evaluation]) -> Picture:
    """Draw the scores of a run with their interval, against the expert and the bound.

    Args:
        evaluations: Of one run, at least one, oldest first.
    """
    rows = evaluation_rows(evaluations)
    scores = evaluations[-1].scores
    levels = [
        {"name": name, "score": scores[name]}
        for name in LEVEL_COLORS
        if scores.get(name) is not None
    ]
    layers = [*_scores(rows), *([_levels(levels)] if levels else [])]
    words = newest_score(evaluations)
    if any(row["low"] is not None for row in rows):
        words += " The band is the interval of the mean over episodes."
    chart = alt.layer(*layers).properties(height=HEIGHT)
    return Picture(chart=chart, rows=rows, summary=words)


def overlay_evaluations(runs: Mapping[str, Sequence[Evaluation]]) -> Picture:
    """Draw the scores of several runs over each other.

    Args:
        runs: Evaluations by name of the run; at least one run has some.
    """
    rows = [row for name, one in runs.items() for row in evaluation_rows(one, name)]
    band, line = (layer.encode(color=_color(runs)) for layer in _scores(rows))
    layers = (band, line.encode(strokeDash=_dash(runs)))
    chart = alt.layer(*layers).properties(height=HEIGHT)
    words = " ".join(f"{name}: {newest_score(found)}" for name, found in runs.items())
    return Picture(chart=chart, rows=rows, summary=words)


def draw_stages(stages: Sequence[StageEntry], end: int) -> Picture:
    """Draw which stage a run was in, from step to step.

    Args:
        stages: In order; at least one.
        end: Env steps so far.
    """
    last = max(end, stages[-1].env_steps)
    until = [one.env_steps for one in stages[1:]] + [last]
    rows: list[Row] = [
        {"stage": one.name, "from": one.env_steps, "to": to, "steps": to - one.env_steps}
        for one, to in zip(stages, until, strict=True)
    ]
    names = list(dict.fromkeys(one.name for one in stages))
    y = alt.Y("stage:N", sort=names, title=None, axis=alt.Axis(labelLimit=320))
    base = alt.Chart(_data(rows), height=36 * len(names) + AXIS_ROOM)
    tips = [alt.Tooltip("stage:N"), *(alt.Tooltip(f"{n}:Q", format=",") for n in ("from", "to"))]
    bars = base.mark_bar(cornerRadius=3, height=18).encode(
        x=alt.X("from:Q", title=STEPS, axis=alt.Axis(format="~s")), x2="to:Q", y=y, tooltip=tips
    )
    starts = base.mark_tick(thickness=3, height=24).encode(x="from:Q", y=y, tooltip=tips)
    told = ", ".join(f"{row['stage']} from {row['from']:,} to {row['to']:,}" for row in rows)
    return Picture(
        chart=alt.layer(bars, starts), rows=rows, summary=f"Stages by environment steps: {told}."
    )


def _scores(rows: Sequence[Row]) -> list[alt.Chart]:
    base = alt.Chart(_data(rows))
    tips = [*_tips("curve", "score", "low", "high", "expert")]
    band = base.mark_area(opacity=0.2).encode(x=_steps(), y=_values("low", "score"), y2="high:Q")
    line = base.mark_line(point=True).encode(x=_steps(), y=_values("score", "score"), tooltip=tips)
    return [band, line]


def _levels(levels: Sequence[Row]) -> alt.Chart:
    names = [str(one["name"]) for one in levels]
    colors = alt.Scale(domain=names, range=[LEVEL_COLORS[name] for name in names])
    chart: alt.Chart = (
        alt.Chart(_data(levels))
        .mark_rule(strokeDash=[6, 4], strokeWidth=2)
        .encode(
            y=_values("score", "score"),
            color=alt.Color("name:N", scale=colors, legend=alt.Legend(title=None, orient="bottom")),
            tooltip=[alt.Tooltip("name:N"), alt.Tooltip("score:Q", format=",.4~g")],
        )
    )
    return chart


def _steps() -> alt.X:
    return alt.X(f"{STEPS}:Q", axis=alt.Axis(format="~s"))


def _values(name: str, title: str) -> alt.Y:
    return alt.Y(f"{name}:Q", title=title, scale=alt.Scale(zero=False))


def _color(curves: Iterable[str]) -> alt.Color:
    legend = alt.Legend(title=None, orient="bottom", labelLimit=400, columns=2)
    return alt.Color("curve:N", sort=list(curves), legend=legend)


def _dash(curves: Iterable[str]) -> alt.StrokeDash:
    return alt.StrokeDash("curve:N", sort=list(curves), legend=None)


def _tips(*names: str) -> list[alt.Tooltip]:
    words = [alt.Tooltip("curve:N")] if "curve" in names else []
    numbers = [alt.Tooltip(f"{name}:Q", format=",.5~g") for name in names if name != "curve"]
    return [*words, alt.Tooltip(f"{STEPS}:Q", format=","), *numbers]


def _data(rows: Sequence[Row]) -> alt.InlineData:
    return alt.InlineData(values=[dict(row) for row in rows])


def _tell(name: str, points: Sequence[MetricPoint]) -> str:
    finite = [(point.value, point.step) for point in points if point.value is not None]
    title = name.replace("_", " ")
    if not finite:
        return f"{title}: no finite value."
    (first, _), (last, step) = finite[0], finite[-1]
    low, high = min(finite)[0], max(finite)[0]
    words = f"{title}: {number(first)} at first, {number(last)} at {step:,} steps"
    lost = len(points) - len(finite)
    words += f", between {number(low)} and {number(high)}"
    return f"{words}; {lost} values were not finite." if lost else f"{words}."
