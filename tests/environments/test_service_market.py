"""The full shared-services world: money, prices, energy, fairness, and stages of a curriculum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from data.scenario import BankConfig, ScenarioBank, ScenarioError
from data.workload import SyntheticWorkload
from data.workload_stages import StagedScenarios, StagedWorkload, WorkloadStage
from rl.domains.resource_allocation import AllocationDomain, AllocationView
from rl.domains.service_market import (
    EnergyConfig,
    MarketConfig,
    MarketDomain,
    MarketView,
    read_carbon_intensity,
)
from rl.domains.shared_services import shared_services
from rl.environments.allocation_books import ServiceStep, compute_jain, judge_sharing
from rl.environments.allocation_options import MECHANISM_NAMES, EnvironmentConfig
from rl.environments.conformance import check_environment
from rl.environments.gradient_check import check_gradients
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    ResourceAllocationEnvironment,
)
from rl.evaluation.bounds import hindsight_bound
from utils.errors import ConfigError

SERVICES, RESOURCES, STEPS = 4, 2, 72
ENERGY = EnergyConfig(busy_kwh=(0.02, 0.01), idle_kwh=(0.01, 0.005))
RICH = MarketConfig(budget=1e6)
worlds = settings(max_examples=12, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def make_bank(stage=None, episodes=8, steps=STEPS):
    preset = shared_services(SERVICES)
    world = replace(preset.training_world, max_steps=steps)
    source = SyntheticWorkload(preset.synthetic, world)
    if stage is not None:
        source = StagedWorkload(source, stage)
    return ScenarioBank(source, BankConfig(num_episodes=episodes), 0)


def make_environment(stage=None, *, num_envs=4, steps=STEPS, **options):
    chosen = EnvironmentConfig(
        num_envs=num_envs, **({"view": "services", "shuffle": False} | options)
    )
    config = replace(shared_services(SERVICES).allocation, max_steps=steps)
    return BatchedResourceAllocation(config, make_bank(stage, steps=steps), chosen, 0)


def draw_action(environment, generator):
    size = (environment.num_envs, environment.num_agents, environment.action_size)
    return torch.rand(size, generator=generator) * 1.2 - 0.1


def play(environment, seed=0, steps=20, scale=1.0):
    environment.reset(0)
    generator = torch.Generator().manual_seed(seed)
    return [environment.step(draw_action(environment, generator) * scale) for _ in range(steps)]


FULL = {"mechanism": "auction", "market": MarketConfig(dynamic_prices=True), "energy": ENERGY}


@pytest.mark.parametrize(
    "options",
    [
        FULL,
        {"mechanism": "max_min", "market": MarketConfig(dynamic_prices=True, budget=50.0)},
        FULL | {"action": "coverage", "counts_sharing": True, "fairness_weight": 0.3},
        {"view": "planner", "energy": ENERGY, "counts_sharing": True, "efficiency_weight": 0.3},
    ],
    ids=["auction", "posted prices", "coverage", "planner"],
)
@pytest.mark.parametrize("stage", [None, WorkloadStage(active_services=2, active_resources=1)])
def test_examiner(options, stage):
    check_environment(
        lambda: make_environment(stage, num_envs=2, steps=12, **options),
        num_steps=20,
        max_steps=12,
        seeds=(0,),
    )


def test_pettingzoo_checker():
    parallel_api_test(ResourceAllocationEnvironment(allocation_mechanism="auction"), num_cycles=80)


@worlds
@given(seed=seeds, mechanism=st.sampled_from(MECHANISM_NAMES), budget=st.floats(1, 500))
def test_money_is_conserved_and_no_budget_is_negative(seed, mechanism, budget):
    market = MarketConfig(budget=budget, dynamic_prices=True)
    environment = make_environment(mechanism=mechanism, market=market)
    environment.reset(0)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(30):
        before = environment.state.budget
        record = environment.step(draw_action(environment, generator))
        after = environment.state.budget
        paid, collected = record.metrics["paid"], record.metrics["collected"]
        assert (after >= 0).all()
        assert (after <= before).all()
        torch.testing.assert_close(paid, collected, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(paid, (before - after).sum(-1), rtol=1e-4, atol=1e-3)
        used = environment.state.allocation.sum(1)
        assert (used <= environment.rows["capacity"][:, environment.t - 1] * (1 + 1e-5)).all()


@pytest.mark.parametrize("mechanism", MECHANISM_NAMES)
@pytest.mark.parametrize("market", [None, RICH])
def test_no_bids_beat_the_planner_s_hindsight_bound(mechanism, market):
    if mechanism == "auction" and market is None:
        return
    environment = make_environment(mechanism=mechanism, market=market)
    bound = hindsight_bound(environment.bank.scenarios.take(np.arange(4)), environment.config)
    for seed in range(3):
        environment.reset(0)
        generator, total = torch.Generator().manual_seed(seed), torch.zeros(4)
        for _ in range(STEPS):
            total += environment.step(draw_action(environment, generator)).reward.sum(1)
        assert (total.numpy() <= bound + 1e-2).all()


def test_a_spent_budget_buys_nothing_and_a_new_episode_refills_it():
    environment = make_environment(mechanism="proportional", market=MarketConfig(budget=2.0))
    records = play(environment, steps=STEPS - 1)
    assert (environment.state.budget < 0.05).all()
    assert (records[-1].metrics["held_share"] < 0.02).all()
    environment.step(torch.ones(4, SERVICES, RESOURCES))
    assert (environment.state.budget == 2.0).all()


def test_bids_decide_who_is_served():
    environment = make_environment(mechanism="auction", market=RICH)
    served = []
    for bid in (0.1, 0.9):
        environment.reset(0)
        action = torch.ones(4, SERVICES, 2 * RESOURCES)
        action[..., RESOURCES:] = 0.5
        action[:, 0, RESOURCES:] = bid
        total = 0.0
        for _ in range(STEPS - 1):
            total = total + environment.step(action).reward_terms["served_value"][:, 0]
        served.append(total)
    assert (served[1] > served[0]).all()


@pytest.mark.parametrize(
    ("use", "level", "after"),
    [
        (0.9, 1.0, 1.02),
        (0.8, 1.0, 1.0),
        (0.4, 1.0, 1.0),
        (0.3, 1.0, 0.99),
        (1, 2, 2),
        (0, 0.7, 0.7),
    ],
)
@pytest.mark.parametrize("response", [0.0, 0.5, 1.0])
def test_prices_move_as_promised(use, level, after, response):
    market = MarketConfig(dynamic_prices=True)
    domain = MarketDomain(AllocationDomain(shared_services(2).allocation), market)
    moved = domain.move_prices(np.array([float(level)]), np.array([use]), np.array([response]))
    assert moved[0] == pytest.approx(level + response * (after - level))
    still = MarketDomain(domain.allocation, MarketConfig())
    assert still.move_prices(np.array([1.0]), np.array([0.9]), np.array([1.0]))[0] == 1.0


def test_holding_costs_follow_the_price_level():
    """Nothing is paid for what is not held, and idle units cost their current price."""
    market = MarketConfig(budget=1e6, dynamic_prices=True)
    fixed = make_environment(mechanism="proportional", market=RICH)
    moving = make_environment(mechanism="proportional", market=market)
    costs = []
    for environment in (fixed, moving):
        environment.reset(0)
        action = torch.ones(4, SERVICES, RESOURCES)
        costs.append([environment.step(action).metrics["holding_cost"] for _ in range(3)])
    assert torch.equal(costs[0][0], costs[1][0])
    torch.testing.assert_close(costs[1][2], costs[0][2] * 1.02**2)


def as_numpy(view):
    def turn(value):
        return None if value is None else value.numpy()

    known = {name: turn(value) for name, value in vars(view.allocation).items()}
    others = {name: turn(value) for name, value in vars(view).items() if name != "allocation"}
    return MarketView(allocation=AllocationView(**known), **others)


@pytest.mark.parametrize("stage", [None, WorkloadStage(active_services=3, active_resources=1)])
def test_numpy_sees_what_the_environment_sees(stage):
    environment = make_environment(stage, **FULL)
    record = play(environment)[-1]
    view = as_numpy(environment.market_view)
    domain = MarketDomain(AllocationDomain(environment.config), environment.options.market)
    np.testing.assert_allclose(record.global_state, domain.encode(view), rtol=1e-5, atol=1e-6)
    own = domain.encode_services(view)
    alive = record.agent_alive.numpy()
    np.testing.assert_allclose(
        record.observation[..., : own.shape[-1]], own * alive[..., None], rtol=1e-5, atol=1e-6
    )
    assert (own[..., -1] < 1).any()


def test_energy_and_carbon_by_hand():
    """Without work all units idle: 0.01 and 0.005 kWh each, at the curve's intensity."""
    environment = make_environment(
        WorkloadStage(demand_scale=0.0), view="planner", energy=ENERGY, num_envs=1
    )
    capacity = environment.rows["capacity"][:, 0]
    record = environment.step(torch.full((1, 1, SERVICES * RESOURCES), 0.25))
    energy = float(capacity @ torch.tensor([0.01, 0.005]))
    assert record.metrics["energy_kwh"].item() == pytest.approx(energy, rel=1e-5)
    intensity = read_carbon_intensity(environment.rows["time_of_day"][0, 0].numpy(), ENERGY)
    assert record.metrics["carbon_kg"].item() == pytest.approx(energy * intensity, rel=1e-5)
    curve = EnergyConfig(busy_kwh=(1.0,), idle_kwh=(1.0,), carbon_intensity=(0.2, 0.6))
    seen = read_carbon_intensity(np.array([0.0, 0.25, 0.5, 0.75]), curve)
    np.testing.assert_allclose(seen, [0.2, 0.4, 0.6, 0.4], rtol=1e-6)


