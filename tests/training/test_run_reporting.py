"""Reports from the database and the run's folder: what is known, unknown, damaged or unfinished."""

from __future__ import annotations

import json
import shlex
from contextlib import asynccontextmanager

import pytest

from orchestration.cli.training import read_settings
from rl.evaluation.comparison import EvaluationTable, ScoreRow
from rl.evaluation.contest import Column
from rl.evaluation.report_page import render_page
from rl.evaluation.report_text import render_json, render_markdown
from rl.evaluation.statistics import Estimate
from rl.training.report_files import write_run_files
from rl.training.run_comparison import group_runs, make_comparison
from rl.training.run_diary import Diary, StageEntry
from rl.training.run_reporting import load_run, make_run_report, reproduce
from rl.training.training_config import TrainingConfig
from tests.evaluation.test_run_report import png
from utils.clock import ManualClock
from utils.config import to_json
from utils.errors import ConfigError
from utils.persistence.engine import open_database
from utils.persistence.run_log import (
    NewRun,
    RunState,
    add_evaluation,
    add_metrics,
    create_run,
    set_run_state,
)
from utils.persistence.run_queries import RunNotFoundError

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def estimate(mean, half=1.0):
    return Estimate(
        mean=mean, low=mean - half, high=mean + half, num_windows=8, num_blocks=4, num_seeds=1
    )


def score_row(name, kind, kpi, *, baseline=10.0):
    is_baseline = name == "equal"
    return ScoreRow(
        name=name,
        kind=kind,
        kpi=estimate(kpi),
        kpi_iqm=kpi,
        difference=None if is_baseline else estimate(kpi - baseline),
        difference_cautious=None,
        blocks_better=None if is_baseline else 3,
        to_rival=None,
        gap_closed=estimate(0.25, 0.1) if kind == "agent" else None,
        figures=(None,) if kind == "bound" else (0.125,),
    )


def score_table(kpi=12.0, data="held-out days"):
    return EvaluationTable(
        data=data,
        kpi="profit per episode",
        kpi_format=",.1f",
        columns=(Column(name="lost", title="work lost", format=".1%"),),
        rival=None,
        baseline="equal",
        num_episodes=8,
        num_blocks=4,
        block_name="day",
        num_seeds=1,
        level=0.95,
        rows=(
            score_row("equal", "expert", 10.0),
            score_row("apg", "agent", kpi),
            score_row("bound", "bound", 18.0),
        ),
    )


class Lab:
    """Runs without training: rows of the database and files of the folders."""

    def __init__(self, database, folder):
        self.database, self.folder = database, folder
        self.clock = ManualClock()

    async def run(self, run_id, *, state=RunState.SUCCEEDED, error=None, kpis=(1.0, 2.0), **fields):
        config = TrainingConfig(experiment_name="a question", **fields)
        new = NewRun(
            id=run_id,
            experiment=config.experiment_name,
            seed=config.seed,
            config=to_json(config),
            total_env_steps=1000,
            code_commit="c0ffee",
            versions={"python": "3.11"},
        )
        async with self.database.write() as connection:
            await create_run(connection, new, clock=self.clock)
            rows = [
                (64 * (i + 1), {"return": kpi, "same": 7.0, "loss/odd": float("nan") if i else 1.0})
                for i, kpi in enumerate(kpis)
            ]
            await add_metrics(connection, run_id, rows, clock=self.clock)
            for i, kpi in enumerate(kpis):
                scores = {"kpi": kpi, "kpi_low": kpi - 1, "kpi_high": kpi + 1, "expert": 1.5}
                await add_evaluation(connection, run_id, 64 * (i + 1), scores, clock=self.clock)
            self.clock.advance(90)
            await set_run_state(connection, run_id, state, clock=self.clock, error=error)

    def judge(self, run_id, *tables, **more):
        report = self.folder / "runs" / run_id / "report"
        report.mkdir(parents=True)
        content = {
            "title": "Who is best?",
            "table": to_json(tables[0]),
            "other_tables": [to_json(table) for table in tables[1:]],
            "experts": {"equal": [{"name": "head_room", "value": 1.5}]},
            **more,
        }
        (report / "report.json").write_text(json.dumps(content))
        (report / "window.png").write_bytes(png())
        (report / "learning.png").write_bytes(png())

    def note(self, run_id, diary):
        folder = self.folder / "runs" / run_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "diary.json").write_text(json.dumps(to_json(diary)))

    async def load(self, run_id):
        async with self.database.read() as connection:
            return await load_run(connection, run_id, folder=self.folder / "runs" / run_id)

    async def report(self, run_id):
        return make_run_report(await self.load(run_id))


