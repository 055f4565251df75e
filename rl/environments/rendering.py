"""What an episode of any world looks like so far: lines of text, or a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
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
    """The figures of every step of one copy's episode, and their charts."""

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
        for name, value in figures.items():
            self._values.setdefault(name, []).append(float(value))

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

    def series(self, name: str) -> NDArray[np.float64]:
        """Return one figure over the steps, `[time]`.

        Args:
            name: Of a metric or a reward term, `reward`, or `return`, its running sum.

        Raises:
            ConfigError: The world has no such figure.
        """
        if name == "return":
            return np.cumsum(self._values["reward"])
        if name not in self._values and self.num_steps:
            raise ConfigError(f"no figure {name!r}; there are {', '.join(self._values)}")
        return np.asarray(self._values.get(name, []))


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
            values = history.series(name)
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

    Args:
        histories: By who played; the first one's charts are drawn.
        title: Above the picture.
    """
    charts = next(iter(histories.values())).charts
    rows = -(-len(charts) // 2)
    figure = Figure(
        figsize=(2 * PANEL_INCHES[0], rows * PANEL_INCHES[1] + 0.4),
        dpi=DOTS_PER_INCH,
        layout="constrained",
    )
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    styles = ("-", "--", ":", "-.")
    for panel, chart in zip(panels, charts, strict=False):
        for number, (who, history) in enumerate(histories.items()):
            for color, name in enumerate(chart.metrics):
                values = history.series(name)
                panel.plot(
                    np.arange(1, len(values) + 1),
                    values,
                    styles[number % len(styles)],
                    color=f"C{color}",
                    linewidth=1.2,
                    label=" ".join(filter(None, (who, name.replace("_", " ")))),
                )
        panel.set_title(chart.title, fontsize=9)
        panel.set_ylabel(chart.unit, fontsize=8)
        panel.tick_params(labelsize=7)
        if len(chart.metrics) * len(histories) > 1:
            panel.legend(fontsize=7, frameon=False)
    for panel in panels[len(charts) :]:
        panel.set_visible(False)
    for panel in panels[max(len(charts) - 2, 0) : len(charts)]:
        panel.set_xlabel("step", fontsize=8)
    return figure


def _bars(values: NDArray[np.float64]) -> str:
    if not len(values):
        return ""
    low, span = values.min(), np.ptp(values)
    flat = span <= 1e-6 * np.abs(values).max()
    level = np.zeros(len(values)) if flat else (values - low) / span * (len(BARS) - 1)
    return "".join(BARS[round(one)] for one in level.tolist())
