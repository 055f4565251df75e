"""What an episode of any world looks like so far: lines of text, or a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from rl.environments.base_environment import Chart, StepRecord
from utils.errors import ConfigError

RENDER_MODES = ("ansi", "rgb_array")
MOST_PANELS = 8
"""Of a world that names no charts; the rest of its metrics is left out of the picture."""
BARS = "▁▂▃▄▅▆▇█"
BARS_SHOWN = 32
PANEL_INCHES = (4.8, 1.9)
DOTS_PER_INCH = 100
PLAYER_COLORS = ("#9a9a9a", "#0067b1", "#d55e00", "#2a9d5c")
LINE_STYLES = ("-", "--", ":", "-.")
LINE_WIDTH_SHARE = 0.005
"""Of the range of a series: what lies nearer together is drawn as one line."""
HIDDEN = 30.0
"""Where the largest series is so many times the smallest, the axis becomes logarithmic."""
FLAT = 1e-5
"""Of the largest value: changes smaller than this are rounding."""
LEGEND_ROOM = 0.25
"""Of the height of a panel."""
LONG_EPISODE, POINTS = 400, 100
"""Of longer episodes about so many means over time are drawn, or nothing could be seen."""
FEW_STEPS = 40
"""Up to so many, every step is marked: a line alone would not show where they are."""


def check_render_mode(mode: str | None) -> None:
    """Refuse a way of drawing that does not exist.

    Args:
        mode: None draws nothing.

    Raises:
        ConfigError: The mode is unknown.
    """
    if mode is not None and mode not in RENDER_MODES:
        raise ConfigError(f"render_mode {mode!r}; known: None, {', '.join(RENDER_MODES)}")


class EpisodeHistory:
    """The figures of every step of one copy's episode, and their charts.

    A figure that a world tells later than others is zero before.
    """

    def __init__(self, charts: Sequence[Chart], copy: int = 0) -> None:
        """Begin with nothing.

        Args:
            charts: What belongs together; none gives each metric a chart of its own.
            copy: Whose figures.
        """
        self._charts, self._copy = tuple(charts), copy
        self.begin()

    def begin(self) -> None:
        """Forget the episode before."""
        self._values: dict[str, list[float]] = {"reward": []}

    def add(self, record: StepRecord) -> None:
        """Keep the figures of a step.

        Args:
            record: As the environment returned it.
        """
        copy = self._copy
        figures = {"reward": record.reward[copy].sum()}
        figures |= {name: term[copy].sum() for name, term in record.reward_terms.items()}
        figures |= {name: value[copy] for name, value in record.metrics.items()}
        before = self.num_steps
        for name, value in figures.items():
            self._values.setdefault(name, [0.0] * before).append(float(value))

    @property
    def num_steps(self) -> int:
        """Steps kept."""
        return len(self._values["reward"])

    @property
    def charts(self) -> tuple[Chart, ...]:
        """The return so far, then what the world names, or its metrics one by one."""
        first = Chart(title="return so far", metrics=("return",))
        named = self._charts or tuple(
            Chart(title=name.replace("_", " "), metrics=(name,))
            for name in list(self._values)[1:MOST_PANELS]
        )
        return (first, *named)

    def series(self, name: str, *, is_sum: bool = False) -> NDArray[np.float64]:
        """Return one figure over the steps, `[time]`.

        Args:
            name: Of a metric or a reward term, `reward`, or `return`, its running sum.
            is_sum: Whether to return the running sum.

        Raises:
            ConfigError: The world has no such figure.
        """
        if name == "return":
            return self.series("reward", is_sum=True)
        if name not in self._values and len(self._values) > 1:
            raise ConfigError(f"no figure {name!r}; there are {', '.join(self._values)}")
        values = np.asarray(self._values.get(name, [0.0] * self.num_steps), np.float64)
        return np.cumsum(values) if is_sum else values


def render_text(history: EpisodeHistory) -> str:
    """Return the episode so far as text: newest value and a line of bars per figure.

    Args:
        history: The episode.
    """
    lines = [f"step {history.num_steps}"]
    for chart in history.charts:
        unit = f" [{chart.unit}]" if chart.unit else ""
        lines.append(f"{chart.title}{unit}")
        for name in chart.metrics:
            values = history.series(name, is_sum=chart.is_sum)
            newest = f"{values[-1]:14,.4g}" if len(values) else f"{'-':>14}"
            lines.append(f"  {name:24}{newest}  {_bars(values[-BARS_SHOWN:])}")
    return "\n".join(lines) + "\n"


def render_picture(history: EpisodeHistory, title: str) -> NDArray[np.uint8]:
    """Draw the episode so far.

    Args:
        history: The episode.
        title: Above the picture.

    Returns:
        `[height, width, 3]`: red, green, blue. The size depends on the charts only.
    """
    canvas = FigureCanvasAgg(draw_episodes({"": history}, title))
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return pixels[..., :3].copy()


def draw_episodes(histories: Mapping[str, EpisodeHistory], title: str) -> Figure:
    """Draw one or several episodes of a world over one another, such as agent and expert.

    Alone, a player's figures differ in colour. Of several players each has a colour, figures differ
    in the style of the line, and what is the same for all, such as demand, is drawn once in black.

    Args:
        histories: By who played, the most important last, for it is drawn over the others; the
            first one's charts are drawn.
        title: Above the picture.
    """
    charts = next(iter(histories.values())).charts
    rows = -(-len(charts) // 2)
    figure = Figure(
        figsize=(2 * PANEL_INCHES[0], rows * PANEL_INCHES[1] + 0.6),
        dpi=DOTS_PER_INCH,
        layout="constrained",
    )
    figure.suptitle(title, fontsize=12)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for panel, chart in zip(panels, charts, strict=False):
        for line in _lines(histories, chart):
            _draw_line(panel, line)
        _label(panel, chart)
    for panel in panels[len(charts) :]:
        panel.set_visible(False)
    width = max(_mean_over(history.num_steps) for history in histories.values())
    for panel in panels[max(len(charts) - 2, 0) : len(charts)]:
        panel.set_xlabel("step" if width == 1 else f"step (means of {width})", fontsize=9)
    if len(histories) > 1:
        players = [
            Line2D([], [], color=color, linewidth=2.5, label=who)
            for who, color in zip(histories, PLAYER_COLORS, strict=False)
        ]
        figure.legend(handles=players, loc="outside lower center", ncols=len(players), fontsize=10)
    return figure


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One series of a panel."""

    values: NDArray[np.float64]
    color: str
    style: str
    label: str


