"""The serial chain: equal to its original, and what it keeps whatever is asked of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.demand import InventoryScenarios, PoissonDemand
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.inventory import InventoryDomain, inv_management, inv_management_demand
from rl.environments.conformance import check_environment
from rl.environments.gradient_check import check_gradients
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.environments.torch_tools import view_to_numpy
from utils.errors import ConfigError

ORIGINAL = Path(__file__).parent.parent / "data" / "or_gym_inventory.npz"
"""Random episodes of or-gym 0.5.0; benchmarks/or_gym_trajectories.py says how they were made."""

chains = st.booleans().map(lambda lost: inv_management(lost_sales=lost))
views = st.sampled_from(["planner", "stages"])
seeds = st.integers(0, 2**32 - 1)


def make_environment(config, source=None, num_envs=4, episodes=4, **options):
    source = source or PoissonDemand(mean=20.0, max_steps=config.max_steps)
    bank = ScenarioBank(source, BankConfig(num_episodes=episodes), 0)
    return BatchedInventory(config, bank, InventoryOptions(num_envs=num_envs, **options), 0)


def draw_action(env, generator):
    """Anything from nothing over all corners to more than there is."""
    shape = (env.num_envs, env.num_agents, env.groups[0].action.size)
    inside = torch.rand(shape, generator=generator)
    corner = torch.randint(-1, 3, shape, generator=generator).float()
    return torch.where(torch.rand(shape, generator=generator) < 0.5, inside, corner)


@pytest.mark.parametrize("version", [0, 1])
def test_equals_the_original_over_random_episodes(version):
    original = np.load(ORIGINAL)
    config = inv_management(lost_sales=bool(version))
    source = FixedSource(InventoryScenarios(demand=original["demand"].astype(np.float32)))
    env = make_environment(config, source, num_envs=100, episodes=100, shuffle=False)
    shares = torch.as_tensor(original["orders"] / np.asarray(config.capacity)).float()
    for t in range(config.max_steps):
        before = env.view
        record = env.step(shares[:, t, None])
        expected = original["reward"][version, :, t]
        np.testing.assert_allclose(record.reward[:, 0].numpy(), expected, atol=1e-4)
        if t + 1 < config.max_steps:
            assert (env.view.stock.numpy() == original["stock"][version, :, t]).all()
        assert before.stock is not env.view.stock
    assert record.truncated.all()


@pytest.mark.parametrize("view", ["planner", "stages"])
@pytest.mark.parametrize("lost_sales", [False, True])
def test_conforms(lost_sales, view):
    config = replace(inv_management(lost_sales=lost_sales), max_steps=12)

    def shelves_hold(env, record):
        assert (env.view.stock >= 0).all()
        assert (env.view.unmet >= 0).all()
        assert not lost_sales or (env.view.unmet == 0).all()

    def observation_is_the_domain_s(env, record):
        ours = InventoryDomain(config).encode(view_to_numpy(env.view))
        np.testing.assert_allclose(ours, record.global_state.numpy(), atol=1e-6)

    check_environment(
        lambda: make_environment(config, episodes=16, view=view),
        num_steps=30,
        max_steps=12,
        invariants=(shelves_hold, observation_is_the_domain_s),
    )


@settings(max_examples=40)
@given(config=chains, view=views, seed=seeds)
def test_units_are_conserved(config, view, seed):
    generator = np.random.default_rng(seed)
    demand = generator.exponential(25.0, (4, 30)) * (generator.random((4, 30)) < 0.7)
    source = FixedSource(InventoryScenarios(demand=demand.astype(np.float32)))
    config = replace(config, whole_units=bool(seed % 2))
    env = make_environment(config, source, view=view, shuffle=False)
    actions = torch.Generator().manual_seed(seed)
    shipped = received = torch.zeros(4)
    asked = sold = lost = torch.zeros(4)
    held = env.view.stock.sum(-1)
    for _ in range(config.max_steps - 1):
        record = env.step(draw_action(env, actions))
        metrics, after = record.metrics, env.view
        shipped = shipped + metrics["shipped_units"]
        received = received + metrics["received_units"]
        asked, sold = asked + metrics["demand"], sold + metrics["sold_units"]
        lost = lost + metrics["undelivered_units"]
        on_the_way = after.in_transit.sum((-1, -2))
        torch.testing.assert_close(shipped, on_the_way + received, atol=0.01, rtol=1e-5)
        rest = lost if config.lost_sales else after.unmet[:, 0]
        torch.testing.assert_close(asked, sold + rest, atol=0.01, rtol=1e-5)
        held = held + metrics["made_units"] - metrics["sold_units"]
        in_chain = after.stock.sum(-1) + on_the_way
        torch.testing.assert_close(in_chain, held, atol=0.01, rtol=1e-5)
        assert (after.stock >= 0).all()
        terms = torch.stack(list(record.reward_terms.values())).sum(0)
        torch.testing.assert_close(record.reward, terms, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("lost_sales", [False, True])
def test_stages_together_earn_what_the_planner_earns(lost_sales):
    config = inv_management(lost_sales=lost_sales)
    planner = make_environment(config, shuffle=False)
    stages = make_environment(config, shuffle=False, view="stages")
    actions = torch.Generator().manual_seed(5)
    for _ in range(config.max_steps):
        action = draw_action(planner, actions)
        whole = planner.step(action).reward[:, 0]
        parts = stages.step(action.transpose(1, 2)).reward.sum(-1)
        torch.testing.assert_close(parts, whole, atol=1e-3, rtol=1e-5)


def test_same_episode_same_trajectory_whatever_the_batch():
    config = inv_management(lost_sales=False)
    source = FixedSource(inv_management_demand().draw(7, np.random.default_rng(0)))
    few, many = (
        make_environment(config, source, num_envs=n, episodes=7, shuffle=False) for n in (2, 7)
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(config.max_steps):
        action = draw_action(many, generator)
        wide, narrow = many.step(action), few.step(action[:2])
        assert torch.equal(wide.reward[:2], narrow.reward)
        assert torch.equal(wide.final_observation[:2], narrow.final_observation)


@pytest.mark.parametrize("lost_sales", [False, True])
def test_gradients_agree_with_finite_differences(lost_sales):
    config = replace(inv_management(lost_sales=lost_sales), whole_units=False, max_steps=12)
    demand = np.random.default_rng(2).uniform(10, 30, (400, 12)).astype(np.float32)
    source = FixedSource(InventoryScenarios(demand=demand))
    check_gradients(lambda copies: make_environment(config, source, copies, 400, shuffle=False))


def test_rounding_lets_gradients_through():
    env = make_environment(inv_management(lost_sales=False), num_envs=1)
    action = torch.full((1, 1, 3), 0.123, requires_grad=True)
    env.step(action).reward.sum().backward()
    # A unit shipped leaves the shelf above and its holding cost; the source makes at 0.5 a unit.
    saved = [100 * 0.10, 90 * 0.05]
    assert action.grad.flatten().tolist() == pytest.approx([*saved, -80 * 0.5])


def test_episodes_of_another_length_are_refused():
    with pytest.raises(ConfigError, match="30 steps, the chain 12"):
        make_environment(
            replace(inv_management(lost_sales=False), max_steps=12), inv_management_demand()
        )


def test_a_lead_time_between_steps_is_refused():
    chain = inv_management(lost_sales=False)
    with pytest.raises(ConfigError, match="lead_time must be whole steps"):
        replace(chain, lead_time=(3, 4.5, 10))
    with pytest.raises(ConfigError, match="finite price"):
        replace(chain, price=float("inf"))


def test_any_order_pays_its_setup_and_none_pays_nothing():
    chain = replace(inv_management(lost_sales=False), setup_cost=(5.0, 7.0, 11.0), max_steps=3)
    environment = make_environment(chain, num_envs=2)
    action = torch.tensor([[[0.01, 0.0, 1.0]], [[0.0, 0.0, 0.0]]])
    terms = environment.step(action).reward_terms
    assert terms["setup_cost"].flatten().tolist() == [-16.0, 0.0]


@pytest.mark.parametrize("view", ["planner", "stages"])
def test_cost_is_what_is_not_delivered(view):
    """Customers ask for 130, the shelf holds 100; stage 0 asks for 100 and gets them."""
    chain = replace(inv_management(lost_sales=False), max_steps=3)
    demand = FixedSource(InventoryScenarios(demand=np.full((1, 3), 130.0, np.float32)))
    environment = make_environment(chain, demand, num_envs=1, episodes=1, view=view)
    action = torch.zeros((1, environment.num_agents, environment.action_size))
    assert environment.step(action).cost[0, :, 0].tolist() == (
        [30.0] if view == "planner" else [30.0, 0.0, 0.0]
    )