def test_who_wants_nothing_does_not_count_as_served_badly():
    """Two of three services ask; both get half: even, whatever the third does not get."""
    units = torch.zeros((1, 3, 1))
    done = ServiceStep(
        pending=torch.tensor([[4.0, 2.0, 0.0]]),
        work=torch.tensor([[2.0, 1.0, 0.0]]),
        used=units,
        idle=units,
        exists=torch.ones((1, 3)),
    )
    figures, terms = judge_sharing(done, fairness_weight=3.0, efficiency_weight=0.0)
    assert figures["jain_index"].item() == pytest.approx(1.0)
    assert terms["fairness"][0].tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_carbon_follows_the_time_of_day():
    environment = make_environment(view="planner", energy=ENERGY, num_envs=1)
    times = environment.rows["time_of_day"][0].numpy()
    for when, record in zip(times, play(environment, steps=60), strict=False):
        each = record.metrics["carbon_kg"] / record.metrics["energy_kwh"]
        assert each.item() == pytest.approx(float(read_carbon_intensity(when, ENERGY)), rel=1e-4)


@pytest.mark.parametrize("view", ["planner", "services"])
def test_weights_make_terms_and_only_then(view):
    market = {"market": MarketConfig(payment_weight=0.1)} if view == "services" else {}
    priced = EnergyConfig(
        busy_kwh=(0.02, 0.01), idle_kwh=(0.01, 0.005), energy_price=0.3, carbon_price=0.1
    )
    plain = play(make_environment(view=view, energy=ENERGY, counts_sharing=True))[-1]
    weighted = play(
        make_environment(
            view=view, energy=priced, counts_sharing=True, fairness_weight=0.3,
            efficiency_weight=0.2, **market,
        )
    )[-1]  # fmt: skip
    assert set(plain.reward_terms) == {"served_value", "holding_cost"}
    extra = {"energy_cost", "carbon_cost", "fairness", "efficiency"}
    extra |= {"payment"} if market else set()
    assert set(weighted.reward_terms) - set(plain.reward_terms) == extra
    total = sum(weighted.reward_terms.values())
    torch.testing.assert_close(total, weighted.reward, rtol=1e-5, atol=1e-4)
    metrics = weighted.metrics
    fair = weighted.reward_terms["fairness"].sum(1)
    torch.testing.assert_close(fair, 0.3 * metrics["jain_index"])
    energy = weighted.reward_terms["energy_cost"].sum(1)
    torch.testing.assert_close(energy, -0.3 * metrics["energy_kwh"])
    assert (weighted.reward_terms["efficiency"].sum(1) <= 0.2 + 1e-6).all()


