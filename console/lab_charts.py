"""Drawings of an episode; the browser's theme gives their colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from console.lab_rows import Row
from orchestration.endpoints.session_play_routes import ArrayView

HEIGHT = 330
SMALL = 240
FEW = 40


def draw_returns(rows: Sequence[Row]) -> alt.Chart:
    """Draw the return so far of each player.

    Args:
        rows: With `step`, `who` and `return`.
    """
    return _lines(rows, value="return", kind="who", title="return so far", height=HEIGHT)


def draw_terms(rows: Sequence[Row]) -> alt.Chart:
    """Stack the terms of the reward by step.

    Args:
        rows: With `step`, `term` and `reward`.
    """
    drawn: alt.Chart = (
        alt.Chart(_data(rows))
        .mark_bar()
        .encode(
            x=alt.X("step:O", title="step", axis=alt.Axis(labelOverlap=True, labelAngle=0)),
            y=alt.Y("reward:Q", title="reward", stack="zero"),
            color=alt.Color(
                "term:N", title=None, legend=alt.Legend(orient="top", columns=2, labelLimit=260)
            ),
            tooltip=["step:Q", "term:N", alt.Tooltip("reward:Q", format=",.4g")],
        )
        .properties(height=HEIGHT)
    )
    return drawn


def draw_figures(rows: Sequence[Row], unit: str) -> alt.Chart:
    """Draw figures of the world over the steps.

    Args:
        rows: With `step`, `figure` and `value`.
        unit: Of all of them.
    """
    return _lines(rows, value="value", kind="figure", title=unit or "value", height=SMALL)


def draw_state(rows: Sequence[Row], array: ArrayView) -> alt.Chart:
    """Draw the numbers of an array: bars of one axis, a field of coloured squares of more.

    Args:
        rows: With `place`, `of` and `value`.
        array: Its shape decides.
    """
    chart = alt.Chart(_data(rows))
    drawn: alt.Chart
    place = alt.X("place:N", title=None, sort=None, axis=alt.Axis(labelAngle=0, labelOverlap=True))
    tooltip = ["place:N", "of:N", alt.Tooltip("value:Q", format=",.4g")]
    if len(array.shape) <= 1 or array.shape[1:] == [1]:
        drawn = (
            chart.mark_bar()
            .encode(x=place, y=alt.Y("value:Q", title=None), tooltip=tooltip)
            .properties(height=SMALL)
        )
        return drawn
    drawn = (
        chart.mark_rect()
        .encode(
            x=place,
            y=alt.Y("of:N", title=None, sort=None, axis=alt.Axis(labelOverlap=True)),
            color=alt.Color("value:Q", title=None, scale=alt.Scale(scheme="viridis")),
            tooltip=tooltip,
        )
        .properties(height=SMALL)
    )
    return drawn


def _lines(rows: Sequence[Row], *, value: str, kind: str, title: str, height: int) -> alt.Chart:
    steps = max((row["step"] for row in rows), default=0)
    drawn: alt.Chart = (
        alt.Chart(_data(rows))
        .mark_line(point=steps <= FEW)
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(format="d", tickMinStep=1)),
            y=alt.Y(f"{value}:Q", title=title, scale=alt.Scale(zero=False)),
            color=alt.Color(
                f"{kind}:N",
                title=None,
                sort=None,
                legend=alt.Legend(orient="top", columns=2, labelLimit=260),
            ),
            strokeDash=alt.StrokeDash(f"{kind}:N", sort=None, legend=None),
            tooltip=["step:Q", f"{kind}:N", alt.Tooltip(f"{value}:Q", format=",.4g")],
        )
        .properties(height=height)
    )
    return drawn


def _data(rows: Sequence[Row]) -> Any:
    return alt.Data(values=list(rows))  # type: ignore[no-untyped-call]
