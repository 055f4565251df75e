"""Where the parts of a chart lie: pure geometry; the page's template draws it.

Everything is in the units of a view box, which a browser scales to the width it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rl.evaluation.run_report import Chart, Curve, Kind, Stage

WIDTH: Final = 640
HEIGHT: Final = 300
LEFT, RIGHT, TOP, BOTTOM = 88, 14, 12, 44
NUM_TICKS: Final = 5
NUM_COLORS: Final = 6


VIEW: Final = {
    "width": WIDTH,
    "height": HEIGHT,
    "left": LEFT,
    "right": WIDTH - RIGHT,
    "bottom": HEIGHT - BOTTOM,
}
"""What the template knows of the view box."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    label: str


@dataclass(frozen=True, kw_only=True)
class DrawnCurve:
    """A curve in the view box."""

    name: str
    color: int
    """Index into the page's colours and dashes."""
    line: str
    """An SVG path."""
    band: str
    """An SVG path; empty without an interval."""
    points: tuple[tuple[float, float, str], ...]
    """Place and text of each point, if they are few enough to be marked."""
    last: str
    """The newest value, for the legend."""


@dataclass(frozen=True, kw_only=True)
class DrawnLevel:
    """A horizontal line in the view box."""

    name: str
    kind: Kind
    place: float
    value: str


@dataclass(frozen=True, kw_only=True)
class DrawnChart:
    """All that a template needs to draw a chart."""

    chart: Chart
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    curves: tuple[DrawnCurve, ...]
    levels: tuple[DrawnLevel, ...]
    alt: str


@dataclass(frozen=True, kw_only=True)
class DrawnStage:
    """A stretch of the timeline, in percent of its width; 0 if nothing was trained in it."""

    number: int
    name: str
    color: int
    width: float
    first: str
    last: str


MOST_MARKED_POINTS: Final = 40


def lay_out(chart: Chart) -> DrawnChart | None:
    """Place the parts of a chart; None if it has no point.

    Args:
        chart: What to draw.
    """
    curves = [curve for curve in chart.curves if any(value is not None for value in curve.mean)]
    if not curves:
        return None
    x_low = min(curve.env_steps[0] for curve in curves)
    x_high = max(curve.env_steps[-1] for curve in curves)
    x_axis = _Axis(x_low, x_high if x_high > x_low else x_low + 1, LEFT, WIDTH - RIGHT)
    values = [value for curve in curves for value in _values(curve)]
    values += [level.value for level in chart.levels]
    y_axis = _Axis(*_padded(min(values), max(values)), HEIGHT - BOTTOM, TOP)
    return DrawnChart(
        chart=chart,
        x_ticks=x_axis.ticks(),
        y_ticks=y_axis.ticks(),
        curves=tuple(_draw(c, i, x_axis, y_axis) for i, c in enumerate(curves)),
        levels=tuple(
            DrawnLevel(
                name=level.name,
                kind=level.kind,
                place=y_axis.place(level.value),
                value=format_number(level.value),
            )
            for level in chart.levels
        ),
        alt=_alt(chart, curves),
    )


def lay_out_stages(stages: Sequence[Stage], end: int) -> tuple[DrawnStage, ...]:
    """Place stages on a line; the same name has the same colour when it returns.

    Args:
        stages: In order.
        end: Environment steps at the end of the line.
    """
    if not stages:
        return ()
    names = list(dict.fromkeys(stage.name for stage in stages))
    first = stages[0].env_steps
    span = max(end, stages[-1].env_steps) - first
    edges = [*(stage.env_steps for stage in stages), max(end, stages[-1].env_steps)]
    return tuple(
        DrawnStage(
            number=place + 1,
            name=stage.name,
            color=names.index(stage.name) % NUM_COLORS,
            width=100 * (edges[place + 1] - edges[place]) / span if span else 0.0,
            first=f"{edges[place]:,}",
            last=f"{edges[place + 1]:,}",
        )
        for place, stage in enumerate(stages)
    )


def format_number(value: float) -> str:
    """Write a number as people read it: four significant digits, thousands apart.

    Args:
        value: Finite.
    """
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        return f"{value:.3g}"
    decimals = 0 if size >= 1000 else max(0, 3 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True)
class _Axis:
    """From values to places; `end` may be above `begin` on a screen, where y grows downwards."""

    low: float
    high: float
    begin: float
    end: float

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)

    def ticks(self) -> tuple[Tick, ...]:
        step = _round_step((self.high - self.low) / NUM_TICKS)
        largest = max(abs(self.low), abs(self.high))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return tuple(
            Tick(place=self.place(number * step), label=_tick_label(number * step, step, largest))
            for number in range(first, last + 1)
        )


def _values(curve: Curve) -> list[float]:
    known = [value for value in curve.mean if value is not None]
    return [*known, *(curve.low or ()), *(curve.high or ())]


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) if high > low else max(abs(low) * 0.1, 1e-9)
    return low - margin, high + margin


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(size * digit for digit in (1, 2, 5, 10) if size * digit >= rough * (1 - 1e-9))


def _tick_label(value: float, step: float, largest: float) -> str:
    if abs(value) < step / 2:
        return "0"
    if largest >= 1e7 or step < 1e-4:
        return f"{value:.4g}" if step < 1e-4 else f"{value / 1e6:,.10g}M"
    if largest >= 1e4:
        return f"{value / 1e3:,.10g}k"
    return f"{value:,.{max(0, -math.floor(math.log10(step)))}f}"


def _draw(curve: Curve, index: int, x_axis: _Axis, y_axis: _Axis) -> DrawnCurve:
    xs = [x_axis.place(step) for step in curve.env_steps]
    known = [
        (x, y_axis.place(value), f"{format_number(value)} at {step:,} steps")
        for x, value, step in zip(xs, curve.mean, curve.env_steps, strict=True)
        if value is not None
    ]
    band = ""
    if curve.low is not None and curve.high is not None:
        upper = [f"{x},{y_axis.place(v)}" for x, v in zip(xs, curve.high, strict=True)]
        lower = [f"{x},{y_axis.place(v)}" for x, v in zip(xs, curve.low, strict=True)]
        band = "M" + "L".join([*upper, *reversed(lower)]) + "Z"
    newest = next(value for value in reversed(curve.mean) if value is not None)
    return DrawnCurve(
        name=curve.name,
        color=index % NUM_COLORS,
        line=_path(xs, curve.mean, y_axis),
        band=band,
        points=tuple(known) if len(known) <= MOST_MARKED_POINTS else (),
        last=format_number(newest),
    )


def _path(xs: Sequence[float], values: Sequence[float | None], y_axis: _Axis) -> str:
    parts: list[str] = []
    is_drawing = False
    for x, value in zip(xs, values, strict=True):
        if value is not None:
            parts.append(f"{'L' if is_drawing else 'M'}{x},{y_axis.place(value)}")
        is_drawing = value is not None
    return "".join(parts)


def _alt(chart: Chart, curves: Sequence[Curve]) -> str:
    parts = []
    for curve in curves:
        known = [value for value in curve.mean if value is not None]
        parts.append(
            f"{curve.name} goes from {format_number(known[0])} at {curve.env_steps[0]:,} steps to "
            f"{format_number(known[-1])} at {curve.env_steps[-1]:,}"
        )
    parts += [f"{level.name} is at {format_number(level.value)}" for level in chart.levels]
    return f"{chart.title}: " + "; ".join(parts) + "."