@pytest.mark.parametrize(
    ("share", "jain"), [([1, 1, 1], 1.0), ([1, 0, 0], 1 / 3), ([0, 0, 0], 1.0), ([2, 1, 0], 0.6)]
)
def test_jain_by_hand(share, jain):
    values = torch.tensor([share], dtype=torch.float32)
    assert compute_jain(values, torch.ones(1, 3)).item() == pytest.approx(jain)
    half = torch.tensor([[0.0, 1.0, 1.0]])
    assert compute_jain(torch.tensor([[9.0, 1.0, 1.0]]), half).item() == pytest.approx(1.0)


def work_of(stage, name="arrived_work", **options):
    environment = make_environment(stage, **options)
    return torch.stack([record.metrics[name] for record in play(environment, steps=40)])


def test_a_neutral_stage_changes_nothing():
    plain, staged = make_environment(None, **FULL), make_environment(WorkloadStage(), **FULL)
    for left, right in zip(play(plain), play(staged), strict=True):
        assert torch.equal(left.observation, right.observation)
        assert torch.equal(left.reward, right.reward)


def test_fewer_services_are_fewer_agents():
    environment = make_environment(WorkloadStage(active_services=2), **FULL)
    record = play(environment)[-1]
    assert record.agent_alive.tolist() == [[True, True, False, False]] * 4
    assert (record.reward[:, 2:] == 0).all()
    assert (record.observation[:, 2:] == 0).all()
    assert (environment.state.allocation[:, 2:] == 0).all()
    assert (environment.state.budget[:, 2:] == 0).all()
    assert (work_of(WorkloadStage(active_services=2)) < work_of(WorkloadStage())).all()


