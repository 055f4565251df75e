"""Many policies, contests and seeds become one table, and somebody is told of every run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rl.evaluation.benchmark_runner import BenchmarkRunner, BenchmarkTask, format_benchmark
from rl.evaluation.entrants import Entrant
from rl.evaluation.players import random_player
from rl.evaluation.resampling import Resampling
from rl.evaluation.run_statistics import aggregate_runs, probability_of_improvement
from rl.evaluation.statistics import StatisticsError
from tests.evaluation.portfolio_suite import CASH, CONTEST, EQUAL, make_ppo, make_set
from utils.config import to_json
from utils.errors import ConfigError

SMALL = Resampling(num_resamples=200)
SEEDS = (3, 4, 5)


def make_tasks():
    return [
        BenchmarkTask(
            name=name, contest=CONTEST, episodes=make_set(6, seed=seed), low=-0.1, high=0.3
        )
        for name, seed in (("calm", 3), ("wild", 4))
    ]


ENTRANTS = {
    "chance": lambda task, seed: Entrant(
        name="chance", kind="random", players=(lambda: random_player(seed),)
    ),
    "equal": lambda task, seed: EQUAL,
    "ppo": lambda task, seed: Entrant(name="ppo", kind="agent", policies=(make_ppo(seed),)),
}


@pytest.fixture(scope="module")
def steps():
    return []


@pytest.fixture(scope="module")
def table(steps):
    runner = BenchmarkRunner(make_tasks(), SEEDS, resampling=SMALL, progress=steps.append)
    return runner.run(ENTRANTS, reference="chance")


def test_every_run_is_played_once_and_told(table, steps):
    assert [step.num_done for step in steps] == list(range(1, 19))
    assert {step.num_all for step in steps} == {18}
    cells = {(step.task, step.entrant, step.seed): step.kpi for step in steps}
    assert len(cells) == 18
    for row in table.rows:
        for task in row.tasks:
            told = tuple(cells[task.task, row.name, seed] for seed in SEEDS)
            assert task.kpi == told


def test_scores_are_those_of_the_contests_on_the_tasks_scale(table):
    task = make_tasks()[1]
    kpi = task.contest.play_policy(make_ppo(4), task.episodes).kpi.mean()
    row = next(row for row in table.rows if row.name == "ppo")
    assert row.tasks[1].kpi[1] == pytest.approx(kpi, abs=1e-12)
    assert row.tasks[1].normalised[1] == pytest.approx((kpi + 0.1) / 0.4)


def test_rows_hold_the_statistics_of_runs(table):
    matrices = {
        row.name: np.asarray([task.normalised for task in row.tasks]).T for row in table.rows
    }
    for row in table.rows:
        assert row.score == aggregate_runs(matrices[row.name], SMALL)
        if row.name == "chance":
            assert row.improvement is None
        else:
            assert row.improvement == probability_of_improvement(
                matrices[row.name], matrices["chance"], SMALL
            )
    iqms = [row.score.iqm.value for row in table.rows]
    assert iqms == sorted(iqms)


def test_an_expert_that_knows_no_seed_leaves_no_doubt(table):
    score = next(row for row in table.rows if row.name == "equal").score
    assert score.mean.low == pytest.approx(score.mean.value)
    assert score.mean.high == pytest.approx(score.mean.value)


def test_the_table_is_json_and_markdown(table):
    json.dumps(to_json(table), allow_nan=False)
    lines = format_benchmark(table).splitlines()
    assert "better than chance" in lines[0]
    assert {line.split("|")[1].strip() for line in lines[2:]} == set(ENTRANTS)


def test_what_does_not_fit_is_refused():
    tasks = make_tasks()
    with pytest.raises(ConfigError, match="at least one task"):
        BenchmarkRunner([], SEEDS)
    with pytest.raises(ConfigError, match="another name"):
        BenchmarkRunner([tasks[0], tasks[0]], SEEDS)
    with pytest.raises(ConfigError, match="each once"):
        BenchmarkRunner(tasks, (1, 1))
    with pytest.raises(ConfigError, match="no scale"):
        replace(tasks[0], low=1.0)
    runner = BenchmarkRunner(tasks[:1], (0,), resampling=SMALL)
    with pytest.raises(ConfigError, match="does not play"):
        runner.run(ENTRANTS, reference="nobody")
    two = replace(EQUAL, players=EQUAL.players * 2)
    with pytest.raises(ConfigError, match="2 runs of one seed"):
        runner.run({"two": lambda task, seed: two}, reference="two")
    broken = replace(CONTEST, figures=lambda sums: {"kpi": sums["kpi"] * np.nan})
    lost = BenchmarkRunner([replace(tasks[0], contest=broken)], (0,), resampling=SMALL)
    with pytest.raises(StatisticsError, match="must be finite"):
        lost.run({"cash": lambda task, seed: CASH}, reference="cash")