def _lines(histories: Mapping[str, EpisodeHistory], chart: Chart) -> list[_Line]:
    """Return what is drawn in a panel, figure by figure in the legend, player over player."""
    lines = []
    for number, name in enumerate(chart.metrics):
        players = [history.series(name, is_sum=chart.is_sum) for history in histories.values()]
        style, label = LINE_STYLES[number % len(LINE_STYLES)], name.replace("_", " ")
        if len(players) == 1:
            lines.append(_Line(values=players[0], color=f"C{number}", style="-", label=label))
        elif _look_alike(players):
            lines.append(_Line(values=players[0], color="black", style=style, label=label))
        else:
            lines += [
                _Line(values=one, color=color, style=style, label=label)
                for one, color in zip(players, PLAYER_COLORS, strict=False)
            ]
    return lines


def _look_alike(players: Sequence[NDArray[np.float64]]) -> bool:
    """Whether the series could not be told apart, nearer than half the width of a line."""
    first = players[0]
    if any(len(one) != len(first) for one in players):
        return False
    apart = max((np.abs(one - first).max(initial=0.0) for one in players), default=0.0)
    return bool(apart <= LINE_WIDTH_SHARE * np.ptp(first))


def _draw_line(panel: Axes, line: _Line) -> None:
    width = _mean_over(len(line.values))
    starts = np.arange(0, len(line.values), width)
    ends = np.minimum(starts + width, len(line.values))
    sizes = ends - starts
    panel.plot(
        ends,
        np.add.reduceat(line.values, starts) / sizes if len(starts) else line.values,
        line.style,
        marker="o" if len(starts) <= FEW_STEPS else "",
        markersize=3,
        color=line.color,
        linewidth=1.3,
        label=line.label,
    )


def _mean_over(steps: int) -> int:
    return 1 if steps <= LONG_EPISODE else -(-steps // POINTS)


def _label(panel: Axes, chart: Chart) -> None:
    panel.set_title(chart.title, fontsize=10)
    panel.set_ylabel(chart.unit, fontsize=9)
    panel.tick_params(labelsize=8)
    least = _scale(panel)
    panel.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "" if 0 < abs(value) < least else _write(value))
    )
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(visible=True, color="0.92", linewidth=0.8)
    panel.set_axisbelow(True)
    if len(chart.metrics) > 1:
        named = {line.get_label(): line for line in panel.lines}
        keys = [
            Line2D([], [], color=line.get_color(), linestyle=line.get_linestyle(), label=label)
            for label, line in named.items()
        ]
        low, high = panel.get_ylim()
        panel.set_ylim(low, high + LEGEND_ROOM * (high - low))
        panel.legend(handles=keys, fontsize=8, frameon=False, loc="upper left", ncols=len(keys))


def _scale(panel: Axes) -> float:
    """Choose the vertical axis: room around what is flat, logarithms where one hides another.

    Returns:
        What is next to zero on a logarithmic axis, else zero.
    """
    lines = [np.asarray(line.get_ydata(), np.float64) for line in panel.lines]
    if not any(len(one) for one in lines):
        return 0.0
    values = np.concatenate(lines)
    reach = [float(np.abs(one).max(initial=0.0)) for one in lines]
    if np.ptp(values) <= FLAT * max(reach):
        room = max(0.1 * abs(float(values[0])), float(not any(reach)))
        panel.set_ylim(values.min() - room, values.max() + room)
    smallest = min((one for one in reach if one > FLAT * max(reach)), default=0.0)
    if max(reach) <= HIDDEN * smallest or not smallest:
        return 0.0
    least = float(10.0 ** np.floor(np.log10(smallest)))
    panel.set_yscale("symlog", linthresh=least)
    panel.set_title(f"{panel.get_title()} (log scale)", fontsize=10)
    return least


def _write(value: float) -> str:
    return f"{value / 1e6:,.6g} M" if abs(value) >= 1e6 else f"{value:,.6g}"


def _bars(values: NDArray[np.float64]) -> str:
    if not len(values):
        return ""
    low, span = values.min(), np.ptp(values)
    flat = span <= 1e-6 * np.abs(values).max()
    level = np.zeros(len(values)) if flat else (values - low) / span * (len(BARS) - 1)
    return "".join(BARS[round(one)] for one in level.tolist())