def test_fewer_resources_ask_for_less():
    """Without memory only compute limits what is served, and nothing of memory is held."""
    environment = make_environment(WorkloadStage(active_resources=1), mechanism="proportional")
    record = play(environment)[-1]
    assert record.action_mask[0, 0].tolist() == [True, False]
    assert (environment.state.allocation[..., 1] == 0).all()
    assert record.metrics["served_work"].min() > 0
    served = work_of(WorkloadStage(active_resources=1), "served_work").mean()
    assert served > work_of(WorkloadStage(), "served_work").mean()


def test_capacity_demand_and_variability_change_the_world():
    base = work_of(WorkloadStage(), "lost_work").sum()
    assert work_of(WorkloadStage(capacity_scale=0.5), "lost_work").sum() > base
    doubled = work_of(WorkloadStage(demand_scale=2.0))
    torch.testing.assert_close(doubled, 2 * work_of(WorkloadStage()))
    assert work_of(WorkloadStage(demand_variability=0.0)).std(0).max() < 1e-3
    assert work_of(WorkloadStage()).std(0).min() > 1.0


def test_price_response_is_part_of_the_scenario():
    levels = []
    for response in (0.0, 1.0):
        environment = make_environment(WorkloadStage(price_response=response), **FULL)
        play(environment)
        levels.append(environment.state.price_level)
    assert (levels[0] == 1).all()
    assert (levels[1] != 1).any()


@pytest.mark.parametrize("mechanism", ["auction", "proportional"])
def test_an_absent_resource_moves_no_price(mechanism):
    """Of one resource the mean is its own, and the other keeps the level it began with."""
    environment = make_environment(
        WorkloadStage(active_resources=1), **(FULL | {"mechanism": mechanism})
    )
    record = play(environment)[-1]
    level, price = environment.state.price_level, environment.state.unit_price
    assert (level[:, 1] == 1).all()
    assert (level[:, 0] != 1).any()
    torch.testing.assert_close(record.metrics["price_level"], level[:, 0])
    torch.testing.assert_close(record.metrics["unit_price"], price[:, 0])


