"""`python scripts/search.py`: a study that goes on, its report, its errors; jobs of a database."""

from __future__ import annotations

import json
import re

import pytest

from rl.training.hyperparameter_search import SearchConfig, open_search, run_search
from rl.training.run_words import read_words
from rl.training.search_report import as_words, write_search_report
from rl.training.search_space import search_space
from rl.training.training_config import TrainingConfig
from tests.orchestration.house import Hand, open_house
from tests.scripts.test_train import load
from utils.config import to_json
from utils.errors import ConfigError
from utils.search_axis import Axis

SETTINGS = [
    *("env=newsvendor", "algorithm=ppo", "training.total_timesteps=512", "training.num_envs=8"),
    "training.eval_freq=256",
]
RATE = "algorithm.ppo.learning_rate=tag(log,interval(1e-5,1e-1))"


@pytest.fixture(scope="module")
def search():
    return load("search")


@pytest.fixture
def anyio_backend():
    return "asyncio"


def run(search, var, *words, trials=2):
    options = ["--study", "s", "--num-trials", str(trials), "--output-dir", str(var)]
    return search.main([*options, *SETTINGS, *words])


def test_a_study_is_reported_and_goes_on(search, tmp_path, capsys):
    assert run(search, tmp_path, RATE) == 0
    first = json.loads((tmp_path / "searches/s/search.json").read_text())
    assert run(search, tmp_path, RATE, trials=3) == 0
    printed = capsys.readouterr().out
    second = json.loads((tmp_path / "searches/s/search.json").read_text())
    assert second["trials"][:2] == first["trials"]
    assert [one["state"] for one in second["trials"]] == ["complete"] * 3
    assert (tmp_path / "searches/s/search.md").read_text() in printed
    (best,) = re.findall(r"^    (algorithm\.ppo\.learning_rate=\S+)$", printed, re.MULTILINE)[-1:]
    config = read_words([*SETTINGS, best])
    assert config.settings.ppo.learning_rate == second["best"]["values"][RATE.partition("=")[0]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to search over"),
        (
            ["algorithm.ppo.learning_rat=interval(0,1)"],
            "did you mean 'algorithm.ppo.learning_rate'",
        ),
        (["env.num_tasks=range(1,4)"], "no setting to search over 'env.num_tasks'"),
        (["training.total_timesteps=10,20"], "no setting to search over"),
        (["algorithm.ppo.gamma=interval(1,0)"], "give low < high"),
        (["algorithm.ppo.gamma=tag(log,interval(0,1))"], "begins above 0"),
        ([RATE, "algorithm=pppo"], "did you mean 'ppo'"),
        ([RATE, "--sampler", "cma"], "choose auto"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(search, tmp_path, capsys, words, message):
    assert run(search, tmp_path, *words) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err


def test_another_search_under_the_same_name_is_refused(search, tmp_path, capsys):
    base = read_words(SETTINGS)
    axes = (Axis(name="algorithm.ppo.gamma", low=0.5, high=1.0),)
    shared, _ = search_space(base, axes, "s")
    folder = tmp_path / "searches/s"
    with open_search(SearchConfig(study="s"), axes, folder) as study:
        study.require_same(to_json(shared) | {"seed": 7})
    assert shared.seed == 0
    assert run(search, tmp_path, "algorithm.ppo.gamma=interval(0.5,1)") == 2
    assert "begun with seed=7, not 0" in capsys.readouterr().err


def test_axes_may_be_named_as_typed_or_as_fields():
    base = TrainingConfig(environment="constrained_allocation", algorithm="ppo")
    axes = (
        Axis(name="env.num_tasks", low=1, high=9, is_int=True),
        Axis(name="settings.ppo.gamma", low=0.5, high=1.0),
        Axis(name="training.num_envs", options=(4, 8)),
    )
    shared, make = search_space(base, axes, "study")
    config = make({"env.num_tasks": 7, "settings.ppo.gamma": 0.75, "training.num_envs": 8})
    assert config.world.constrained_allocation.num_tasks == 7
    assert (config.settings.ppo.gamma, config.num_envs) == (0.75, 8)
    assert (shared.experiment_name, config.experiment_name) == ("study", "study")
    with pytest.raises(ConfigError, match="experiment_name"):
        search_space(base, (Axis(name="experiment_name", options=("a", "b")),), "study")


def test_values_are_written_as_they_are_typed():
    values = {"algorithm.ppo.hidden_dims": [32, 32], "training.traces": None, "a": "x y", "b": 1e-5}
    assert as_words(values) == (
        "'algorithm.ppo.hidden_dims=[32,32]' training.traces=null 'a=x y' b=1e-05"
    )


def test_a_report_tells_of_trials_that_failed(tmp_path):
    def objective(trial, watch):
        if trial.number == 1:
            raise ConfigError("two\nlines")
        return float(trial.number)

    axes = (Axis(name="rate", low=0.0, high=1.0),)
    settings = SearchConfig(study="s", num_trials=3, sampler="random")
    with open_search(settings, axes, tmp_path) as study:
        run_search(study, objective)
        text = write_search_report(study, tmp_path, "the command")
    assert "3 trials: 2 complete, 1 failed." in text
    assert "Best: trial 2, score 2" in text
    assert "| two lines |" in text
    assert "Not known" in text
    assert "    the command" in text


@pytest.mark.anyio
async def test_jobs_are_seen_through_the_orchestrator(search, tmp_path):
    config = TrainingConfig(environment="newsvendor", algorithm="ppo", experiment_name="s")
    async with open_house(tmp_path) as application:
        jobs, hand = search.OrchestratorJobs(application.orchestrator), Hand(application)
        job_id = await jobs.submit(config, key="k")
        assert await jobs.submit(config, key="k") == job_id
        assert (await jobs.status(job_id)).scores == ()
        job = await hand.claim()
        await hand.report(job, 0, kpi=1.0)
        await hand.report(job, 64, kpi=2.0)
        status = await jobs.status(job_id)
        assert (status.scores, status.has_ended) == ((2.0,), False)
        await hand.finish(job, {"artifact_sha256": None, "best_score": 3.0})
        status = await jobs.status(job_id)
        assert (status.has_ended, status.best_score) == (True, 3.0)
        other = await jobs.submit(config, key="k")
        assert other != job_id
        await jobs.cancel(other)
        status = await jobs.status(other)
        assert (status.has_ended, status.best_score, status.error) == (True, None, "cancelled")
