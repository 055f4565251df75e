"""Trouble is really there: the arrays change as said, and experts fare worse in them."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from data.demand import InventoryScenarios, PoissonDemand
from data.market import REGIMES, TRADING_DAYS, MarketRegime
from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.order_flow import OrderFlowConfig, PoissonOrderFlow
from data.price_shocks import NormalShocks, ShockConfig
from data.scenario import BankConfig, FixedSource, ScenarioBank
from data.task_demand import TaskDemand, TaskLaws
from data.trading_scenarios import TradingSource, TradingStage
from rl.domains.allocation_experts import ExpertParameters, max_min_split
from rl.domains.execution import almgren_chriss
from rl.domains.execution_experts import sell_evenly
from rl.domains.inventory import inv_management, inv_management_demand
from rl.domains.inventory_experts import base_stock
from rl.domains.portfolio import PortfolioConfig
from rl.domains.portfolio_experts import as_action, hold_equally
from rl.domains.supply_business import five_product
from rl.domains.supply_experts import SupplyExperts
from rl.domains.supply_presets import multi_echelon
from rl.environments.execution_environment import BatchedExecution
from rl.environments.lockstep import LockstepOptions
from rl.environments.portfolio_environment import BatchedPortfolio
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.contest import Contest, ScenarioSet
from rl.evaluation.evaluator import expert_decider, play
from rl.evaluation.generalisation import generalisation_grid, stress_set
from rl.evaluation.inventory_scores import score_policy as score_inventory
from rl.evaluation.stress import apply_stress, stresses_of
from rl.evaluation.supply_scores import score_policy as score_supply
from utils.errors import ConfigError

MARKET = SyntheticMarketConfig(max_symbols=3, max_steps=60, lookback=30)


def draw(source, count=12):
    return source.draw(count, np.random.default_rng(4))


def make_supply(steps=80):
    preset = five_product(max_steps=steps, disruption_probability=0.05)
    return preset, draw(preset.source, 8)


def scenarios_of_every_kind(preset):
    return {
        "workload": preset[1],
        "inventory": draw(PoissonDemand(mean=10, max_steps=40)),
        "supply": make_supply()[1],
        "market": draw(SyntheticMarket(MARKET)),
        "trading": draw(TradingSource(SyntheticMarket(MARKET), TradingStage(max_agents=2))),
        "execution": draw(NormalShocks(ShockConfig(num_steps=40))),
        "order_flow": draw(PoissonOrderFlow(OrderFlowConfig(num_steps=40))),
    }


def changed_names(before, after):
    return {
        field.name
        for field in fields(before)
        if not np.array_equal(getattr(before, field.name), getattr(after, field.name))
    }


CHANGED = {
    ("workload", "capacity_failure"): {"capacity"},
    ("workload", "demand_shock"): {"demand"},
    ("inventory", "demand_shock"): {"demand"},
    ("supply", "supply_disruption"): {"shortage", "delay"},
    ("supply", "capacity_failure"): {"capacity_loss"},
    ("supply", "demand_shock"): {"demand", "demand_mean"},
    ("market", "crisis_volatility"): {"log_return", "regime"},
    ("trading", "crisis_volatility"): {"log_return", "regime"},
    ("execution", "crisis_volatility"): {"shocks"},
    ("order_flow", "crisis_volatility"): {"shocks"},
}


def test_every_kind_changes_what_it_should_in_every_episode_and_nothing_else(preset):
    kinds = scenarios_of_every_kind(preset)
    assert {(k, s) for k, one in kinds.items() for s in stresses_of(one)} == set(CHANGED)
    for (kind, stress), names in CHANGED.items():
        before = kinds[kind]
        copy = before.take(np.arange(before.num_episodes))
        after = apply_stress(before, stress, 1.0)
        assert type(after) is type(before)
        assert changed_names(before, after) == names
        assert not changed_names(before, copy)
        main = getattr(after, min(names - {"regime", "delay"}))
        was = getattr(before, min(names - {"regime", "delay"}))
        assert main.shape == was.shape
        assert main.dtype == np.float32
        assert (main != was).reshape(len(was), -1).any(1).all()
        assert not changed_names(before, apply_stress(before, stress, 0.0))
        assert not changed_names(after, apply_stress(before, stress, 1.0))


def test_a_crisis_multiplies_volatility_and_lowers_the_mean_price():
    before = draw(SyntheticMarket(MARKET), 200)
    after = apply_stress(before, "crisis_volatility", 1.0)
    assert after.log_return.std(1) == pytest.approx(2 * before.log_return.std(1), rel=1e-3)
    assert (after.regime == REGIMES.index(MarketRegime.CRISIS)).all()
    drawn = np.random.default_rng(0).normal(0.0, 0.05, before.log_return.shape)
    wild = replace(before, log_return=drawn.astype(np.float32))
    after = apply_stress(wild, "crisis_volatility", 1.0)
    lost = np.log(np.exp(after.log_return.astype(float)).mean())
    lost -= np.log(np.exp(wild.log_return.astype(float)).mean())
    assert lost == pytest.approx(MarketRegime.CRISIS.drift / TRADING_DAYS, abs=3e-4)
    active = before.symbol_active.copy()
    active[:, 1] = 0
    off = apply_stress(replace(before, symbol_active=active), "crisis_volatility", 1.0)
    assert np.array_equal(off.log_return[:, :, 1], before.log_return[:, :, 1])


def test_shocks_of_execution_grow_in_proportion():
    before = draw(NormalShocks(ShockConfig(num_steps=5)))
    after = apply_stress(before, "crisis_volatility", 0.5)
    np.testing.assert_allclose(after.shocks, 1.5 * before.shocks, rtol=1e-6)


@pytest.mark.parametrize("intensity", [0.5, 1.0, 3.0])
def test_failures_take_a_share_for_a_quarter_of_the_episode(preset, intensity):
    before = preset[1]
    after = apply_stress(before, "capacity_failure", intensity)
    steps = before.capacity.shape[1]
    struck = (after.capacity < before.capacity).all(-1)
    assert (struck.sum(1) == round(steps / 4)).all()
    assert struck[:, : steps // 4].sum() == 0
    expected = before.capacity[struck] * (1 - min(1.0, 0.5 * intensity))
    np.testing.assert_allclose(after.capacity[struck], expected, rtol=1e-6)
    assert len(set(struck.argmax(1))) > 1, "not all at the same time"


def test_demand_doubles_for_a_quarter_and_units_stay_whole():
    before = InventoryScenarios(demand=np.full((5, 40), 7.0, np.float32))
    after = apply_stress(before, "demand_shock", 1.0)
    assert (after.demand.sum(1) == 7 * 50).all()
    odd = apply_stress(before, "demand_shock", 0.25)
    assert set(np.unique(odd.demand)) == {7.0, 9.0}
    parts = InventoryScenarios(demand=np.full((1, 40), 0.5, np.float32))
    assert apply_stress(parts, "demand_shock", 0.5).demand.max() == 0.75


def test_a_supply_disruption_never_heals_what_was_worse():
    preset, before = make_supply()
    after = apply_stress(before, "supply_disruption", 1.0)
    assert (after.shortage >= before.shortage).all()
    assert (after.delay >= before.delay).all()
    assert after.delay.max() <= preset.config.max_delay
    assert (after.shortage == after.shortage.clip(0, 1)).all()
    assert (after.shortage >= 0.5).all(-1).sum() == 8 * 20


def test_what_means_nothing_is_refused():
    quiet = draw(multi_echelon().source, 2)
    assert stresses_of(quiet) == ("demand_shock",)
    with pytest.raises(ConfigError, match="supply_disruption means nothing for Supply"):
        apply_stress(quiet, "supply_disruption", 1.0)
    with pytest.raises(ConfigError, match="choose from"):
        apply_stress(quiet, "crisis", 1.0)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="intensity"):
            apply_stress(quiet, "demand_shock", wrong)


def allocation_kpi(preset, scenarios):
    decide = expert_decider(max_min_split, preset[0], ExpertParameters())
    return play(preset[0], scenarios, decide)


def test_experts_fare_worse_where_capacity_fails_and_demand_doubles(preset):
    """Fewer units serve less value; more work than fits loses a larger share of it."""
    plain = allocation_kpi(preset, preset[1])
    values = [
        allocation_kpi(preset, apply_stress(preset[1], "capacity_failure", intensity))
        for intensity in (0.5, 1.0, 2.0)
    ]
    kpis = [plain.kpi.mean(), *(one.kpi.mean() for one in values)]
    assert kpis == sorted(kpis, reverse=True)
    shocked = allocation_kpi(preset, apply_stress(preset[1], "demand_shock", 1.0))
    assert (shocked.lost_share > plain.lost_share).all()


def test_experts_fare_worse_in_a_disrupted_network():
    preset, before = make_supply()
    rule = SupplyExperts(preset.config, informed=False, extra_steps=1).newsvendor
    plain = score_supply(rule, before, preset.config)
    for stress in ("supply_disruption", "capacity_failure"):
        hit = score_supply(rule, apply_stress(before, stress, 2.0), preset.config)
        assert hit.profit.mean() < plain.profit.mean(), stress
        assert hit.fill_rate.mean() < plain.fill_rate.mean(), stress


def test_a_stocked_chain_earns_less_per_unit_asked_for_in_a_shock():
    chain = inv_management(lost_sales=True)
    before = draw(inv_management_demand(), 30)
    levels = np.array([50.0, 100.0, 200.0])

    def profit_per_unit(scenarios):
        scores = score_inventory(lambda view: base_stock(view, chain, levels), scenarios, chain)
        return scores.profit.sum() / scenarios.demand.sum()

    assert profit_per_unit(apply_stress(before, "demand_shock", 2.0)) < profit_per_unit(before)


def contest_of(make, num_steps):
    def make_environment(scenarios):
        count = scenarios.num_episodes
        bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=count), 0)
        return make(bank, LockstepOptions(num_envs=count, shuffle=False))

    return Contest(make_environment=make_environment, num_steps=num_steps)


def test_a_crisis_costs_the_holder_growth_and_the_seller_his_worst_cases():
    config = PortfolioConfig(num_steps=60)
    contest = contest_of(lambda bank, options: BatchedPortfolio(config, bank, options, 0), 60)

    def hold(environment, record):
        view = view_to_numpy(environment.view)
        return torch.from_numpy(as_action(hold_equally(view, config), config))

    markets = ScenarioSet(
        name="m", about="m", scenarios=draw(SyntheticMarket(MARKET), 60), blocks=np.arange(60)
    )
    growth = [
        contest.play(hold, one).kpi.mean()
        for one in (markets, stress_set(markets, "crisis_volatility", 1.0))
    ]
    assert growth[1] < growth[0] - 0.02

    order = almgren_chriss()
    seller = contest_of(
        lambda bank, options: BatchedExecution(order, bank, options, 0), order.num_steps
    )

    def sell(environment, record):
        share = sell_evenly(view_to_numpy(environment.view), order)
        return torch.from_numpy(np.asarray(share, np.float32))[:, None]

    shocks = draw(NormalShocks(ShockConfig(num_steps=order.num_steps)), 100)
    orders = ScenarioSet(name="o", about="o", scenarios=shocks, blocks=np.arange(100))
    spread = [
        seller.play(sell, one).kpi.std()
        for one in (orders, stress_set(orders, "crisis_volatility", 1.0))
    ]
    assert spread[1] == pytest.approx(2 * spread[0], rel=1e-3)


def test_a_grid_holds_every_kind_at_every_intensity(preset):
    episodes = ScenarioSet(
        name="held_out",
        about="services",
        scenarios=preset[1],
        blocks=np.arange(8) // 2,
        block_name="day",
    )
    cells = generalisation_grid(episodes, (0.5, 1.0))
    assert [(cell.stress, cell.intensity) for cell in cells] == [
        ("capacity_failure", 0.5),
        ("capacity_failure", 1.0),
        ("demand_shock", 0.5),
        ("demand_shock", 1.0),
    ]
    assert cells[0].episodes.name == "held_out/capacity_failure@0.5"
    assert cells[0].episodes.block_name == "day"
    assert np.array_equal(cells[0].episodes.blocks, episodes.blocks)
    hashes = {episodes.sha256, *(cell.episodes.sha256 for cell in cells)}
    assert len(hashes) == 5
    for wrong in ((), (1.0, 0.5), (0.0, 1.0), (1.0, 1.0)):
        with pytest.raises(ConfigError, match="rise"):
            generalisation_grid(episodes, wrong)
    tasks = draw(TaskDemand(TaskLaws(), 0), 2)
    other = ScenarioSet(name="t", about="t", scenarios=tasks, blocks=np.arange(2))
    with pytest.raises(ConfigError, match="no stress"):
        generalisation_grid(other)
