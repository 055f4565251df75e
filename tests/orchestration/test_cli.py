"""The command line: what it prints, how it fails, that it is documented, and that it is light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
import typer
from typer.testing import CliRunner

from orchestration.cli import commands, progress, run_view, training
from orchestration.cli.tables import age, verdict
from orchestration.jobs import JobState
from rl.training.training_config import TrainingConfig
from tests.orchestration.house import AGENT, REQUEST, Hand, open_house
from utils.clock import ManualClock, SystemClock
from utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("logs_as_before")

ROOT = Path(__file__).parents[2]


class Shell:
    def __init__(self, var):
        self.var = var

    def __call__(self, *words, stdin=None):
        return CliRunner().invoke(commands.cli, ["--var", str(self.var), *words], input=stdin)

    def json(self, *words):
        result = self(*words)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def work(self, act, versions=0):
        """Let a coroutine function act on the same state, as another process would."""

        async def opened():
            async with open_house(self.var, versions=versions) as application:
                return await act(application)

        return anyio.run(opened)


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest.fixture
def staffed(shell):
    async def nothing(_):
        return None

    shell.work(nothing, versions=2)
    return shell


async def report_half(application):
    hand = Hand(application)
    job = await hand.claim()
    await hand.report(job, 4608, value=11.5, kpi=90.0)
    return job


def test_a_submission_is_listed_shown_and_changed(shell):
    submitted = shell.json("submit", "train", "env=resource_allocation", "seed=3", "--json")
    assert (submitted["state"], submitted["config"]["seed"]) == ("queued", 3)
    (run,) = shell.json("runs", "--json")
    assert run["job_id"] == submitted["id"]
    listed = shell("runs").stdout
    assert run["id"][-8:] in listed
    assert "queued" in listed
    for reference in ("latest", run["id"], run["id"][-8:], submitted["id"][-6:]):
        assert run["id"] in shell("show", reference).stdout
    assert "is paused now" in shell("pause", "latest").stdout
    assert "is paused already" in shell("pause", "latest").stdout
    assert "is queued now" in shell("resume", "latest").stdout
    assert "is cancelled now" in shell("cancel", "latest").stdout
    assert shell.json("show", "latest", "--json")["summary"]["state"] == "cancelled"


def test_the_same_settings_go_on_unless_fresh(shell):
    first = shell.json("submit", "train", "seed=3", "--json")
    assert "Found unfinished" in shell("submit", "train", "seed=3").stdout
    assert shell.json("submit", "train", "seed=4", "--json")["id"] != first["id"]
    assert shell.json("submit", "train", "seed=3", "--fresh", "--json")["id"] != first["id"]
    states = [run["state"] for run in shell.json("runs", "--json")]
    assert sorted(states) == ["cancelled", "queued", "queued"]


def test_a_paused_training_is_resumed_by_submitting_it_again(shell):
    shell("submit", "train", "seed=3")
    shell("pause", "latest")
    assert shell.json("submit", "train", "seed=3", "--json")["state"] == "queued"


def test_figures_of_a_running_training_are_shown(shell):
    shell("submit", "train", "total_episodes=128")
    shell.work(report_half)
    page = shell("show", "latest").stdout
    assert "running" in page
    assert "4,608 of 9,216" in page
    assert "gap closed 25%" in page
    assert "11.5" in page
    assert "50%" in shell("runs").stdout
    assert "has been told: cancel" in shell("cancel", "latest").stdout


def test_agents_are_listed_promoted_and_asked(staffed, tmp_path):
    assert "champion=1" in staffed("agents").stdout
    assert staffed.json("agents", "--json")[0]["aliases"] == {"champion": 1}
    assert "champion is version 2" in staffed("promote", AGENT, "latest").stdout
    moved = staffed("promote", AGENT, "1", "--alias", "shadow", "--reason", "to compare")
    assert "shadow is version 1" in moved.stdout
    place = tmp_path / "request.json"
    place.write_text(json.dumps(REQUEST))
    decision = staffed.json("invoke", AGENT, str(place))
    assert decision["version"] == "2"
    assert staffed.json("invoke", AGENT, str(place), "--alias", "shadow")["version"] == "1"
    assert staffed.json("invoke", AGENT, str(place), "--version", "1")["version"] == "1"
    piped = staffed("invoke", AGENT, "-", stdin=json.dumps(REQUEST))
    assert json.loads(piped.stdout)["services"] == decision["services"]


def test_empty_state_says_how_to_begin(shell):
    assert "submit train --watch" in shell("runs").stdout
    assert "No agents yet" in shell("agents").stdout
    assert shell.json("runs", "--json") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("submit", "train", "sead=1"), "unknown field sead"),
        (("submit", "train", "seed"), "write settings as name=value"),
        (("submit", "train", "seed=x"), "seed wants int"),
        (("submit", "train", "env=tradin"), "environment='tradin'"),
        (("submit", "dance"), "only `train` is known"),
        (("show", "nobody"), "python -m orchestration runs"),
        (("cancel", "nobody"), "no run 'nobody'"),
        (("promote", "nobody", "1"), "train and promote one first"),
        (("promote", AGENT, "newest"), "give a number, or `latest`"),
        (("invoke", AGENT, "/no/file"), "name a JSON file"),
        (("serve", "--host", "192.0.2.1"), "make one first"),
        (("serve", "--host", "0.0.0.0"), "--allow-host"),
        (("serve", "--port", "70000"), "choose 0 to 65535"),
        (("--log-level", "loud", "runs"), "log level 'loud'"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(shell, words, said):
    result = shell(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_malformed_request_names_its_field(staffed):
    result = staffed("invoke", AGENT, "-", stdin=json.dumps({**REQUEST, "time_of_day": 3}))
    assert result.exit_code == 2
    assert "time_of_day" in result.stderr


def test_ends_of_ids_must_be_telling(shell):
    shell("submit", "train", "seed=1")
    end = shell.json("runs", "--json")[0]["id"][-3:]
    assert shell("show", end).exit_code == 2


@pytest.mark.parametrize(
    ("word", "field", "value"),
    [
        ("seed=5", "seed", 5),
        ("env=resource_allocation", "environment", "resource_allocation"),
        ("use_synthetic_data=false", "use_synthetic_data", False),
        ("real_share=0.25", "real_share", 0.25),
        ("traces=none", "traces", None),
        ("traces=/data", "traces", "/data"),
        ("experiment_name=7", "experiment_name", "7"),
    ],
)
def test_settings_are_read_as_meant(word, field, value):
    assert getattr(training.read_settings([word]), field) == value


def test_settings_have_keys_of_their_own():
    keys = {training.settings_key(TrainingConfig(seed=seed)) for seed in (1, 1, 2)}
    assert len(keys) == 2


def parameters_of(command):
    return [name for one in command.params for name in one.opts if name.startswith("--")]


def test_every_command_and_flag_is_documented():
    page = (ROOT / "docs" / "cli.md").read_text()
    group = typer.main.get_command(commands.cli)
    assert len(group.commands) >= 11
    for name, command in group.commands.items():
        assert f"`{name}" in page or f"orchestration {name}" in page, name
        for flag in parameters_of(command):
            assert flag in page, (name, flag)
        assert command.help, name
    for flag in parameters_of(group):
        assert flag in page, flag


def test_help_teaches_without_torch():
    program = (
        "import sys; from typer.testing import CliRunner; from orchestration.cli import commands; "
        "r = CliRunner().invoke(commands.cli, ['submit', '--help']); print(r.stdout); "
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--watch" in done.stdout
    assert "NAME=VALUE" in done.stdout


def estimate(mean, low, high):
    return {"mean": mean, "low": low, "high": high}


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (estimate(5, 1, 9), "beats the best tuned expert (max_min): +5 [+1, +9]"),
        (estimate(1, -1, 3), "does NOT clearly beat"),
        (estimate(-5, -9, -1), "does NOT beat"),
    ],
)
def test_the_verdict_is_plain(difference, words):
    ours = {"kind": "agent", "name": "ppo", "difference": difference, "blocks_better": 4}
    rows = [{**ours, "to_rival": estimate(7, 6, 8)}, {"kind": "expert", "name": "max_min"}]
    table = {"rows": rows, "baseline": "max_min", "rival": "equal", "num_blocks": 5}
    said = verdict({**table, "block_name": "day", "kpi_format": ",.0f"})
    assert words in said
    assert "better on 4 of 5 days. To equal: +7 [+6, +8]." in said or "zero; better" in said


def test_sparks_average_neighbours():
    assert run_view.spark([0, 1]) == "▁█"
    assert run_view.spark([0, 0, 2, 2, 1, 1], width=3) == "▁█▅"
    assert run_view.spark([3.0]) == "▁"
    assert run_view.spark([]) == ""


def test_speed_is_over_the_last_seconds_and_no_leap_counts():
    clock = ManualClock()
    meter = progress.Speedometer(clock)
    assert meter.measure(0) is None
    clock.advance(1)
    assert meter.measure(5000) is None  # a checkpoint, not work
    for steps in (5100, 5200, 5300):
        clock.advance(1)
        speed = meter.measure(steps)
    assert speed == pytest.approx(100)
    clock.advance(100)
    assert meter.measure(5300) == pytest.approx(100)


def test_ages_are_short():
    now = SystemClock().now()
    assert age(now, now) == "0 s"
    assert age(now.replace(year=now.year - 1), now).endswith(" d")


class Shown:
    def __init__(self):
        self.views = []

    def show(self, view):
        self.views.append(view)


def test_watching_follows_a_job_to_its_end(shell):
    shown = Shown()

    async def act(application):
        orchestrator = application.orchestrator
        job = await orchestrator.submit_training(TrainingConfig(total_episodes=128))
        hand = Hand(application)
        clock = ManualClock()
        ended = []

        async def watch():
            ended.append(await progress.watch(orchestrator, job.id, shown, clock))

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            claimed = await hand.claim()
            await hand.report(claimed, 4608)
            while not any(view.env_steps for view in shown.views):
                clock.advance(1)
                await anyio.sleep(0.01)
            await hand.finish(claimed)
            clock.advance(1)
            while not ended:
                clock.advance(1)
                await anyio.sleep(0.01)
        return ended[0]

    assert shell.work(act).state is JobState.SUCCEEDED
    middle = next(view for view in shown.views if view.env_steps)
    assert (middle.fraction, middle.stage) == (0.5, "starting")
    line = run_view.describe(middle)
    assert "50%" in line
    assert "evaluation 90  expert 80  bound 120  gap closed 25%" in line
    assert shown.views[-1].stage.startswith("succeeded after")


def test_settings_of_a_watched_run_are_checked_first(shell):
    with pytest.raises(ConfigError):
        training.read_settings(["num_envs=0"])
    assert shell("submit", "train", "num_envs=0", "--watch").exit_code == 2
