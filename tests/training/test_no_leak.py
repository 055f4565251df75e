"""Training cannot read held-out scenarios, and evaluation leaves no trace in what is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data import shop_demand
from data.demand_law_fit import DemandHistory
from data.price_traces import PriceTable
from data.scenario import BankConfig, FixedSource, MixedSource, ScenarioBank, hash_scenarios
from data.traces import STEPS_PER_DAY, TRAIN_DAYS, ServiceTraces
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.sac_config import SACConfig
from rl.evaluation.contest import ScenarioSet
from rl.training import allocation_world, portfolio_problem, trading_problem
from rl.training.checkpointing import CheckpointFolder
from rl.training.learning_settings import LearningSettings
from rl.training.problem_stages import ChangedSource
from rl.training.problems import make_problem
from rl.training.recorder import NullRecorder
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from tests.training.resume_runs import REPLAY, SMALL
from tests.training.small_problems import DEMOS, make_small, places_in

CATALOGUE = ("execution", "traffic_shares", "service_agents", "constrained_allocation")
SIZES = BankConfig(num_episodes=24, refresh_every_episodes=24)


def config_of(environment, **settings):
    algorithm = "apg" if environment in DEMOS else "ppo"
    fields = {"algorithm": algorithm, "num_agents": 2, "total_episodes": 24, "num_envs": 4}
    return TrainingConfig(environment=environment, **fields | settings)


def sources_of(problem):
    """Return what is trained on: the problem's own source, and those of its stages."""
    if problem.stages is None:
        return [problem.training]
    experts = {name: rule.tune() for name, rule in problem.experts.items()}
    return [problem.training, *(one.source for one in problem.stages(problem, experts))]


def banks_of(source):
    """Yield the episodes of three runs, each with two refreshes."""
    for seed in (0, 1, 7):
        bank = ScenarioBank(source, SIZES, seed)
        for _ in range(3):
            yield bank.scenarios
            bank.refresh()


def episodes_of(scenarios):
    return {hash_scenarios(scenarios.take(np.asarray([i]))) for i in range(scenarios.num_episodes)}


def find_leaks(problem):
    """Return how many training episodes are episodes that are only to be judged on."""
    judged = set()
    for one in (problem.held_out, problem.validation, *problem.stress):
        judged |= episodes_of(one.scenarios)
    drawn = [episodes_of(scenarios) for scenarios in banks_of(problem.training)]
    return len(judged & set().union(*drawn))


@pytest.mark.parametrize("name", [*DEMOS, *CATALOGUE])
def test_no_training_episode_is_a_judged_one(name):
    config = config_of(name)
    problem = make_small(config)
    assert find_leaks(problem) == 0
    for source in sources_of(problem)[1:]:
        assert source is problem.training or (
            isinstance(source, ChangedSource) and source.source is problem.training
        )
    leaky = MixedSource((problem.training, FixedSource(problem.held_out.scenarios)), (0.8, 0.2))
    assert find_leaks(replace(problem, training=leaky)) > 0, "a planted leak is not seen"


def prices(seed, days, symbols):
    walk = np.random.default_rng(seed).normal(0, 0.02, (len(days), symbols)).cumsum(0)
    names = tuple(f"S{number}" for number in range(symbols))
    return PriceTable(symbols=names, dates=days, price=100 * np.exp(walk))


def poison_prices(table, first):
    """Return the table with other prices from a day on."""
    later = (table.dates >= np.datetime64(first, "D"))[:, None]
    return replace(table, price=np.where(later, 1.0 + table.price[::-1], table.price))


