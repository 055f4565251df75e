"""The logic of a search on a fast objective, and one real study of tiny trainings."""

from __future__ import annotations

import math
from functools import partial

import pytest

from rl.training.hyperparameter_search import (
    SearchConfig,
    SearchFailedError,
    Trial,
    open_search,
    run_search,
)
from rl.training.parallel_search import JobStatus, job_key, run_parallel
from rl.training.recorder import EvaluationRecord, NullRecorder, StopReason
from rl.training.training_config import TrainingConfig
from rl.training.trial_training import WatchedRecorder, train_trial
from utils.dotted import with_values
from utils.errors import ConfigError
from utils.search_axis import Axis

AXES = (
    Axis(name="rate", low=1e-4, high=1.0, is_log=True),
    Axis(name="size", low=1, high=8, is_int=True),
    Axis(name="kind", options=("tanh", [64, 64], None)),
)


class Killed(BaseException):
    """What no search can catch."""


def score_of(values):
    """Best at rate 0.01; `kind` adds little and `size` nothing."""
    return -abs(math.log10(values["rate"]) + 2) + (0.01 if values["kind"] == "tanh" else 0.0)


def try_out(trial, watch):
    for index in range(3):
        if watch(index, score_of(trial.values) * (3 - index)):
            return None
    return score_of(trial.values)


def config(**changes):
    return SearchConfig(**({"study": "s", "num_trials": 12, "prune": False} | changes))


def asked(search):
    return [one.values for one in search.records() if one.state != "killed"]


@pytest.mark.parametrize("sampler", ["auto", "tpe", "random"])
def test_values_are_of_their_kind_and_come_back(tmp_path, sampler):
    with open_search(config(sampler=sampler, num_trials=8), AXES, tmp_path) as search:
        run_search(search, try_out)
        for one in search.records():
            assert 1e-4 <= one.values["rate"] <= 1.0
            assert one.values["size"] in range(1, 9)
            assert isinstance(one.values["size"], int)
            assert one.values["kind"] in ("tanh", [64, 64], None)
            assert one.score == score_of(one.values)
        assert search.best().score == max(one.score for one in search.records())


def test_a_gaussian_process_finds_the_best_where_chance_does_not(tmp_path):
    best = {}
    for sampler in ("gp", "random"):
        settings = config(sampler=sampler, num_trials=14)
        with open_search(settings, AXES, tmp_path / sampler) as search:
            run_search(search, try_out)
            best[sampler] = search.best().score
            if sampler == "gp":
                assert next(iter(search.importances())) == "rate"
                assert sum(search.importances().values()) == pytest.approx(1.0)
    assert best["gp"] > -0.05
    assert best["gp"] > best["random"]


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path, sampler):
    settings = config(sampler=sampler, num_trials=7)
    with open_search(settings, AXES, tmp_path / "whole") as search:
        run_search(search, try_out)
        undisturbed = asked(search)
        assert len({one["rate"] for one in undisturbed}) == len(undisturbed)
    for survives in (0, 6):
        tried = []

        def try_until_killed(trial, watch, survives=survives, tried=tried):
            tried.append(trial.values)
            if len(tried) > survives:
                raise Killed
            return try_out(trial, watch)

        folder = tmp_path / str(survives)
        with pytest.raises(Killed), open_search(settings, AXES, folder) as search:
            run_search(search, try_until_killed)
        with open_search(settings, AXES, folder) as search:
            run_search(search, try_out)
            assert asked(search) == undisturbed
            states = [one.state for one in search.records()]
            assert states.count("killed") == 1
            assert states.count("complete") == 7


def test_values_that_were_under_way_are_tried_again_first(tmp_path):
    settings = config(sampler="random")
    with open_search(settings, AXES, tmp_path) as search:
        first, second = search.ask(), search.ask()
        search.complete(second, 1.0)
    with open_search(settings, AXES, tmp_path) as search:
        assert search.ask().values == first.values
        assert search.ask().values not in (first.values, second.values)


def test_a_finished_search_does_nothing_more(tmp_path):
    for _ in range(2):
        with open_search(config(num_trials=3), AXES, tmp_path) as search:
            run_search(search, try_out)
            assert len(search.records()) == 3
    with open_search(config(num_trials=5), AXES, tmp_path) as search:
        run_search(search, try_out)
        assert len(search.records()) == 5