def test_stages_follow_one_another_without_changing_a_shape():
    environment = make_environment(WorkloadStage(active_services=1, active_resources=1), **FULL)
    first = environment.reset(0)
    record = environment.use_bank(make_bank(WorkloadStage()), seed=0)
    assert record.observation.shape == first.observation.shape
    assert first.agent_alive.sum() == 4
    assert record.agent_alive.all()
    with pytest.raises(ConfigError, match="service_active"):
        environment.use_bank(make_bank(None), seed=0)


def test_coverage_ignores_absent_resources():
    environment = make_environment(
        WorkloadStage(active_resources=1), view="planner", action="coverage"
    )
    record = environment.step(torch.ones(4, 1, 4 * SERVICES))
    assert (record.metrics["served_work"] > 0).all()


def test_the_auction_has_the_slopes_it_says():
    """Whole episodes of 12 steps: at least 100 points without a kink nearby, all within 1 %."""
    report = check_gradients(lambda copies: make_environment(num_envs=copies, steps=12, **FULL))
    assert report.num_smooth >= 100
    assert report.worst_error <= 0.01


def test_the_face_tells_business_figures():
    environment = ResourceAllocationEnvironment(allocation_mechanism="fair_share", seed=1)
    environment.reset(seed=1)
    for _ in range(5):
        environment.step({name: np.full(2, 0.2, np.float32) for name in environment.agents})
    figures = environment.get_allocation_metrics()
    assert 0 < figures["jain_index"] <= 1
    assert 0 < figures["utilization"] <= figures["held_share"]
    assert figures["sla_violation_rate"] == figures["lost_share"]
    assert figures["carbon_kg"] < figures["energy_kwh"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mechanism": "lottery"}, "lottery"),
        ({"mechanism": "auction", "view": "services"}, "market"),
        ({"market": MarketConfig()}, "planner"),
        ({"fairness_weight": -1.0, "counts_sharing": True}, "fairness_weight"),
        ({"efficiency_weight": 1.0}, "counts_sharing"),
    ],
)
def test_impossible_choices_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        EnvironmentConfig(**settings)


@pytest.mark.parametrize(
    "change",
    [
        {"budget": 0.0},
        {"price_rise": 0.9},
        {"busy_use": 0.1},
        {"lowest_level": 1.5},
        {"payment_weight": float("nan")},
    ],
)
def test_impossible_markets_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        MarketConfig(**change)


def test_impossible_energies_are_refused():
    for busy, idle in (((1.0,), ()), ((-1.0,), (1.0,)), ((), ())):
        with pytest.raises(ConfigError, match=r"busy_kwh|energies"):
            EnergyConfig(busy_kwh=busy, idle_kwh=idle)
    with pytest.raises(ConfigError, match="one number per resource"):
        make_environment(energy=EnergyConfig(busy_kwh=(1.0,), idle_kwh=(1.0,)))


@pytest.mark.parametrize(
    "change", [{"active_services": 0}, {"capacity_scale": -1.0}, {"price_response": 2.0}]
)
def test_impossible_stages_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change)).split("_", maxsplit=1)[-1]):
        WorkloadStage(**change)
    with pytest.raises(ConfigError, match="larger world"):
        make_bank(WorkloadStage(active_services=9))


def test_impossible_masks_are_refused():
    arrays = dict(vars(make_bank(WorkloadStage(), episodes=2).scenarios))
    for name, value in (("service_active", 0.0), ("resource_active", 0.5)):
        with pytest.raises(ScenarioError, match=name):
            StagedScenarios(**(arrays | {name: np.full_like(arrays[name], value)}))
    with pytest.raises(ScenarioError, match="price_response"):
        StagedScenarios(**(arrays | {"price_response": np.ones(3, np.float32)}))
