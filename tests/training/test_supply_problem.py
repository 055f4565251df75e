"""The retail chain as a problem: what is held out, who plays, what it is judged by and exported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.chain_scenarios import ChainSource
from data.scenario import BankConfig, FixedSource, ScenarioBank, ScenarioError
from data.shop_demand import LARGEST, TRAIN_DAYS, RetailDays, SyntheticShop, load_shop_days
from data.traces import locate_traces
from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.apg_config import APGConfig
from rl.artifacts import Baseline, Evaluation, Figure, PolicyArtifact, PolicyCard
from rl.deployment.policy_runtime import PolicyRuntime
from rl.deployment.supply_exporter import SUPPLY_CHAIN, export_supply_planner, supply_ranges
from rl.domains.echelon_levels import EchelonLevels
from rl.domains.retail_chain import SYNTHETIC_LAW, chain_shape, retail_chain
from rl.domains.retail_chain_experts import CoverRule, Covers
from rl.domains.supply_chain import SupplyConfig, SupplyDomain
from rl.domains.supply_presets import multi_echelon
from rl.environments.conformance import check_environment
from rl.environments.echelon_environment import BatchedEchelonChain
from rl.environments.supply_network_environment import SupplyOptions
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.contest import ScenarioSet
from rl.evaluation.players import policy_player
from rl.training import supply_problem, supply_tuning
from rl.training.agents import make_agent
from rl.training.supply_problem import supply_chain_problem
from rl.training.supply_tuning import orders_player, tune_covers
from utils.config import from_json
from utils.errors import ConfigError
from utils.seeding import make_generator

STAGES = 3
CARD = PolicyCard(
    agent="a",
    run_id="r",
    checkpoint_sha256="",
    commit="c",
    data="d",
    evaluation=Evaluation(scenarios="s", num_episodes=1, kpi=1.0, kpi_low=0.0, kpi_high=2.0),
    baseline=Baseline(expert="base_stock", parameters=(), kpi=0.5),
    validated_for=(),
    limits=(),
    created_at="2026-11-28T00:00:00+00:00",
)


@pytest.fixture(scope="module")
def problem():
    return supply_chain_problem(STAGES)


def few(episodes: ScenarioSet, count: int = 6) -> ScenarioSet:
    return episodes.first(count)


def untrained(problem, seed: int = 0) -> APGAgent:
    bank = ScenarioBank(problem.training, BankConfig(num_episodes=2), 0)
    agent = make_agent(APGConfig(initial_action_mean=0.4), problem.learn_in(bank, 2, 0), seed=seed)
    assert isinstance(agent, APGAgent)
    return agent


def expert(problem, *cover: float):
    values = (0.0, 0.0, *cover)
    return problem.experts["base_stock"].player(
        tuple(Figure(name=str(n), value=v) for n, v in enumerate(values))
    )


def test_sets_are_the_same_for_every_build_and_differ_from_one_another(problem):
    again = supply_chain_problem(STAGES, real_share=0.3)
    sets = (problem.validation, problem.held_out, *problem.stress)
    others = (again.validation, again.held_out, *again.stress)
    assert [one.sha256 for one in sets] == [one.sha256 for one in others]
    assert len({one.sha256 for one in sets}) == len(sets)


def test_without_traces_the_held_out_set_is_synthetic_and_says_so(monkeypatch):
    monkeypatch.setattr(supply_problem, "locate_traces", lambda: None)
    drawn = supply_chain_problem(STAGES)
    assert "synthetic" in drawn.held_out.about
    assert "no traces" in drawn.training_data
    first = drawn.training.draw(64, make_generator(0, "test")).demand
    held = {row.tobytes() for row in drawn.held_out.scenarios.demand}
    assert not held & {row.tobytes() for row in first}


needs_traces = pytest.mark.skipif(locate_traces() is None, reason="no trace files here")


@needs_traces
def test_training_never_meets_a_held_out_product_or_day(problem):
    folder = locate_traces()
    assert folder is not None
    train, held_out = load_shop_days(folder)
    assert not set(train.products) & set(held_out.products)
    assert (len(train.units), len(train.units) + len(held_out.units)) == (TRAIN_DAYS, 305)
    steps = 12
    held = {row[:steps].tobytes() for row in problem.held_out.scenarios.demand[..., 0]}
    windows = np.lib.stride_tricks.sliding_window_view(train.units, steps, axis=0)
    trained = {row.tobytes() for row in np.ascontiguousarray(windows.reshape(-1, steps))}
    busy = {one for one in held if np.frombuffer(one, np.float32).any()}
    assert busy
    assert not busy & trained
    drawn = train.draw_units(50, steps, make_generator(1, "test"))
    assert {row.tobytes() for row in drawn} <= trained


@needs_traces
def test_a_folder_without_the_file_is_refused_by_name(tmp_path):
    with pytest.raises(Exception, match="uci_online_retail_daily_100sku"):
        supply_chain_problem(STAGES, traces=str(tmp_path))


def test_windows_longer_than_the_data_are_refused():
    days = RetailDays(units=np.zeros((5, 2), np.float32), products=("a", "b"))
    with pytest.raises(ScenarioError, match="6 days do not fit in 5"):
        days.draw_units(1, 6, make_generator(0, "test"))


def test_windows_cover_every_product_from_every_beginning():
    units = np.arange(14, dtype=np.float32).reshape(7, 2)
    windows, product = RetailDays(units=units, products=("a", "b")).cut_windows(3, 2)
    assert product.tolist() == [0, 1] * 3
    assert windows[:, 0].tolist() == [0, 1, 4, 5, 8, 9]
    assert windows[0].tolist() == [0, 2, 4]


@pytest.mark.parametrize(("name", "value"), [("num_agents", 1), ("real_share", 1.0)])
def test_impossible_settings_are_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=name):
        supply_chain_problem(**{name: value})


def test_stress_sets_really_change_the_world(problem):
    sets = {one.name: one.scenarios for one in problem.stress}
    calm = problem.held_out.scenarios
    for name in ("shortage", "delay", "quality_loss", "capacity_loss"):
        assert not getattr(calm, name).any()
    struck = sets["supply_disruption"]
    assert all(getattr(struck, n).any() for n in ("shortage", "quality_loss", "capacity_loss"))
    assert sets["late_shipments"].delay.mean() > 0.5
    shocked = sets["demand_shock"].demand[..., 0]
    assert shocked[:, 40:].mean() > 1.5 * shocked[:, :40].mean()


def test_each_stress_costs_the_base_stock_rule_profit(problem):
    player = expert(problem, 7.0, 9.0, 14.0)
    plain = SyntheticShop(law=SYNTHETIC_LAW)
    calm = supply_problem._drawn_set(
        "supply_disruption", "", supply_problem._quiet(retail_chain(STAGES), plain)
    )
    before = problem.contest.play(player, calm)
    after = {one.name: problem.contest.play(player, one) for one in problem.stress}
    assert after["supply_disruption"].kpi.mean() < before.kpi.mean()
    assert after["late_shipments"].kpi.mean() < before.kpi.mean()
    assert after["demand_shock"].figures["fill_rate"].mean() < before.figures["fill_rate"].mean()


def test_nobody_earns_more_than_the_bound(problem):
    player = expert(problem, 7.0, 9.0, 14.0)
    for episodes in (few(problem.held_out), *(few(one, 3) for one in problem.stress)):
        bound = problem.bound(episodes.scenarios)
        assert (problem.contest.play(player, episodes).kpi <= bound + 1e-2).all()


def test_tuning_finds_better_covers_than_it_begins_with(monkeypatch):
    monkeypatch.setattr(supply_tuning, "TRUSTS", (0.0,))
    monkeypatch.setattr(supply_tuning, "SCALES", (1.0,))
    monkeypatch.setattr(supply_tuning, "STEPS", (2.0,))
    config = replace(retail_chain(2), max_steps=30)
    source = ChainSource(shape=chain_shape(config), demand=SyntheticShop(law=SYNTHETIC_LAW))
    windows = source.draw(8, make_generator(2, "test"))
    found = tune_covers(config, windows, start_gap=0.0)
    assert [one.name for one in found][:2] == ["trust", "gap_days"]
    score = supply_tuning._Score(config, windows)
    way = np.cumsum([link.lead_time + 1.0 for link in config.network.links])
    begin = (0.0, 0.0, *(2.0 + way).tolist())
    assert score([tuple(one.value for one in found)])[0] > score([begin])[0]


def test_a_constant_level_is_base_stock(problem):
    """An agent whose action never changes plays what the rule with the same covers plays."""
    episodes, config = few(problem.held_out), retail_chain(STAGES)
    levels = EchelonLevels(SupplyDomain(config))
    days = np.array([6.0, 9.0, 12.0])

    class Constant:
        def act(self, observation, action_mask, *, deterministic):
            del action_mask, deterministic
            share = torch.as_tensor(days / levels.highest_days, dtype=torch.float32)
            return type("Sample", (), {"action": share.expand(len(observation), 1, STAGES)})

    class Endless(CoverRule):
        def __call__(self, view):
            return super().__call__(replace(view, steps_taken=view.steps_taken * 0))

    covers = Covers(cover=days, trust=np.array(0.0), gap=np.array(0.0))
    ours = problem.contest.play_policy(Constant(), episodes)
    rule = problem.contest.play(orders_player(Endless(config, covers)), episodes)
    np.testing.assert_allclose(ours.kpi, rule.kpi, rtol=1e-4, atol=1e-2)


def test_training_and_judging_read_actions_alike(problem):
    """The same policy, in the world it trains in and in the contest, earns the same."""
    episodes, agent = few(problem.held_out), untrained(problem)
    scored = problem.contest.play_policy(agent, episodes).kpi
    config = retail_chain(STAGES)
    bank = ScenarioBank(FixedSource(episodes.scenarios), BankConfig(num_episodes=6), 0)
    world = BatchedEchelonChain(config, bank, SupplyOptions(num_envs=6, shuffle=False), 0)
    record, earned = world.reset(), torch.zeros(6)
    for _ in range(config.max_steps):
        record = world.step(policy_player(agent)(world, record))
        earned += record.reward[:, 0]
    np.testing.assert_allclose(earned.numpy(), scored, rtol=1e-4, atol=1e-2)


def test_the_world_of_levels_conforms_and_has_gradients(problem):
    bank = ScenarioBank(problem.training, BankConfig(num_episodes=4), 0)
    check_environment(lambda: problem.learn_in(bank, 4, 0), num_steps=104, seeds=(0,))
    world = problem.learn_in(bank, 4, 0)
    record = world.reset()
    action = torch.tensor([0.3, 0.6, 0.9]).repeat(4, 1, 1).requires_grad_()
    total = torch.zeros(())
    for _ in range(30):
        record = world.step(action)
        total = total + record.reward.sum()
    total.backward()
    assert action.grad is not None
    assert (action.grad.abs() > 0).any(0).all()


def test_levels_need_a_chain_and_a_planner(problem):
    with pytest.raises(ConfigError, match="chain"):
        EchelonLevels(SupplyDomain(multi_echelon().config))
    with pytest.raises(ConfigError, match="covers for"):
        CoverRule(
            retail_chain(STAGES),
            Covers(cover=np.ones(2), trust=np.array(0.0), gap=np.array(0.0)),
        )
    bank = ScenarioBank(problem.training, BankConfig(num_episodes=1), 0)
    with pytest.raises(ConfigError, match="planner"):
        BatchedEchelonChain(retail_chain(STAGES), bank, SupplyOptions(view="nodes"), 0)


def test_covers_that_are_no_numbers_are_refused():
    with pytest.raises(ConfigError, match="cover"):
        Covers(cover=np.array([np.nan]), trust=np.array(0.0), gap=np.array(0.0))
    with pytest.raises(ConfigError, match="trust"):
        Covers(cover=np.array([1.0]), trust=np.array(1.5), gap=np.array(0.0))


def test_the_artifact_orders_as_the_trained_policy_does(problem):
    """Read back from its bytes, without torch: the same orders for the same situation."""
    agent, episodes = untrained(problem, seed=3), few(problem.held_out)
    content = problem.exporter.make(agent, CARD).to_bytes()
    artifact = PolicyArtifact.from_bytes(content)
    config = from_json(SupplyConfig, json.loads(artifact.domain_config))
    assert (artifact.domain, config) == (SUPPLY_CHAIN, retail_chain(STAGES))
    domain = SupplyDomain(config)
    levels, runtime = EchelonLevels(domain), PolicyRuntime(artifact)

    def served(view):
        return levels.orders(runtime.act(levels.encode(view)), view).astype(np.float64)

    trained = problem.contest.play_policy(agent, episodes).kpi
    np.testing.assert_allclose(
        problem.contest.play(orders_player(served), episodes).kpi, trained, rtol=1e-4, atol=1e-2
    )


def test_a_policy_of_another_chain_is_not_exported(problem):
    with pytest.raises(ConfigError, match="export it with the config"):
        export_supply_planner(untrained(problem), CARD, retail_chain(STAGES + 1))


def test_ranges_hold_what_scenarios_hold(problem):
    ranges = {one.field: one for one in problem.exporter.ranges([problem.held_out.scenarios])}
    demand = ranges["demand.customers.product"]
    held = problem.held_out.scenarios.demand
    assert (demand.low, demand.high) == (held.min(), held.max())
    assert demand.high <= LARGEST
    assert ranges["shortage"].high == 0.0
    struck = supply_ranges(retail_chain(STAGES), [one.scenarios for one in problem.stress])
    assert {one.field: one.high for one in struck}["shortage"] > 0.5
    stock = ranges["stock.shop.product"].high
    view = view_to_numpy(problem.contest.make_environment(problem.held_out.scenarios).view)
    assert view.stock.max() <= stock


def test_settings_fit_the_world(problem):
    assert set(problem.settings) >= {"apg", "ppo"}
    bank = ScenarioBank(problem.training, BankConfig(num_episodes=2), 0)
    for settings in problem.settings.values():
        make_agent(settings.config, problem.learn_in(bank, 2, 0), seed=0)


def test_the_training_source_mixes_what_it_says(tmp_path: Path):
    if locate_traces() is None:
        pytest.skip("no trace files here")
    only_real = supply_chain_problem(STAGES, use_synthetic_data=False)
    mixed = supply_chain_problem(STAGES)
    assert "synthetic" not in only_real.training_data
    assert "50%" in mixed.training_data
    train, _ = load_shop_days(locate_traces() or tmp_path)
    quiet = {row.tobytes() for row in train.cut_windows(100, 1)[0]}
    drawn = only_real.training.draw(20, make_generator(4, "test")).demand[..., 0]
    assert all(row.tobytes() in quiet for row in drawn)