@asynccontextmanager
async def open_lab(folder):
    database = await open_database(folder / "q.sqlite")
    yield Lab(database, folder)
    await database.aclose()


@pytest.fixture
async def lab(tmp_path):
    async with open_lab(tmp_path) as opened:
        yield opened


async def test_all_that_is_known_of_a_finished_run_is_shown(lab):
    await lab.run("r1", seed=4, num_agents=3)
    lab.judge("r1", score_table(), score_table(9.0, "a crisis"), data_sha256={"held_out": "abc"})
    stages = (StageEntry(name="easy", env_steps=0), StageEntry(name="hard", env_steps=64))
    lab.note("r1", Diary(stages=stages, cpu_seconds=36.0))
    report = await lab.report("r1")
    assert report.title == "Who is best? (apg)"
    first, second = report.verdict.splitlines()
    assert first.startswith("apg beats the best tuned expert (equal): difference +2.0")
    assert second.startswith("On a crisis: apg does not clearly beat")
    (curve,) = report.evaluation.curves
    assert (curve.env_steps, curve.mean) == ((64, 128), (1.0, 2.0))
    assert (curve.low, curve.high) == ((0.0, 1.0), (2.0, 3.0))
    assert [(level.kind, level.value) for level in report.evaluation.levels] == [("expert", 1.5)]
    assert [chart.title for chart in report.charts] == ["return", "loss/odd"]
    assert report.charts[1].curves[0].mean == (1.0, None)
    assert [(stage.name, stage.env_steps) for stage in report.stages] == [("easy", 0), ("hard", 64)]
    assert [picture.name for picture in report.pictures] == ["window"], "learning is redrawn"
    assert report.origin.seeds == (4,)
    assert report.origin.commit == "c0ffee"
    assert report.origin.data_sha256 == {"held_out": "abc"}
    assert report.compute.cpu_seconds == 36.0
    assert report.compute.wall_seconds == 90.0
    assert report.compute.energy_watt_hours == pytest.approx(0.1)


async def test_the_tables_hold_scores_experts_and_what_did_not_change(lab):
    await lab.run("r1")
    lab.judge("r1", score_table())
    scores, experts, constants = (await lab.report("r1")).tables
    bound, agent, expert = scores.rows
    assert [row.kind for row in scores.rows] == ["bound", "agent", "expert"]
    assert [getattr(cell, "text", cell) for cell in agent.cells] == [
        *("apg", "12.0", "[11.0, 13.0]", "+2.0", "[+1.0, +3.0]", 3, "25%", "12.5%"),
    ]
    assert expert.cells[3] == "(best expert)"
    assert bound.cells[5] is None
    assert scores.header[-1] == "work lost"
    assert experts.rows[0].cells == ("equal", "head room 1.5")
    assert constants.rows[0].cells == ("same", 7.0)


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        (RunState.RUNNING, None, "not finished"),
        (RunState.FAILED, "DivergenceError: NaN", "broke before"),
        (RunState.CANCELLED, None, "was not evaluated"),
    ],
)
async def test_a_run_without_a_verdict_says_so(lab, state, error, said):
    await lab.run("r1", state=state, error=error, kpis=())
    report = await lab.report("r1")
    assert said in report.verdict
    assert report.evaluation is None
    assert report.pictures == ()
    assert report.compute.cpu_seconds is None
    for render in (render_page, render_markdown, render_json):
        assert render(report)
    assert (error or said) in render_page(report)


@pytest.mark.parametrize(
    "damage", ["{", "[]", "{}", '{"title": "t", "table": {"format": 1}, "other_tables": []}']
)
async def test_a_damaged_judgement_is_named(lab, damage):
    await lab.run("r1")
    lab.judge("r1", score_table())
    (lab.folder / "runs" / "r1" / "report" / "report.json").write_text(damage)
    with pytest.raises(ConfigError, match=r"report\.json is damaged or of another version"):
        await lab.report("r1")


async def test_an_unknown_run_is_refused(lab):
    with pytest.raises(RunNotFoundError):
        await lab.report("nobody")


def test_the_command_to_reproduce_gives_the_same_settings():
    config = TrainingConfig(
        seed=3, experiment_name="it's a $question", use_synthetic_data=False, tags=("a b", "c")
    )
    checkout, train = reproduce(to_json(config), commit="abc").splitlines()
    assert checkout == "git checkout abc"
    words = shlex.split(train)
    assert words[:5] == ["python", "-m", "orchestration", "submit", "train"]
    assert read_settings(words[5:-1]) == config
    assert len(words) == 10, "defaults are left out"
    assert "checkout" not in reproduce(to_json(config), commit="")


