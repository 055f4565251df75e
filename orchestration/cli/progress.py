"""What one sees while a job runs: figures as they change on a terminal, lines elsewhere.

Everything shown is read from the database, so it does not matter which process carries the job.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from orchestration.jobs import Job, JobState
from utils.clock import Clock
from utils.persistence.run_queries import Evaluation, RunDetails

if TYPE_CHECKING:
    from types import TracebackType

    from orchestration.orchestrator import Orchestrator

POLL_SECONDS = 0.5
SPEED_SECONDS = 10.0
LINE_SECONDS = 5.0
LARGE = 1000.0
"""From here on a score needs no decimals."""
SPARKS = "▁▂▃▄▅▆▇█"
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
    returns: Sequence[float]
    """The curve so far, thinned."""
    env_steps: int
    total_env_steps: int
    steps_per_second: float | None

    @property
    def stage(self) -> str:
        """What happens now, in a few words."""
        job = self.job
        if job.state is JobState.RUNNING:
            return (self.run.summary.stage if self.run else None) or "starting"
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


class Display(Protocol):
    """Shows views."""

    def show(self, view: View) -> None:
        """Show the newest view.

        Args:
            view: To be shown.
        """
        ...


class LiveDisplay:
    """A few lines of a terminal that change in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8)
        self._spinner = Spinner("dots", style="cyan")

    def __enter__(self) -> Self:
        """Take the lines."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave them as they are."""
        self._live.stop()

    def show(self, view: View) -> None:
        """Show the newest view.

        Args:
            view: To be shown.
        """
        if view.is_still:
            self._live.update(draw(view, Text(view.stage, style="dim")))
        else:  # it turns, so that one sees life where there are no figures yet
            self._spinner.update(text=Text(view.stage, style="dim"))
            self._live.update(draw(view, self._spinner))


class LineDisplay:
    """A line whenever something happened, and every few seconds."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._next = 0.0
        self._told: tuple[object, ...] = ()

    def __enter__(self) -> Self:
        """Change nothing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Change nothing."""

    def show(self, view: View) -> None:
        """Print a line if it is time to.

        Args:
            view: To be shown.
        """
        now = self._clock.monotonic()
        steps = view.evaluation.env_steps if view.evaluation else None
        news = (view.stage, steps)
        if news == self._told and now < self._next:
            return
        self._told, self._next = news, now + LINE_SECONDS
        self._console.print(describe(view), markup=False, highlight=False, soft_wrap=True)


def make_display(console: Console, clock: Clock) -> LiveDisplay | LineDisplay:
    """Return the display that suits where one prints.

    Args:
        console: Where.
        clock: Paces the lines.
    """
    return LiveDisplay(console) if console.is_terminal else LineDisplay(console, clock)


async def watch(orchestrator: Orchestrator, job_id: str, display: Display, clock: Clock) -> Job:
    """Show a job until nothing can happen to it any more, or it is paused.

    Args:
        orchestrator: Knows the job.
        job_id: Which job.
        display: Where to show it.
        clock: Paces the looking.
    """
    speed = Speedometer(clock)
    while True:
        job = await orchestrator.job(job_id)
        run = await orchestrator.run_of(job_id)
        returns = await orchestrator.curve(run.summary.id, "return") if run else []
        steps = max(job.progress_done or 0, run.summary.env_steps if run else 0)
        total = (run.summary.total_env_steps if run else job.progress_total) or 0
        view = View(
            job=job,
            run=run,
            returns=[point.value for point in returns if point.value is not None],
            env_steps=min(steps, total),
            total_env_steps=total,
            steps_per_second=speed.measure(min(steps, total)),
        )
        display.show(view)
        if view.is_still:
            return job
        await clock.sleep(POLL_SECONDS)


class Speedometer:
    """Steps per second over the last seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def measure(self, steps: int) -> float | None:
        """Take note of a count and return the speed, or None while it is unknown.

        Args:
            steps: Never falls.
        """
        now = self._clock.monotonic()
        if not self._seen or steps > self._seen[-1][1]:
            self._seen.append((now, steps))
        while len(self._seen) > 2 and now - self._seen[0][0] > SPEED_SECONDS:
            self._seen.popleft()
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        # A resumed job begins with a leap from nothing to its checkpoint, which is no speed.
        if first == 0 and len(self._seen) > 1:
            self._seen.popleft()
            return None
        return (last - first) / (last_at - first_at) if last_at > first_at else None


def draw(view: View, heading: RenderableType) -> RenderableType:
    """Draw a view for a terminal.

    Args:
        view: To be drawn.
        heading: Goes above.
    """
    bar = Table.grid(padding=(0, 2))
    bar.add_row(
        ProgressBar(total=1.0, completed=view.fraction, width=40),
        Text(f"{view.fraction:.0%}", style="bold"),
        f"{view.env_steps:,} / {view.total_env_steps:,} steps",
        _speed(view),
    )
    figures = Table.grid(padding=(0, 2))
    if view.returns:
        trend = Text(spark(view.returns), style="cyan")
        figures.add_row("return", Text(figure(view.returns[-1]), style="bold"), trend)
    if view.evaluation is not None:
        figures.add_row("evaluation", *_scores(view.evaluation))
    if view.job.error and not view.job.state.is_terminal:
        figures.add_row("trouble", Text(view.job.error.splitlines()[0], style="yellow"))
    return Group(heading, bar, figures)


def describe(view: View) -> str:
    """Describe a view in one line.

    Args:
        view: To be described.
    """
    parts = [view.stage, f"{view.fraction:.0%}", f"{view.env_steps:,} steps"]
    if _speed(view):
        parts.append(_speed(view))
    if view.returns:
        parts.append(f"return {figure(view.returns[-1])}")
    if view.evaluation is not None:
        parts.append(f"evaluation {score_line(view.evaluation)}")
    return "  ".join(parts)


def figure(value: float) -> str:
    """Write a score of any size so that its changes can be seen.

    Args:
        value: Finite.
    """
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:.4g}"


def score_line(evaluation: Evaluation) -> str:
    """Write an evaluation beside expert and bound.

    Args:
        evaluation: With scores as training reports them.
    """
    scores = evaluation.scores
    known = [figure(scores["kpi"])]
    known += [f"{name} {figure(scores[name])}" for name in ("expert", "bound") if name in scores]
    if "gap_closed" in scores:
        known.append(f"gap closed {scores['gap_closed']:.0%}")
    return "  ".join(known)


def spark(values: Sequence[float], width: int = 40) -> str:
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


def _speed(view: View) -> str:
    if view.job.state is not JobState.RUNNING or view.fraction >= 1 or view.seconds_left is None:
        return ""
    left = timedelta(seconds=round(view.seconds_left))
    return f"{view.steps_per_second:,.0f} steps/s  {left} left"


def _scores(evaluation: Evaluation) -> tuple[Text, Text]:
    scores = evaluation.scores
    ahead = scores["kpi"] > scores.get("expert", float("inf"))
    kpi = Text(figure(scores["kpi"]), style="bold green" if ahead else "bold")
    rest = score_line(evaluation).partition("  ")[2]
    return kpi, Text(f"{rest}  (validation, at {evaluation.env_steps:,} steps)", style="dim")
