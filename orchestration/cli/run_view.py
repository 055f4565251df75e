"""A job at one moment, as a few lines of a terminal or as one line of text."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestration.jobs import Job, JobState
from utils.persistence.run_queries import Evaluation, RunDetails

LARGE = 1000.0
"""From here on a score needs no decimals."""
SPARKS = "▁▂▃▄▅▆▇█"
WIDEST, NARROWEST = 40, 4
"""Of bars and curves, in characters."""
BESIDE_CURVE = 24
"""Characters of a line that a curve cannot have."""
BESIDE_BAR = 60
WAITING = {
    JobState.QUEUED: "waits for a free worker",
    JobState.RETRY_WAIT: "waits to be tried again",
    JobState.LEASED: "starts its process",
    JobState.CANCELLING: "is being cancelled",
    JobState.PAUSED: "is paused",
}


@dataclass(frozen=True, kw_only=True)
class View:
    """A job at one moment."""

    job: Job
    run: RunDetails | None
    curves: Mapping[str, Sequence[float]]
    """By name, such as `return`, `loss` or `KL`; so far, thinned, none of them empty."""
    env_steps: int
    total_env_steps: int
    steps_per_second: float | None

    @property
    def stage(self) -> str:
        """What happens now, in a few words."""
        job = self.job
        if job.state is JobState.RUNNING:
            return self._running()
        if job.finished_at is not None and job.started_at is not None:
            return f"{job.state.value} after {job.finished_at - job.started_at}".split(".")[0]
        return WAITING.get(job.state, job.state.value)

    @property
    def is_still(self) -> bool:
        """Whether nothing moves until somebody does something."""
        return self.job.state.is_terminal or self.job.state is JobState.PAUSED

    @property
    def fraction(self) -> float:
        """Share of the training that is done."""
        return self.env_steps / self.total_env_steps if self.total_env_steps else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time to the end of training at the present speed, if that is known."""
        if not self.steps_per_second:
            return None
        return (self.total_env_steps - self.env_steps) / self.steps_per_second

    @property
    def evaluation(self) -> Evaluation | None:
        """The newest one."""
        return self.run.evaluations[-1] if self.run and self.run.evaluations else None

    @property
    def scores(self) -> list[float]:
        """Of all evaluations, oldest first; those that are finite."""
        found = [one.scores.get("kpi") for one in self.run.evaluations] if self.run else []
        return [one for one in found if one is not None]

    def _running(self) -> str:
        if self.run is None:
            return "starting"
        words = self.run.summary.stage or "starting"
        numbers = [self.run.latest.get(f"curriculum/{name}") for name in ("stage", "stages")]
        known = [f"{one.value:.0f}" for one in numbers if one is not None and one.value is not None]
        return f"{words} (stage {known[0]} of {known[1]})" if len(known) == len(numbers) else words


def draw(view: View, heading: RenderableType, *, width: int) -> RenderableType:
    """Draw a view for a terminal.

    Args:
        view: To be drawn.
        heading: Goes above.
        width: Of the terminal, in characters.
    """
    steps = f"{view.env_steps:,} / {view.total_env_steps:,} steps"
    share = Text(f"{view.fraction:.0%}", style="bold")
    is_narrow = width < BESIDE_BAR + 2 * NARROWEST
    room = width if is_narrow else width - BESIDE_BAR
    bar = ProgressBar(total=1.0, completed=view.fraction, width=max(1, min(WIDEST, room)))
    beside = Text("  ").join([share, Text(steps), *([Text(_speed(view))] if _speed(view) else [])])
    progress = Table.grid(padding=(0, 2))
    for row in ([bar], [beside]) if is_narrow else ([bar, beside],):
        progress.add_row(*row)
    return Group(heading, progress, _figures(view, width))


def describe(view: View) -> str:
    """Describe a view in one line.

    Args:
        view: To be described.
    """
    parts = [view.stage, f"{view.fraction:.0%}", f"{view.env_steps:,} steps"]
    if _speed(view):
        parts.append(_speed(view))
    parts += [f"{name} {figure(values[-1])}" for name, values in view.curves.items()]
    if view.evaluation is not None:
        parts.append(f"evaluation {score_line(view.evaluation)}")
    if view.job.error and not view.job.state.is_terminal:
        parts.append(f"trouble: {view.job.error.splitlines()[0]}")
    return "  ".join(parts)


def figure(value: float | None) -> str:
    """Write a score of any size so that its changes can be seen.

    Args:
        value: Finite; None stands for what was not.
    """
    if value is None:
        return "not finite"
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:.4g}"


def score_line(evaluation: Evaluation) -> str:
    """Write an evaluation beside expert and bound.

    Args:
        evaluation: With scores as training reports them.
    """
    scores = evaluation.scores
    told = [name for name in ("expert", "bound") if scores.get(name) is not None]
    known = [figure(scores.get("kpi"))]
    known += [f"{name} {figure(scores[name])}" for name in told]
    if scores.get("gap_closed") is not None:
        known.append(f"gap closed {scores['gap_closed']:.0%}")
    return "  ".join(known)


def spark(values: Sequence[float], width: int = WIDEST) -> str:
    """Draw a curve in one line of blocks.

    Args:
        values: From left to right; neighbours are averaged where there are more than fit.
        width: Blocks at most.
    """
    count = min(width, len(values))
    edges = [len(values) * place // count for place in range(count + 1)] if count else []
    shown = [fmean(values[start:end]) for start, end in itertools.pairwise(edges)]
    low, high = (min(shown), max(shown)) if shown else (0.0, 0.0)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARKS[round((value - low) * scale)] for value in shown)


def _figures(view: View, width: int) -> Table:
    room = max(NARROWEST, min(WIDEST, width - BESIDE_CURVE))
    table = Table.grid(padding=(0, 2))
    for name, values in view.curves.items():
        trend = Text(spark(values, room), style="cyan")
        table.add_row(name, Text(figure(values[-1]), style="bold"), trend)
    if view.evaluation is not None:
        scores = view.evaluation.scores
        score, expert = scores.get("kpi"), scores.get("expert")
        ahead = score is not None and expert is not None and score > expert
        kpi = Text(figure(score), style="bold green" if ahead else "bold")
        rest = score_line(view.evaluation).partition("  ")[2]
        where = f"{rest}  (validation, at {view.evaluation.env_steps:,} steps)".strip()
        table.add_row("evaluation", kpi, Text(spark(view.scores, room), style="cyan"))
        table.add_row("", "", Text(where, style="dim"))
    if view.job.error and not view.job.state.is_terminal:
        table.add_row("trouble", "", Text(view.job.error.splitlines()[0], style="yellow"))
    return table


def _speed(view: View) -> str:
    if view.job.state is not JobState.RUNNING or view.fraction >= 1 or view.seconds_left is None:
        return ""
    left = timedelta(seconds=round(view.seconds_left))
    return f"{view.steps_per_second:,.0f} steps/s  {left} left"