def test_a_problem_of_a_users_own_is_not_said_to_be_known_to_the_command():
    command = reproduce(to_json(TrainingConfig(environment="custom", seed=3)), commit="abc")
    assert "submit" not in command
    assert command.endswith("# environment=custom seed=3")
    evil = {"environment": "custom", "experiment_name": "a\nrm x"}
    assert all(line.startswith("#") for line in reproduce(evil, commit="").splitlines())


async def test_runs_that_differ_in_their_seed_become_one_line(lab):
    for seed in (0, 1, 2):
        await lab.run(f"a{seed}", seed=seed, kpis=(1.0, 2.0 + seed))
        lab.judge(f"a{seed}", score_table(12.0 + seed))
    for seed in (0, 1):
        await lab.run(f"b{seed}", seed=seed, algorithm="ppo", num_envs=64)
        lab.judge(f"b{seed}", score_table(2.0))
    runs = [await lab.load(one) for one in ("a0", "b0", "a1", "b1", "a2")]
    assert [len(group.runs) for group in group_runs(runs)] == [3, 2]
    report = make_comparison(runs)
    assert report.title == "apg (num_envs=null) against ppo (num_envs=64)"
    evaluation, returns = report.charts
    a, b = evaluation.curves
    assert (a.num_runs, a.mean) == (3, (1.0, 3.0))
    assert (b.num_runs, b.mean) == (2, (1.0, 2.0))
    assert [level.value for level in evaluation.levels] == [1.5]
    assert "shaped differently" in returns.note
    scores, apart = report.tables
    assert scores.rows[0].cells[:6] == (
        *("apg (num_envs=null)", "0, 1, 2", "succeeded", 128, 3, 13.0),
    )
    assert {row.cells[0] for row in apart.rows} == {"algorithm", "num_envs"}
    assert "from best to worst: apg (num_envs=null) 13 [10.52, 15.48] over 3 runs" in report.verdict
    assert report.verdict.endswith("The intervals of the first two do not overlap.")
    assert len(report.runs) == 5
    for render in (render_page, render_markdown, render_json):
        assert render(report)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ((score_table(12.0), None), "not judged on held-out scenarios: ppo"),
        ((score_table(12.0), score_table(9.0, "others")), "judged on different scenarios"),
        ((score_table(12.0), score_table(9.0)), "One run of a configuration says little"),
    ],
)
async def test_what_does_not_compare_is_not_compared(lab, tables, said):
    for name, algorithm, table in zip(("a", "b"), ("apg", "ppo"), tables, strict=True):
        await lab.run(name, algorithm=algorithm)
        if table is not None:
            lab.judge(name, table)
    report = make_comparison([await lab.load("a"), await lab.load("b")])
    assert said in report.verdict


async def test_overlapping_intervals_are_said_to_overlap(lab):
    for name, algorithm, seed, kpi in (("a", "apg", 0, 1), ("b", "apg", 1, 9), ("c", "ppo", 0, 2)):
        await lab.run(name, algorithm=algorithm, seed=seed)
        lab.judge(name, score_table(kpi))
    await lab.run("d", algorithm="ppo", seed=1)
    lab.judge("d", score_table(6))
    report = make_comparison([await lab.load(one) for one in "abcd"])
    assert report.verdict.endswith(
        "The intervals of the first two overlap: the order may be chance."
    )


async def test_levels_that_runs_do_not_share_are_left_out(lab):
    await lab.run("a")
    await lab.run("b", algorithm="ppo")
    async with lab.database.write() as connection:
        scores = {"kpi": 3.0, "expert": 99.0}
        await add_evaluation(connection, "b", 500, scores, clock=lab.clock)
    report = make_comparison([await lab.load("a"), await lab.load("b")])
    assert report.charts[0].levels == ()


async def test_one_run_is_no_comparison_and_neither_is_one_twice(lab):
    await lab.run("a")
    run = await lab.load("a")
    for runs in ([run], [run, run]):
        with pytest.raises(ConfigError, match="at least two different"):
            make_comparison(runs)


async def test_files_are_named_after_their_runs(lab):
    await lab.run("a")
    await lab.run("b", algorithm="ppo")
    places = {"runs": lab.folder / "runs", "folder": lab.folder / "reports"}
    one = await write_run_files(lab.database, ["a"], **places)
    both = await write_run_files(lab.database, ["a", "b"], **places)
    again = await write_run_files(lab.database, ["a", "b"], **places)
    assert one.page.name == "run-a.html"
    assert both == again
    assert len(list(places["folder"].iterdir())) == 6