def test_bad_trials_are_given_up_and_good_ones_are_not(tmp_path):
    with open_search(config(prune=True, num_trials=30, sampler="random"), AXES, tmp_path) as search:
        run_search(search, try_out)
        records = search.records()
    given_up = [one for one in records if one.state == "pruned"]
    kept = [one for one in records if one.state == "complete"]
    assert given_up
    assert [one.state for one in records[:5]] == ["complete"] * 5
    assert max(one.score for one in given_up) < max(one.score for one in kept)


def test_failures_are_kept_with_their_reason_and_end_a_hopeless_search(tmp_path):
    def refuse_large(trial, watch):
        if trial.values["size"] > 4:
            raise ConfigError("too large")
        return math.nan if trial.values["size"] == 1 else try_out(trial, watch)

    with open_search(config(sampler="random", num_trials=20), AXES, tmp_path / "a") as search:
        run_search(search, refuse_large)
        errors = {one.error for one in search.records() if one.state == "failed"}
        assert errors == {"too large", "its score is nan"}
        assert len(search.records()) == 20

    def refuse_all(trial, watch):
        raise ConfigError("never")

    with open_search(config(), AXES, tmp_path / "b") as search:
        with pytest.raises(SearchFailedError, match="5 trials failed in a row: never"):
            run_search(search, refuse_all)
        assert search.best() is None
        assert search.importances() == {}


def test_a_study_is_of_one_kind_and_one_process(tmp_path):
    with open_search(config(), AXES, tmp_path) as search:
        search.require_same({"seed": 1})
        with (
            pytest.raises(ConfigError, match="another process"),
            open_search(config(), AXES, tmp_path),
        ):
            pass
    with (
        pytest.raises(ConfigError, match="begun with other axes"),
        open_search(config(), AXES[:2], tmp_path),
    ):
        pass
    with open_search(config(), AXES, tmp_path) as search:
        search.require_same({"seed": 1})
        with pytest.raises(ConfigError, match="begun with seed=1, not 2"):
            search.require_same({"seed": 2})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Axis(name="a", low=1, high=1), "give low < high"),
        (lambda: Axis(name="a", low=0, high=1, is_log=True), "begins above 0"),
        (lambda: Axis(name="a", options=(1, 1)), "given twice"),
        (lambda: Axis(name="a", low=0, high=math.inf), "give low < high"),
        (lambda: SearchConfig(study=" "), "give it a name"),
        (lambda: SearchConfig(study="s", num_trials=0), "num_trials"),
        (lambda: SearchConfig(study="s", sampler="cma"), "choose auto"),
    ],
)
def test_what_cannot_be_searched_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_nothing_to_search_over_is_refused(tmp_path):
    with (
        pytest.raises(ConfigError, match="nothing to search over"),
        open_search(config(), (), tmp_path),
    ):
        pass


def test_a_recorder_stops_the_trainer_once_the_watch_says_so():
    seen = []

    def watch(index, score):
        seen.append((index, score))
        return score < 0

    recorder = WatchedRecorder(NullRecorder(), watch)
    for env_steps, kpi in ((0, -9.0), (64, 1.0), (128, -1.0)):
        assert recorder.should_stop() is None
        recorder.evaluated(EvaluationRecord(env_steps=env_steps, scores={"kpi": kpi}))
    assert seen == [(0, 1.0), (1, -1.0)]
    assert recorder.should_stop() is StopReason.CANCEL


BASE = TrainingConfig(
    environment="newsvendor",
    algorithm="ppo",
    total_episodes=2048,
    num_envs=8,
    eval_frequency=512,
    eval_episodes=8,
    checkpoint_frequency=0,
)
RATE = "settings.ppo.learning_rate"


