"""A dashboard's panels in rows, words and charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import altair as alt

from console.monitoring_boards import Panel, fill_in, legend_of
from console.monitoring_prometheus import MOST_SERIES, Prometheus, PrometheusError, Series, Span
from console.monitoring_units import axis_of, say
from console.showing import Drawing

BODY_HEIGHT, LEGEND_HEIGHT = 210, 18
LONG_LEGEND = 26
STALE_SECONDS = 900.0
"""Points are further apart where much time is shown."""
COLORS = {"orange": "#d97706", "red": "#dc2626"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What Prometheus said of one panel."""

    panel: Panel
    series: tuple[tuple[str, Series], ...] = ()
    """By legend."""
    end: float = 0.0
    """Of the time that was asked for, in Unix seconds."""
    trouble: str = ""
    """Why there is nothing, if it refused."""


async def find_panel(
    prometheus: Prometheus, panel: Panel, chosen: Mapping[str, str], span: Span
) -> Found:
    """Ask for all that a panel shows.

    Args:
        prometheus: Whom.
        panel: Which one.
        chosen: By variable.
        span: Which time.
    """
    found: list[tuple[str, Series]] = []
    try:
        for query, legend in panel.targets:
            asked = fill_in(query, chosen)
            if panel.is_stat:
                series = await prometheus.now(asked, span.end)
            else:
                series = await prometheus.over_time(asked, span)
            found += [(legend_of(legend, one.labels), one) for one in series if one.points]
    except PrometheusError as error:
        return Found(panel=panel, trouble=str(error))
    return Found(panel=panel, series=told_apart(found), end=span.end)


def told_apart(found: Sequence[tuple[str, Series]]) -> tuple[tuple[str, Series], ...]:
    """Return series by legends that no two share: where they do, what tells them apart is added.

    Args:
        found: By legend.
    """
    alike: dict[str, list[Series]] = {}
    for legend, one in found:
        alike.setdefault(legend, []).append(one)
    return tuple((f"{legend} {_own(one, alike[legend])}".strip(), one) for legend, one in found)


def _own(one: Series, alike: Sequence[Series]) -> str:
    return " ".join(
        value
        for name, value in one.labels.items()
        if any(other.labels.get(name) != value for other in alike)
    )


def rows_of(found: Found) -> list[dict[str, Any]]:
    """Return the points of a panel as rows.

    Args:
        found: What Prometheus said.
    """
    _, factor = axis_of(found.panel.unit)
    return [
        {
            "at": datetime.fromtimestamp(at, UTC).isoformat(),
            "series": legend,
            "value": value * factor,
        }
        for legend, series in found.series[:MOST_SERIES]
        for at, value in series.points
    ]


def words_of(found: Found) -> str:
    """Say what a panel shows now.

    Args:
        found: What Prometheus said, something.
    """
    unit = found.panel.unit
    newest = max(series.points[-1][0] for _, series in found.series)
    last = {
        legend: series.points[-1][1]
        for legend, series in found.series
        if series.points[-1][0] == newest
    }
    when = "Now" if newest >= found.end - STALE_SECONDS else f"Until {_clock_time(newest)} UTC"
    said = ", ".join(f"{legend}: {say(value, unit)}" for legend, value in list(last.items())[:4])
    rest = [
        (len(last) - 4, "more"),
        (len(found.series) - len(last), "that ended before"),
        (len(found.series) - MOST_SERIES, "that are not drawn"),
    ]
    more = "".join(f" and {count} {what}" for count, what in rest if count > 0)
    return f"{found.panel.about} {when} {said}{more}.{_reached(found.panel, last.values())}"


def _clock_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _reached(panel: Panel, values: Any) -> str:
    largest = max(values, default=-math.inf)
    reached = [one for one in panel.thresholds if largest >= one.value]
    if not reached:
        return ""
    worst = max(reached, key=lambda one: one.value)
    return f" The {worst.color} mark at {say(worst.value, panel.unit)} is reached."


def mark_of(panel: Panel, value: float) -> str:
    """Return the colour of a value, `green` below all marks.

    Args:
        panel: Whose marks.
        value: As Prometheus has it.
    """
    reached = [one for one in panel.thresholds if value >= one.value]
    return max(reached, key=lambda one: one.value).color if reached else "green"


def draw(found: Found, rows: Sequence[Mapping[str, Any]]) -> Drawing:
    """Draw a panel over time, with its marks where they come into sight.

    Args:
        found: What Prometheus said.
        rows: Its points.
    """
    title, factor = axis_of(found.panel.unit)
    legends = [legend for legend, _ in found.series[:MOST_SERIES]]
    columns = 1 if any(len(one) > LONG_LEGEND for one in legends) else 2
    lines = (
        alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))
        .mark_line(interpolate="monotone", point=len(rows) < 2)
        .encode(
            x=alt.X("at:T", title=None, axis=alt.Axis(labelOverlap=True)),
            y=alt.Y("value:Q", title=title or None, axis=alt.Axis(tickCount=5), scale=_scale(rows)),
            color=alt.Color(
                "series:N",
                title=None,
                legend=alt.Legend(orient="bottom", labelLimit=420, columns=columns),
            ),
            tooltip=["at:T", "series:N", alt.Tooltip("value:Q", format=".4~g")],
        )
    )
    top = max(float(row["value"]) for row in rows)
    marks = [
        {"value": one.value * factor, "color": COLORS.get(one.color, one.color)}
        for one in found.panel.thresholds
        if one.value * factor <= max(top * 2, 1e-9)
    ]
    rules = (
        alt.Chart(alt.InlineData(values=marks))
        .mark_rule(strokeDash=[6, 4], strokeWidth=1.5)
        .encode(y="value:Q", color=alt.Color("color:N", scale=None))
    )
    layers = alt.layer(lines, rules) if marks else alt.layer(lines)
    height = BODY_HEIGHT + LEGEND_HEIGHT * math.ceil(len(legends) / columns)
    drawn: Drawing = layers.resolve_scale(color="independent").properties(height=height)
    return drawn


def _scale(rows: Sequence[Mapping[str, Any]]) -> alt.Scale:
    """Begin at zero unless all is far from it, and give a line at zero some air."""
    low, high = (pick(float(row["value"]) for row in rows) for pick in (min, max))
    if low == high == 0:
        return alt.Scale(domain=[0, 1])
    return alt.Scale(domainMin=0) if 0 <= low < high / 2 else alt.Scale(zero=False)
