"""Looking on from a terminal: curves that fit, lines that tell news only, and an end with words."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from rich.console import Console
from rich.text import Text

from orchestration.care.engine_view import EngineView, EventView, LiveJob, WorkerView
from orchestration.cli import engine, progress, training
from orchestration.cli.run_view import describe, draw
from orchestration.events import Completed
from orchestration.jobs import Desired, JobState, Resources
from orchestration.retry import ErrorClass
from rl.training.training_config import TrainingConfig
from tests.orchestration.house import Hand
from tests.orchestration.test_cli import Shell
from utils.clock import ManualClock, SystemClock

pytestmark = pytest.mark.usefixtures("logs_as_before")

ROOT = Path(__file__).parents[2]
FIGURES = {"policy_loss": 0.5, "entropy_loss": -1.25, "kl_divergence": 0.01}
TOTAL = 128 * 72


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


class Steps(SystemClock):
    """A clock on which something happens at each sleep, until somebody presses Ctrl-C."""

    def __init__(self, *steps):
        self.steps = list(steps)

    async def sleep(self, seconds):
        if not self.steps:
            raise KeyboardInterrupt
        await self.steps.pop(0)()

    def __call__(self):
        return self


class Shown:
    def __init__(self):
        self.views = []

    def show(self, view):
        self.views.append(view)


async def tell(hand, job, step, **figures):
    async with hand.leases.fenced(job.id, job.fence) as connection:
        await hand.sink.metrics(connection, job, [(step, {"return": 10.0 + step, **figures})])


def watch_steps(shell, *acts, **options):
    """Watch a job while things are done to it; return what was shown, and how it ended."""

    async def work(application):
        job = await application.orchestrator.submit_training(TrainingConfig(total_episodes=128))
        hand, shown = Hand(application), Shown()
        state = {"job": job}

        def bound(act):
            async def do():
                await act(application, hand, state)

            return do

        clock = Steps(*map(bound, acts))
        try:
            ended = await progress.watch(application.orchestrator, job.id, shown, clock, **options)
        except KeyboardInterrupt:
            ended = await application.orchestrator.job(job.id)
        return shown.views, ended

    return shell.work(work)


async def begin(_application, hand, state):
    state["job"] = await hand.claim()


async def learn(_application, hand, state):
    for step in (720, 1440):
        await tell(hand, state["job"], step, **FIGURES)
    await hand.report(state["job"], 2160, value=12.0, kpi=90.0)
    await hand.report(state["job"], 4608, value=11.0, kpi=95.0)


async def finish(_application, hand, state):
    job = state["job"]
    async with hand.leases.fenced(job.id, job.fence) as connection:
        await hand.ledger.apply(connection, job.id, Completed(fence=job.fence, result={}))


def test_curves_are_read_by_whatever_name_they_have(shell):
    views, ended = watch_steps(shell, begin, learn, finish)
    assert ended.state is JobState.SUCCEEDED
    assert [view.stage for view in views[:2]] == ["waits for a free worker", "starting"]
    learned = views[2]
    assert learned.curves == {
        "return": [730.0, 1450.0, 12.0, 11.0],
        "loss": [0.5, 0.5],
        "entropy": [1.25, 1.25],
        "KL": [0.01, 0.01],
    }
    assert learned.scores == [90.0, 95.0]
    line = describe(learned)
    assert "50%  4,608 steps" in line
    assert "entropy 1.25  KL 0.01  evaluation 95  expert 80  bound 120  gap closed 38%" in line


def test_the_stage_of_a_curriculum_has_a_number(shell):
    async def climb(_application, hand, state):
        figures = {"curriculum/stage": 2.0, "curriculum/stages": 3.0}
        await tell(hand, state["job"], 720, **figures)
        event = {"env_steps": 720, "stage": "competitive"}
        async with hand.leases.fenced(state["job"].id, state["job"].fence) as connection:
            await hand.sink.event(connection, state["job"], "stage_changed", event)

    views, _ = watch_steps(shell, begin, climb)
    assert views[-1].stage == "competitive (stage 2 of 3)"


def test_a_score_that_is_not_finite_is_told_as_such(shell):
    async def diverge(_application, hand, state):
        await hand.report(state["job"], 6000, value=11.0, kpi=float("nan"))

    views, _ = watch_steps(shell, begin, learn, diverge)
    assert "evaluation not finite" in describe(views[-1])
    assert views[-1].scores == [90.0, 95.0]
    console = Console(file=StringIO(), width=80, color_system=None)
    console.print(draw(views[-1], Text("learning"), width=80))
    assert "not finite" in console.file.getvalue()


@pytest.mark.parametrize("width", [30, 40, 67, 68, 80, 120, 300])
def test_a_picture_fits_into_its_terminal(shell, width):
    views, _ = watch_steps(shell, begin, learn)
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(draw(views[-1], Text("learning"), width=width))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines), lines
    picture = " ".join(" ".join(lines).split())
    for part in ("return", "loss", "entropy", "KL", "evaluation", "50%", "4,608 / 9,216"):
        assert part in picture
    assert "▁█" in picture  # of the evaluations: 90, then 95
    if width >= 80:
        assert sum("━" in line and "50%" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("state", "code"), [("succeeded", 0), ("cancelled", 0), ("failed", 1), ("dead", 1),
                        ("timed_out", 1)]
)  # fmt: skip
def test_a_command_exits_as_its_job_ended(state, code):
    assert training.exit_code(SimpleNamespace(state=JobState(state))) == code


def test_a_pipe_gets_a_line_for_each_change_and_no_other(shell):
    views, _ = watch_steps(shell, begin, learn, finish)
    clock, out = ManualClock(), StringIO()
    display = progress.LineDisplay(Console(file=out, width=40), clock)
    for view in views:
        for _ in range(3):  # seen often, changed once
            display.show(view)
            clock.advance(progress.LINE_SECONDS + 1)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(views) == 4  # no line is folded, either
    assert lines[0].startswith("waits for a free worker")
    assert "evaluation 95" in lines[2]
    assert lines[3].startswith("succeeded after")


def test_a_paused_job_goes_on_being_watched_where_that_is_asked(shell):
    async def pause(application, _hand, state):
        await application.orchestrator.pause(state["job"].id)

    async def cancel(application, _hand, state):
        await application.orchestrator.cancel(state["job"].id)

    views, ended = watch_steps(shell, pause, cancel, ends_at_pause=False)
    assert [view.stage for view in views] == ["waits for a free worker", "is paused", "cancelled"]
    assert ended.state is JobState.CANCELLED
    _, ended = watch_steps(shell, pause, cancel)
    assert ended.state is JobState.PAUSED


def test_the_command_ends_as_the_run_did(shell):
    async def fail(application):
        await application.orchestrator.submit_training(TrainingConfig(total_episodes=128))
        hand = Hand(application)
        job = await hand.claim()
        await hand.leases.fail(job.id, job.fence, ErrorClass.CONFIG, "a word too many")

    shell.work(fail)
    seen = shell("watch", "latest")
    assert seen.exit_code == 1
    assert "The job is failed: a word too many" in seen.stdout

    async def succeed(application):
        await application.orchestrator.submit_training(TrainingConfig(total_episodes=64))
        hand = Hand(application)
        await hand.finish(await hand.claim())

    shell.work(succeed)
    seen = shell("watch", "latest")
    assert (seen.exit_code, "The job is succeeded" in seen.stdout) == (0, True)


def test_a_run_that_is_not_there_is_named(shell):
    seen = shell("watch", "nobody")
    assert (seen.exit_code, "no run 'nobody'" in seen.stderr) == (2, True)


def test_the_engine_is_watched_where_no_run_is_named(shell, monkeypatch):
    shell("submit", "train", "seed=1")
    monkeypatch.setattr("orchestration.cli.engine.SystemClock", Steps())
    seen = shell("watch")
    assert seen.exit_code == 130
    assert "queued 1; 1 due" in seen.stdout
    assert seen.stdout.splitlines()[-1] == "No longer watched; the engine is left alone."


def test_a_queue_that_only_grows_older_is_no_news(shell, monkeypatch):
    shell("submit", "train", "seed=1")

    async def wait():
        await anyio.sleep(1.1)  # ages are in whole seconds

    monkeypatch.setattr("orchestration.cli.engine.SystemClock", Steps(wait))
    assert shell("watch").stdout.count("queued 1") == 1


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (110, 14), (110, 50)])
def test_a_picture_of_the_engine_fits_into_its_terminal(width, height):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    scores = {"kpi": 7595.054744839668, "expert": 7626.048109412193, "gap_closed": -0.3146}
    events = tuple(
        EventView(seq=seq, job_id="j" * 36, type="evaluated", at=now,
                  payload={"env_steps": seq, "scores": scores})
        for seq in range(10)
    )  # fmt: skip
    worker = WorkerView(
        id="w" * 36, host="a.long.name.of.a.host/boot", pid=4_000_000, seen_seconds=6, jobs=1,
        parallel_jobs=3, capacity=None, is_alive=True,
    )  # fmt: skip
    live = LiveJob(
        id="j" * 36, kind="train", state="running", desired="run", attempt=1, fence=1,
        worker="w" * 36, lease_left_seconds=30, done=64, total=100, progress_age_seconds=1,
        running_seconds=100, resources=Resources(),
    )  # fmt: skip
    view = EngineView(
        at=now, states={"queued": 2, "running": 1}, due=2,
        kinds={"train": {"queued": 2, "running": 1}}, oldest_due_seconds=9,
        live=(live,), workers=(worker,), events=events,
    )  # fmt: skip
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(engine.draw(view, width=width, height=height))
    text = console.file.getvalue()
    assert len(text.splitlines()) <= height
    assert all(len(line) <= width for line in text.splitlines())
    assert "1 of 3 slots busy" in " ".join(text.split())
    assert "64%" in text
    assert ("a.long.name" in text) == (width >= engine.WIDE)
    if width == 110:
        assert "env_steps=9  scores=kpi 7,595 expert 7,626 gap_closed -0.3146" in text


def test_ctrl_c_leaves_the_run_alone(tmp_path, shell):
    job = shell.json("submit", "train", "seed=1", "--json")
    command = [sys.executable, "-m", "orchestration", "--var", str(tmp_path), "watch", "latest"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().startswith("waits for a free worker")
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=240)
    assert (child.returncode, rest) == (130, "No longer watched; the run is left alone.\n")
    (kept,) = shell.json("jobs", "--json")
    assert (kept["id"], kept["state"], kept["desired"]) == (job["id"], "queued", Desired.RUN)
