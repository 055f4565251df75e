"""What the shared-services world keeps, whatever the demand, the failures and the actions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.scenario import BankConfig, FixedSource, ScenarioBank, WorkloadScenarios
from rl.domains.shared_services import shared_services
from rl.environments.base_environment import InvalidActionError
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from utils.errors import ConfigError

STEPS, LOOKBACK = 8, 3
SERVICES, RESOURCES = 3, 2

hard_worlds = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1)
views = st.sampled_from(["planner", "services"])
mechanisms = st.sampled_from(["proportional", "priority"])


def draw_scenarios(seed, episodes=4):
    """Episodes with quiet and flooded steps, and capacities that fail in part or whole."""
    draw = np.random.default_rng(seed)
    quiet = draw.random((episodes, STEPS, SERVICES)) < 0.3
    flood = draw.exponential(30.0, (episodes, STEPS, SERVICES))
    health = draw.choice([0.0, 0.4, 1.0], (episodes, STEPS, RESOURCES), p=[0.1, 0.3, 0.6])
    return WorkloadScenarios(
        history=draw.exponential(20.0, (episodes, LOOKBACK, SERVICES)).astype(np.float32),
        demand=np.where(quiet, 0.0, flood).astype(np.float32),
        capacity=(60.0 * health).astype(np.float32),
        priority=draw.uniform(0, 5, (episodes, SERVICES)).astype(np.float32),
        price=draw.uniform(0, 1, (episodes, RESOURCES)).astype(np.float32),
        time_of_day=draw.random((episodes, STEPS)).astype(np.float32),
    )


def make_environment(seed=0, scenarios=None, num_envs=4, **options):
    config = replace(shared_services(SERVICES).allocation, max_steps=STEPS, lookback=LOOKBACK)
    source = FixedSource(draw_scenarios(seed) if scenarios is None else scenarios)
    bank = ScenarioBank(source, BankConfig(num_episodes=4), 0)
    chosen = EnvironmentConfig(num_envs=num_envs, shuffle=False, **options)
    return BatchedResourceAllocation(config, bank, chosen, 0)


def draw_action(environment, generator):
    """Anything from nothing over all corners to more than there is."""
    shape = (environment.num_envs, environment.num_agents, environment.groups[0].action.size)
    inside = torch.rand(shape, generator=generator)
    corner = torch.randint(-1, 3, shape, generator=generator).float()
    return torch.where(torch.rand(shape, generator=generator) < 0.5, inside, corner)


@hard_worlds
@given(seed=seeds, view=views, mechanism=mechanisms)
def test_allocations_never_exceed_capacity(seed, view, mechanism):
    environment = make_environment(seed, view=view, mechanism=mechanism)
    environment.reset(0)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS - 1):
        capacity = environment.view.capacity
        environment.step(draw_action(environment, generator))
        allocation = environment.view.allocation
        assert (allocation >= 0).all()
        assert (allocation.sum(1) <= capacity * (1 + 1e-5)).all()


@hard_worlds
@given(seed=seeds, view=views, mechanism=mechanisms)
def test_arrived_is_served_waiting_or_lost(seed, view, mechanism):
    environment = make_environment(seed, view=view, mechanism=mechanism)
    environment.reset(0)
    generator = torch.Generator().manual_seed(seed)
    arrived = gone = torch.zeros(environment.num_envs)
    demand = environment.bank.scenarios.demand.sum(-1)
    for step in range(STEPS):
        record = environment.step(draw_action(environment, generator))
        metrics = record.metrics
        arrived = arrived + metrics["arrived_work"]
        gone = gone + metrics["served_work"] + metrics["lost_work"]
        torch.testing.assert_close(arrived, gone + metrics["waiting_work"], rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(
            metrics["arrived_work"], torch.as_tensor(demand[:, step]), rtol=1e-5, atol=1e-4
        )
        torch.testing.assert_close(record.cost.sum((1, 2)), metrics["lost_work"])


@hard_worlds
@given(seed=seeds, view=views, reward=st.sampled_from(["kpi", "losses"]))
def test_terms_sum_to_the_reward(seed, view, reward):
    environment = make_environment(seed, view=view, reward=reward)
    environment.reset(0)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        record = environment.step(draw_action(environment, generator))
        total = sum(record.reward_terms.values())
        torch.testing.assert_close(total, record.reward, rtol=1e-5, atol=1e-3)
        for name, values in record.reward_terms.items():
            torch.testing.assert_close(values.sum(1), record.metrics[name], rtol=1e-5, atol=1e-3)


def play(environment, actions):
    """Return rewards, and served value per service: `[time, env, service]` each."""
    environment.reset(0)
    records = [environment.step(action) for action in actions]
    rewards = torch.stack([record.reward for record in records])
    return rewards, torch.stack([record.reward_terms["served_value"] for record in records])


@hard_worlds
@given(
    seed=seeds,
    mechanism=mechanisms,
    asker=st.integers(0, SERVICES - 1),
    at=st.integers(0, STEPS - 1),
    greed=st.floats(0, 1),
)
def test_asking_more_than_one_can_use_never_pays(seed, mechanism, asker, at, greed):
    environment = make_environment(seed, view="services", mechanism=mechanism)
    generator = torch.Generator().manual_seed(seed)
    actions = [draw_action(environment, generator) for _ in range(STEPS)]
    environment.reset(0)
    for action in actions[:at]:
        environment.step(action)
    arriving = torch.as_tensor(environment.bank.scenarios.demand[:, at, asker])
    pending = environment.view.backlog[:, asker].sum(-1) + arriving
    usable = pending[:, None] * environment.domain.usage[asker]
    fitting = (usable / environment.view.capacity.clamp(min=1e-9)).clamp(max=1.0)
    greedy = [action.clone() for action in actions]
    actions[at][:, asker] = fitting
    greedy[at][:, asker] = fitting + greed * (1.0 - fitting)
    modest_reward, modest_value = play(environment, actions)
    greedy_reward, greedy_value = play(environment, greedy)
    gain = (greedy_reward - modest_reward)[:, :, asker].sum(0)
    assert (gain <= 1e-2).all()
    torch.testing.assert_close(greedy_value, modest_value, rtol=1e-4, atol=1e-2)


def fixed_world(demand, capacity):
    """One episode with given demand per step and service; price 0.5 for all."""
    demand = np.asarray(demand, np.float32)[None]
    return WorkloadScenarios(
        history=np.zeros((1, LOOKBACK, SERVICES), np.float32),
        demand=demand,
        capacity=np.full((1, STEPS, RESOURCES), capacity, np.float32),
        priority=np.asarray([[2.0, 3.0, 4.0]], np.float32),
        price=np.full((1, RESOURCES), 0.5, np.float32),
        time_of_day=np.zeros((1, STEPS), np.float32),
    )


def test_one_burst_by_hand():
    """Storefront (patience 2, usage 1 and 0.5) gets 30 units at once and 10 served a step."""
    demand = np.zeros((STEPS, SERVICES))
    demand[0, 0] = 30.0
    environment = make_environment(scenarios=fixed_world(demand, 60.0), num_envs=1)
    environment.reset(0)
    hold_ten = torch.zeros(1, 1, SERVICES * RESOURCES)
    hold_ten[0, 0, :2] = torch.tensor([10 / 60, 15 / 60])
    first = environment.step(hold_ten)
    assert first.metrics["served_work"].item() == pytest.approx(10.0)
    assert first.metrics["waiting_work"].item() == pytest.approx(20.0)
    assert first.reward.item() == pytest.approx(2.0 * 10 - 0.5 * (15 - 5))
    second = environment.step(hold_ten)
    assert second.metrics["served_work"].item() == pytest.approx(10.0)
    assert second.cost.item() == pytest.approx(10.0)
    third = environment.step(hold_ten)
    assert third.metrics["waiting_work"].item() == 0.0
    assert third.reward.item() == pytest.approx(-0.5 * 25)


def test_work_that_expires_first_is_served_first():
    demand = np.zeros((STEPS, SERVICES))
    demand[0, 1] = demand[1, 1] = 10.0
    environment = make_environment(scenarios=fixed_world(demand, 60.0), num_envs=1)
    environment.reset(0)
    nothing = torch.zeros(1, 1, SERVICES * RESOURCES)
    hold_ten = nothing.clone()
    hold_ten[0, 0, 2:4] = 10 / 60
    environment.step(nothing)
    environment.step(hold_ten)
    left = environment.view.backlog[0, 1]
    assert left[1].item() == pytest.approx(10.0)
    assert left.sum().item() == pytest.approx(10.0)


def test_episodes_are_truncated_together_and_in_order():
    environment = make_environment(num_envs=3)
    environment.reset(0)
    assert environment.episode_index.tolist() == [0, 1, 2]
    still = torch.zeros(3, 1, SERVICES * RESOURCES)
    for _ in range(STEPS - 1):
        record = environment.step(still)
        assert not record.truncated.any()
    record = environment.step(still)
    assert record.truncated.all()
    assert not record.terminated.any()
    assert environment.episode_index.tolist() == [3, 0, 1]
    assert (record.final_observation != record.observation).any()


def test_global_state_is_what_a_planner_sees():
    planner = make_environment(3).reset(0)
    services = make_environment(3, view="services").reset(0)
    torch.testing.assert_close(services.global_state, planner.observation[:, 0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_actions_that_are_not_finite_are_refused(value):
    environment = make_environment()
    environment.reset(0)
    with pytest.raises(InvalidActionError, match="not finite"):
        environment.step(torch.full((4, 1, SERVICES * RESOURCES), value))


def test_wrong_action_shape_is_refused():
    environment = make_environment()
    environment.reset(0)
    with pytest.raises(InvalidActionError, match=r"\(4, 6\), not \(4, 1, 6\)"):
        environment.step(torch.zeros(4, SERVICES * RESOURCES))


def test_bank_of_another_world_is_refused():
    config = replace(shared_services(SERVICES).allocation, max_steps=STEPS + 1, lookback=LOOKBACK)
    bank = ScenarioBank(FixedSource(draw_scenarios(0)), BankConfig(num_episodes=4), 0)
    with pytest.raises(ConfigError, match="the bank holds"):
        BatchedResourceAllocation(config, bank, EnvironmentConfig(num_envs=1), 0)


@pytest.mark.parametrize(
    "settings", [{"num_envs": 0}, {"view": "everyone"}, {"mechanism": "lottery"}]
)
def test_unknown_options_are_refused(settings):
    with pytest.raises(ConfigError):
        EnvironmentConfig(**settings)