@pytest.fixture
def real(monkeypatch, tmp_path):
    """Return a builder of problems on made-up traces, poisoned where they are held out or not."""
    days = np.arange("1990-01-02", "2023-01-01", dtype="datetime64[D]")
    days = days[np.is_busday(days)]
    stocks, google = prices(0, days, 6), prices(1, days[days >= np.datetime64("2004-09-01")], 1)
    chance = np.random.default_rng(2)
    services = chance.gamma(2.0, 10.0, (14 * STEPS_PER_DAY, 4)).astype(np.float32)
    units = chance.poisson(20.0, (700, 10)).astype(np.float64)

    def build(name, *, poisoned):
        def table(_):
            first = {
                "trading": trading_problem.FIRST_HELD_OUT_DAY,
                "portfolio": portfolio_problem.FIRST_LOCKED_DAY,
            }[name]
            return poison_prices(stocks, first) if poisoned else stocks

        def traces(_):
            demand = services.copy()
            if poisoned:
                demand[TRAIN_DAYS * STEPS_PER_DAY :] *= 3.0
            return ServiceTraces(demand=demand, first_slot=0)

        def bursts(_):
            unseen = np.linspace(0.1, 5.0, 90) if poisoned else np.linspace(0.5, 1.5, 90)
            return np.linspace(0.5, 1.5, 200).astype("f4"), unseen.astype("f4")

        def retail(_):
            sold = units.copy()
            if poisoned:
                sold[shop_demand.TRAIN_DAYS :] += 9.0
            names = tuple(f"p{number}" for number in range(sold.shape[1]))
            is_open = np.ones(len(sold), bool)
            return DemandHistory(units=sold, is_open=is_open, names=names)

        for module in (trading_problem, portfolio_problem):
            monkeypatch.setattr(module, "load_stocks", table)
        monkeypatch.setattr(trading_problem, "load_google", lambda _: google)
        monkeypatch.setattr(allocation_world, "load_service_traces", traces)
        monkeypatch.setattr(allocation_world, "load_burst_profiles", bursts)
        monkeypatch.setattr(shop_demand, "load_retail_demand", retail)
        algorithm = {"algorithm": "apg", "num_agents": 4}
        return make_problem(TrainingConfig(environment=name, traces=str(tmp_path), **algorithm))

    return build


def seen_by_training(problem):
    """Return hashes of all that is learnt, tuned and chosen on."""
    drawn = [hash_scenarios(scenarios) for scenarios in banks_of(problem.training)]
    tuned = [
        hash_scenarios(getattr(argument, "tuning", argument))
        for rule in problem.experts.values()
        for argument in getattr(rule.tune, "args", ())
        if hasattr(getattr(argument, "tuning", argument), "num_episodes")
    ]
    return [*drawn, *tuned, problem.validation.sha256]


@pytest.mark.parametrize("name", [*DEMOS, "portfolio"])
def test_held_out_days_of_real_traces_change_nothing_that_is_trained_on(real, name):
    """Windows of days cannot overlap if other values in one leave the other as it was."""
    clean, poisoned = (real(name, poisoned=poisoned) for poisoned in (False, True))
    assert clean.held_out.sha256 != poisoned.held_out.sha256
    assert seen_by_training(clean) == seen_by_training(poisoned)
    if name in ("resource_allocation", "supply_chain"):
        assert len(seen_by_training(clean)) > 10, "tuning is looked at"


class ReadError(Exception):
    """Somebody has looked at what is held out."""


class Poison:
    """Scenarios that nobody may look at."""

    num_episodes = 4

    def __getattr__(self, name):
        raise ReadError(name)


def train(folder, config, problem):
    torch.set_num_threads(1)
    train_problem(config, NullRecorder(), places_in(folder), run_id="r", problem=problem)


def trained(folder):
    """Return agent, environment and learner as the last checkpoint has them."""
    tensors = CheckpointFolder(folder / "checkpoints").newest().checkpoint.tensors
    parts = ("agent.", "environment.", "learner.")
    return {name: value for name, value in tensors.items() if name.startswith(parts)}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert one
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("name", DEMOS)
def test_nothing_held_out_is_read_before_training_is_over(tmp_path, name):
    config = config_of(name, use_curriculum=True, eval_frequency=8, total_episodes=16)
    problem = make_small(config)
    train(tmp_path / "clean", config, problem)
    held_out = ScenarioSet(name="h", about="", scenarios=Poison(), blocks=np.arange(4))
    with pytest.raises(ReadError):
        train(tmp_path / "poisoned", config, replace(problem, held_out=held_out))
    assert_same(trained(tmp_path / "clean"), trained(tmp_path / "poisoned"))


LEARNERS = {
    "apg": ("trading", "apg", LearningSettings()),
    "ppo": ("supply_chain", "ppo", LearningSettings()),
    "sac": ("resource_allocation", "sac", LearningSettings(sac=SACConfig(**REPLAY))),
    "recurrent": (
        "trading",
        "ppo",
        LearningSettings(ppo=PPOConfig(**SMALL, memory_size=6, num_minibatches=2)),
    ),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_evaluations_change_nothing_that_is_trained(tmp_path, name):
    """Weights, normaliser, generators, memory, environment: with many evaluations and with one."""
    environment, algorithm, settings = LEARNERS[name]
    config = config_of(environment, algorithm=algorithm, settings=settings, total_episodes=16)
    problem = make_small(config)
    for often in (0, 4):
        train(tmp_path / str(often), replace(config, eval_frequency=often), problem)
    assert not (tmp_path / "0" / "curve.json").read_text().count("env_steps") > 1
    assert (tmp_path / "4" / "curve.json").read_text().count("env_steps") > 2
    assert_same(trained(tmp_path / "0"), trained(tmp_path / "4"))