def test_a_real_study_of_tiny_trainings(tmp_path):
    axes = (
        Axis(name=RATE, low=1e-5, high=1e-1, is_log=True),
        Axis(name="settings.ppo.hidden_dims", options=([4], [8])),
    )
    make = partial(with_values, BASE)
    with open_search(config(num_trials=3), axes, tmp_path) as search:
        run_search(search, partial(train_trial, make, tmp_path))
        records = search.records()
        assert [one.state for one in records] == ["complete"] * 3
        assert all(math.isfinite(one.score) for one in records)
        again = train_trial(
            make, tmp_path / "again", Trial(number=0, values=records[1].values), lambda *_: False
        )
        assert again == records[1].score
        stopped = train_trial(
            make, tmp_path / "stopped", Trial(number=0, values=records[1].values), lambda *_: True
        )
        assert stopped is None


class FakeJobs:
    """Jobs that gain one evaluation at every look, three in all."""

    def __init__(self, *, fails=()):
        self.configs, self.looks, self.cancelled, self.keys = {}, {}, [], {}
        self.most_at_once, self.fails = 0, fails

    async def submit(self, config, *, key):
        if key in self.keys and not self.ended(self.keys[key]):
            return self.keys[key]
        job_id = str(len(self.configs))
        self.configs[job_id], self.looks[job_id], self.keys[key] = config, 0, job_id
        alive = [one for one in self.configs if not self.ended(one)]
        self.most_at_once = max(self.most_at_once, len(alive))
        return job_id

    def ended(self, job_id):
        return self.looks[job_id] >= 4 or job_id in self.cancelled

    async def status(self, job_id):
        self.looks[job_id] += 1
        rate = self.configs[job_id].settings.ppo.learning_rate
        score = -abs(math.log10(rate) + 2)
        scores = tuple(score * (4 - index) for index in range(min(3, self.looks[job_id])))
        if self.looks[job_id] < 4:
            return JobStatus(scores=scores, has_ended=False)
        if job_id in self.fails:
            return JobStatus(scores=scores, has_ended=True, error="out of memory")
        return JobStatus(scores=scores, has_ended=True, best_score=score)

    async def cancel(self, job_id):
        self.cancelled.append(job_id)


async def no_sleep(_seconds):
    import anyio

    await anyio.lowlevel.checkpoint()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_trials_are_jobs_several_at_once(tmp_path):
    jobs = FakeJobs(fails=("1",))
    settings = config(num_trials=14, prune=True, sampler="tpe")
    axes = (Axis(name=RATE, low=1e-5, high=1e-1, is_log=True),)
    with open_search(settings, axes, tmp_path) as search:
        await run_parallel(search, partial(with_values, BASE), jobs, num_parallel=3, sleep=no_sleep)
        states = [one.state for one in search.records()]
        assert len(states) == 14
        assert states.count("failed") == 1
        assert search.records()[1].error == "out of memory"
        assert states.count("pruned") == len(jobs.cancelled) > 0
        assert jobs.most_at_once == 3


@pytest.mark.anyio
async def test_a_killed_trial_finds_its_job_again(tmp_path):
    jobs = FakeJobs()
    axes = (Axis(name=RATE, low=1e-5, high=1e-1, is_log=True),)
    make = partial(with_values, BASE)

    async def killed(_seconds):
        raise Killed

    with open_search(config(num_trials=1), axes, tmp_path) as search:
        with pytest.raises(BaseExceptionGroup) as caught:
            await run_parallel(search, make, jobs, num_parallel=1, sleep=killed)
        assert caught.group_contains(Killed)
    with open_search(config(num_trials=1), axes, tmp_path) as search:
        await run_parallel(search, make, jobs, num_parallel=1, sleep=no_sleep)
        assert [one.state for one in search.records()] == ["killed", "complete"]
    assert len(jobs.configs) == 1
    assert list(jobs.keys) == [job_key("s", jobs.configs["0"])]


@pytest.mark.anyio
async def test_settings_that_fit_no_run_are_failed_trials(tmp_path):
    axes = (Axis(name="settings.ppo.gamma", options=(2.0, 3.0)),)
    with open_search(config(), axes, tmp_path) as search:
        with pytest.raises(SearchFailedError, match="gamma"):
            await run_parallel(search, partial(with_values, BASE), FakeJobs(), num_parallel=1)
        with pytest.raises(ConfigError, match="num_parallel=0"):
            await run_parallel(search, partial(with_values, BASE), FakeJobs(), num_parallel=0)
