"""What one sees while a job runs: figures as they change on a terminal, lines elsewhere.

Everything shown is read from the database, so it does not matter which process carries the job.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from orchestration.cli.run_view import View, describe, draw
from orchestration.jobs import Job
from utils.clock import Clock
from utils.persistence.run_queries import RunDetails

if TYPE_CHECKING:
    from types import TracebackType

    from orchestration.orchestrator import Orchestrator

POLL_SECONDS = 0.5
SPEED_SECONDS = 10.0
LINE_SECONDS = 5.0
CURVES = (
    ("return", ("return",), 1),
    ("loss", ("policy_loss", "actor_loss", "td_loss"), 1),
    ("entropy", ("entropy_loss",), -1),  # reported as a loss
    ("entropy", ("entropy",), 1),
    ("KL", ("kl_divergence",), 1),
    ("gradient", ("gradient_norm",), 1),
)
"""What is drawn, the metrics that it may be found under, and its sign there."""


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
        heading: RenderableType = Text(view.stage, style="dim")
        if not view.is_still:  # it turns, so that one sees life where there are no figures yet
            self._spinner.update(text=Text(view.stage, style="dim"))
            heading = self._spinner
        self._live.update(draw(view, heading, width=self._live.console.width))


class LineDisplay:
    """A line whenever something happened, and every few seconds while figures change."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._next = 0.0
        self._told: tuple[object, ...] = ()
        self._line = ""

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
        line = describe(view)
        if line == self._line:
            return
        self._told, self._next, self._line = news, now + LINE_SECONDS, line
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def make_display(console: Console, clock: Clock) -> LiveDisplay | LineDisplay:
    """Return the display that suits where one prints.

    Args:
        console: Where.
        clock: Paces the lines.
    """
    return LiveDisplay(console) if console.is_terminal else LineDisplay(console, clock)


async def watch(
    orchestrator: Orchestrator,
    job_id: str,
    display: Display,
    clock: Clock,
    *,
    ends_at_pause: bool = True,
) -> Job:
    """Show a job until nothing can happen to it any more.

    Args:
        orchestrator: Knows the job.
        job_id: Which job.
        display: Where to show it.
        clock: Paces the looking.
        ends_at_pause: Whether a job that is paused has been looked at for long enough.
    """
    speed, curves = Speedometer(clock), _Curves(orchestrator)
    while True:
        job = await orchestrator.job(job_id)
        run = await orchestrator.run_of(job_id)
        steps = max(job.progress_done or 0, run.summary.env_steps if run else 0)
        total = (run.summary.total_env_steps if run else job.progress_total) or 0
        view = View(
            job=job,
            run=run,
            curves=await curves.read(run) if run else {},
            env_steps=min(steps, total),
            total_env_steps=total,
            steps_per_second=speed.measure(min(steps, total)),
        )
        display.show(view)
        if job.state.is_terminal or (ends_at_pause and view.is_still):
            return job
        await clock.sleep(POLL_SECONDS)


class _Curves:
    """Curves of one run, read again when they have grown."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._newest: Mapping[str, int] = {}
        self._read: dict[str, list[float]] = {}

    async def read(self, run: RunDetails) -> Mapping[str, list[float]]:
        newest = {name: point.step for name, point in run.latest.items()}
        if newest != self._newest:
            self._newest, self._read = newest, {}
            for name, metrics, sign in CURVES:
                for metric in [one for one in metrics if one in newest][:1]:
                    points = await self._orchestrator.curve(run.summary.id, metric)
                    known = [sign * point.value for point in points if point.value is not None]
                    self._read |= {name: known} if known else {}
        return self._read


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
