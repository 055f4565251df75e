"""The trading demo's problem: fixed sets that never mix, and a policy that leaves without torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.desk_orders import DeskLaws, DeskScenarios
from data.price_shocks import NormalShocks, ShockConfig
from data.price_traces import load_stocks
from data.scenario import ScenarioBank, hash_scenarios
from data.traces import locate_traces
from rl.artifacts import PolicyArtifact
from rl.deployment.policy_runtime import PolicyRuntime
from rl.deployment.trading_exporter import export_desk
from rl.domains.order_desks import OrderDesksConfig, OrderDesksDomain
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.contest import ScenarioSet
from rl.training import trading_problem as module
from rl.training.agents import make_agent
from rl.training.learners import make_learner
from rl.training.trading_problem import trading_problem
from tests.serving import make_card
from utils.errors import ConfigError
from utils.seeding import make_generator

needs_prices = pytest.mark.skipif(locate_traces() is None, reason="no price files")


@pytest.fixture
def synthetic(monkeypatch):
    """The problem as it is where no price files are."""
    monkeypatch.setattr(module, "locate_traces", lambda: None)
    monkeypatch.setattr(module, "NUM_SYNTHETIC", 24)
    return trading_problem(2)


def set_hashes(problem):
    sets = (problem.validation, problem.held_out, *problem.stress)
    return {one.name: one.sha256 for one in sets}


def make_learner_of(problem, algorithm, *, seed=0):
    settings = problem.settings_of(algorithm)
    bank = ScenarioBank(problem.training, replace(problem.bank, num_episodes=64), seed)
    environment = problem.learn_in(bank, settings.num_envs, seed)
    agent = make_agent(settings.config, environment, seed=seed)
    steps = settings.rollout_steps
    return agent, make_learner(environment, agent, rollout_steps=steps, seed=seed)


def test_without_price_files_it_is_synthetic_and_says_so(synthetic):
    assert "no price files" in synthetic.training_data
    assert "no price files" in synthetic.held_out.about
    assert synthetic.held_out.scenarios.shock.shape == (24, 100, 2)


def test_sets_are_the_same_for_every_run_and_different_from_one_another(synthetic):
    hashes = set_hashes(synthetic)
    assert set_hashes(trading_problem(2)) == hashes
    assert len(set(hashes.values())) == len(hashes)


def test_stress_really_stresses(synthetic):
    sets = {one.name: one.scenarios for one in synthetic.stress}
    assert sets["crisis"].shock.std() > 2 * sets["plain"].shock.std()
    assert (sets["illiquid"].impact_scale == 3.0).all()

    def jumps(one):
        return float((np.abs(one.shock) > 6).mean())

    assert jumps(sets["gaps"]) > 2 * jumps(sets["plain"])


@needs_prices
@pytest.mark.parametrize("real_share", [None, 0.8])
def test_nothing_held_out_is_trained_on(monkeypatch, real_share):
    """Whatever prices do from a day on, what is drawn before it stays the same, byte for byte."""

    def build(changed_from):
        def load(folder):
            table = load_stocks(folder)
            later = (table.dates >= np.datetime64(changed_from))[:, None]
            noise = np.random.default_rng(0).uniform(0.5, 2.0, table.price.shape)
            return replace(table, price=np.where(later, noise * table.price, table.price))

        monkeypatch.setattr(module, "load_stocks", load)
        mixed = real_share is not None
        return trading_problem(4, use_synthetic_data=mixed, real_share=real_share or 0.8)

    def draw(problem):
        return hash_scenarios(problem.training.draw(300, np.random.default_rng(0)))

    plain = build("2100-01-01")
    held_out = build(module.FIRST_HELD_OUT_DAY)
    assert draw(held_out) == draw(plain)
    assert held_out.validation.sha256 == plain.validation.sha256
    assert held_out.held_out.sha256 != plain.held_out.sha256
    watched = build(module.FIRST_VALIDATION_DAY)
    assert draw(watched) == draw(plain)
    assert watched.validation.sha256 != plain.validation.sha256
    assert draw(build("2006-12-01")) != draw(plain)


@needs_prices
def test_held_out_windows_do_not_overlap_and_name_their_blocks():
    held_out = trading_problem(4).held_out
    blocks = np.unique(held_out.blocks)
    assert len(blocks) == 19
    assert held_out.scenarios.num_episodes == 19 * module.ORDERS_PER_WINDOW


def test_experts_and_bound_are_in_order(synthetic):
    kpi = {
        name: synthetic.contest.play(rule.player(rule.tune()), synthetic.held_out).kpi
        for name, rule in synthetic.experts.items()
    }
    bound = synthetic.bound(synthetic.held_out.scenarios)
    assert kpi["immediate"].mean() < kpi["twap"].mean() < kpi["almgren_chriss"].mean()
    assert all((one <= bound).all() for one in kpi.values())


@pytest.mark.parametrize("algorithm", ["apg", "ppo"])
def test_a_desk_serves_without_torch_what_it_does_in_training(synthetic, algorithm):
    agent, learner = make_learner_of(synthetic, algorithm)
    learner.learn(10**6)
    artifact = synthetic.exporter.make(agent, make_card())
    artifact = PolicyArtifact.from_bytes(artifact.to_bytes())
    world = synthetic.contest.make_environment(synthetic.held_out.scenarios)
    world.reset()
    for _ in range(3):
        record = world.step(torch.full((24, 2, 1), 0.2))
    domain = OrderDesksDomain(OrderDesksConfig(num_desks=2))
    view = view_to_numpy(world.view)
    served = PolicyRuntime(artifact).act(domain.encode(view))
    trained = agent.act(record.observation, None, deterministic=True).action.clamp(0, 1)
    np.testing.assert_allclose(served, trained.numpy(), atol=1e-5)
    sold = domain.project(served, view)
    assert (sold >= 0).all()
    assert (sold <= view.remaining + 1e-6).all()


def test_an_agent_of_another_world_is_refused(synthetic):
    agent, _ = make_learner_of(synthetic, "apg")
    agent.export_layers = lambda: type(
        "Layers", (), {"layers": [(np.zeros((5, 1), np.float32), np.zeros(1, np.float32))]}
    )
    with pytest.raises(ConfigError, match="turns 5 numbers into"):
        export_desk(agent, OrderDesksConfig(), make_card())


def test_ranges_span_the_sets(synthetic):
    sets = [synthetic.validation.scenarios, synthetic.held_out.scenarios]
    ranges = {one.field: one for one in synthetic.exporter.ranges(sets)}
    assert set(ranges) == {
        "order.moves", "order.price_change", "order.volatility", "order.impact",
        "order.risk_aversion",
    }  # fmt: skip
    assert ranges["order.volatility"].low == min(float(one.volatility.min()) for one in sets)
    assert ranges["order.moves"].high == max(
        max(float(one.shock.max()), float(one.history.max())) for one in sets
    )


def test_ranges_of_another_world_are_refused(synthetic):
    other = NormalShocks(ShockConfig()).draw(2, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="DeskScenarios only"):
        synthetic.exporter.ranges([synthetic.held_out.scenarios, other])


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="real_share"):
        trading_problem(2, real_share=0.0)
    with pytest.raises(ConfigError, match="num_desks"):
        trading_problem(0)


def test_judging_changes_neither_the_set_nor_the_learner(synthetic):
    agent, learner = make_learner_of(synthetic, "apg")
    learner.learn(10**6)
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    sha = synthetic.held_out.sha256
    first = synthetic.contest.play_policy(agent, synthetic.held_out).kpi
    assert np.array_equal(synthetic.contest.play_policy(agent, synthetic.held_out).kpi, first)
    assert all(torch.equal(before[name], value) for name, value in agent.state_dict().items())
    fresh = DeskScenarios(**vars(synthetic.held_out.scenarios))
    assert replace(synthetic.held_out, scenarios=fresh).sha256 == sha


@pytest.mark.learning
@pytest.mark.parametrize("algorithm", ["apg", "ppo"])
def test_a_few_episodes_beat_twap(synthetic, algorithm):
    agent, learner = make_learner_of(synthetic, algorithm)
    total = 40 * 16 * 100
    while learner.env_steps < total:
        learner.learn(total)
    twap = synthetic.experts["twap"].player(())
    fresh = synthetic.training.draw(256, make_generator(7, "episodes nobody trained on"))
    episodes = ScenarioSet(name="fresh", about="drawn", scenarios=fresh, blocks=np.arange(256))
    ours = synthetic.contest.play_policy(agent, episodes).kpi
    lead = ours - synthetic.contest.play(twap, episodes).kpi
    assert lead.mean() > 3 * lead.std() / len(lead) ** 0.5


def test_the_demo_sells_in_a_hundred_steps():
    assert DeskLaws().num_steps == OrderDesksConfig().num_steps == 100
