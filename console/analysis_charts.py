"""Drawings of comparisons; the browser's theme gives their colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from console.lab_rows import Row
from console.showing import AXIS_ROOM, Drawing

ROW_HEIGHT, LEGEND_ROOM, HEIGHT = 34, 40, 340
NUMBER = ",.4g"
HIDDEN = 30.0
"""Where the largest number is so many times a usual small one, the axis becomes logarithmic."""


def draw_intervals(
    rows: Sequence[Row], *, title: str, who: str = "decider", with_zero: bool = False
) -> Drawing:
    """Draw figures as points with their intervals.

    Args:
        rows: With `value`, `low` and `high`.
        title: Of the axis.
        who: Name of the column that says whose.
        with_zero: Whether a line marks zero.
    """
    chart = alt.Chart(_data(rows))
    y = alt.Y(f"{who}:N", title=None, sort=None, axis=alt.Axis(labelLimit=260))
    values = [row[name] for row in rows for name in ("value", "low", "high")]
    scale = choose_scale(values, with_zero=with_zero)
    is_log = scale.type == "symlog"
    axis = alt.X("low:Q", title=f"{title} (log scale)" if is_log else title, scale=scale)
    tooltip = [
        f"{who}:N",
        *(alt.Tooltip(f"{n}:Q", format=NUMBER) for n in ("value", "low", "high")),
    ]
    color = alt.Color(f"{who}:N", sort=None, legend=None)
    layers: list[Any] = [
        chart.mark_rule(strokeWidth=3).encode(x=axis, x2="high:Q", y=y, color=color),
        chart.mark_point(filled=True, size=90).encode(
            x=alt.X("value:Q"), y=y, color=color, tooltip=tooltip
        ),
    ]
    if with_zero:
        layers.insert(
            0, alt.Chart(_data([{"zero": 0}])).mark_rule(strokeDash=[4, 4]).encode(x="zero:Q")
        )
    return alt.layer(*layers).properties(
        height=AXIS_ROOM + ROW_HEIGHT * len({row[who] for row in rows})
    )


def draw_distribution(rows: Sequence[Row]) -> Drawing:
    """Draw the return of every episode as a mark, and a box over quartiles.

    Args:
        rows: With `decider` and `return`.
    """
    chart = alt.Chart(_data(rows))
    y = alt.Y("decider:N", title=None, sort=None, axis=alt.Axis(labelLimit=260))
    scale = choose_scale([row["return"] for row in rows], with_zero=False)
    title = "return of an episode (log scale)" if scale.type == "symlog" else "return of an episode"
    x = alt.X("return:Q", title=title, scale=scale)
    color = alt.Color("decider:N", sort=None, legend=None)
    boxes = chart.mark_boxplot(size=16, opacity=0.5, outliers=False).encode(x=x, y=y, color=color)
    ticks = chart.mark_tick(thickness=1, size=22, opacity=0.6).encode(
        x=x,
        y=y,
        color=color,
        tooltip=["decider:N", "episode:Q", alt.Tooltip("return:Q", format=NUMBER)],
    )
    count = len({row["decider"] for row in rows})
    return alt.layer(boxes, ticks).properties(height=AXIS_ROOM + ROW_HEIGHT * count)


def draw_curves(rows: Sequence[Row]) -> Drawing:
    """Draw the mean return so far, and the band in which eight of ten episodes lie.

    Args:
        rows: With `decider`, `step`, `mean`, `low` and `high`.
    """
    chart = alt.Chart(_data(rows))
    x = alt.X("step:Q", title="step", axis=alt.Axis(format="d", tickMinStep=1))
    color = alt.Color("decider:N", title=None, sort=None, legend=_legend())
    scale = choose_scale([row[name] for row in rows for name in ("low", "high")], with_zero=False)
    title = "return so far (log scale)" if scale.type == "symlog" else "return so far"
    band = chart.mark_area(opacity=0.2).encode(
        x=x, y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q", color=color
    )
    line = chart.mark_line().encode(
        x=x,
        y="mean:Q",
        color=color,
        strokeDash=alt.StrokeDash("decider:N", sort=None, legend=None),
        tooltip=["decider:N", "step:Q", alt.Tooltip("mean:Q", format=NUMBER)],
    )
    return alt.layer(band, line).properties(height=HEIGHT)


def draw_paths(rows: Sequence[Row]) -> alt.Chart:
    """Draw single episodes.

    Args:
        rows: With `episode`, `step` and `return`.
    """
    drawn: alt.Chart = (
        alt.Chart(_data(rows))
        .mark_line()
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(format="d", tickMinStep=1)),
            y=alt.Y("return:Q", title="return so far"),
            color=alt.Color("episode:N", title="episode", legend=_legend()),
            tooltip=["episode:N", "step:Q", alt.Tooltip("return:Q", format=NUMBER)],
        )
        .properties(height=HEIGHT)
    )
    return drawn


def draw_violations(rows: Sequence[Row]) -> alt.Chart:
    """Draw violations per step, as decided beside projected.

    Args:
        rows: With `decider`, `actions` and `violation a step`.
    """
    count = len(rows)
    drawn: alt.Chart = (
        alt.Chart(_data(rows))
        .mark_bar()
        .encode(
            x=alt.X("violation a step:Q", title="violation per step"),
            y=alt.Y("decider:N", title=None, sort=None, axis=alt.Axis(labelLimit=260)),
            yOffset=alt.YOffset("actions:N"),
            color=alt.Color("actions:N", title=None, legend=_legend()),
            tooltip=["decider:N", "actions:N", alt.Tooltip("violation a step:Q", format=NUMBER)],
        )
        .properties(height=AXIS_ROOM + LEGEND_ROOM + ROW_HEIGHT * count)
    )
    return drawn


def draw_evaluations(rows: Sequence[Row]) -> Drawing:
    """Draw evaluations of runs over what they had learnt from, with the expert's as a dashed line.

    Args:
        rows: With `run`, `environment steps`, `value`, `low`, `high` and `expert`.
    """
    chart = alt.Chart(_data(rows))
    x = alt.X("environment steps:Q", axis=alt.Axis(format="~s"))
    color = alt.Color("run:N", title=None, sort=None, legend=_legend())
    scale = alt.Scale(zero=False)
    band = chart.mark_area(opacity=0.2).encode(
        x=x, y=alt.Y("low:Q", title="evaluation", scale=scale), y2="high:Q", color=color
    )
    line = chart.mark_line(point=True).encode(x=x, y="value:Q", color=color)
    rule = chart.mark_line(strokeDash=[4, 4]).encode(x=x, y="expert:Q", color=color)
    return alt.layer(band, line, rule).properties(height=HEIGHT)


def choose_scale(values: Sequence[float], *, with_zero: bool) -> alt.Scale:
    """Choose a scale on which one decider far off does not hide what the others do.

    Args:
        values: All that is drawn.
        with_zero: Whether zero is to be seen.
    """
    reach = sorted(abs(value) for value in values if value)
    if reach and reach[-1] > HIDDEN * reach[len(reach) // 4]:
        return alt.Scale(type="symlog", constant=reach[len(reach) // 4])
    return alt.Scale(type="linear", zero=with_zero)


def _legend() -> alt.Legend:
    return alt.Legend(orient="top", labelLimit=260, columns=2)


def _data(rows: Sequence[Row]) -> Any:
    return alt.Data(values=list(rows))  # type: ignore[no-untyped-call]
