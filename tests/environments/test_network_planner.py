"""The planner's network: equal to the package itself, differentiable, and as the examiner wants."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from gym_invmgmt import CoreEnv

from data.network_demand import NetworkDemand, NetworkDemandSource
from data.scenario import BankConfig, ScenarioBank, fixed_bank
from data.supply_demand import LEAST_MEAN
from rl.domains.network_planner import PlannerConfig
from rl.domains.supply_presets import FAMILIES, multi_echelon, serial
from rl.environments.conformance import check_environment
from rl.environments.lockstep import LockstepOptions
from rl.environments.network_planner_environment import (
    BatchedNetworkPlanner,
    draw_near_poisson,
    recover_normal,
)

NETWORKS = {"network": multi_echelon, "serial": serial}
FAMILY = "trend+seasonal+shock"
EPISODES, STEPS = 4, 30


def make_config(name, horizon=0):
    return PlannerConfig(network=NETWORKS[name]().config.network, horizon=horizon)


def make_env(name, num_envs=8, horizon=0, seed=0):
    bank = ScenarioBank(NetworkDemandSource(), BankConfig(num_episodes=64), seed)
    options = LockstepOptions(num_envs=num_envs)
    return BatchedNetworkPlanner(make_config(name, horizon), bank, options, seed)


def play_package(name, actions, *, backlog, goodwill):
    """Play the package with the orders that actions mean."""
    demand = {"type": FAMILY, "base_mu": 20, "use_goodwill": goodwill}
    env = CoreEnv(name, demand, num_periods=STEPS, backlog=backlog)
    env.reset(seed=len(name))
    orders = 20.0 * np.logaddexp(actions.astype(np.float64), 0.0)
    reward = [env.step(order)[1] for order in orders]
    main = [env.network.node_map[node] for node in env.network.main_nodes]
    return np.array(reward), env.D[:, 0], env.GW, env.X[-1, main], env.R


@pytest.mark.parametrize("name", NETWORKS)
def test_profit_equals_the_package(name):
    links = len(make_config(name).network.links)
    generator = np.random.default_rng(1)
    mean = FAMILIES[FAMILY].over(STEPS)
    cases = list(itertools.product((False, True), (False, True), range(EPISODES)))
    played, actions = [], []
    for backlog, goodwill, episode in cases:
        action = generator.normal(-1.5 + 0.5 * episode, 1.0, (STEPS, links)).astype(np.float32)
        played.append(play_package(name, action, backlog=backlog, goodwill=goodwill))
        actions.append(action)
    reward, demand, sentiment, stock, shipped = (np.stack(one) for one in zip(*played, strict=True))
    assert (sentiment.min(-1) < 0.5).any()
    expected = torch.from_numpy(np.maximum(mean * sentiment, LEAST_MEAN))
    rows = NetworkDemand(
        mean=np.tile(mean.astype(np.float32), (len(cases), 1)),
        normal=recover_normal(torch.from_numpy(demand), expected).numpy().astype(np.float32),
        waits=np.array([float(one[0]) for one in cases], np.float32),
        remembers=np.array([float(one[1]) for one in cases], np.float32),
    )
    options = LockstepOptions(num_envs=len(cases), shuffle=False)
    env = BatchedNetworkPlanner(make_config(name), fixed_bank(rows), options, 0)
    for step in range(STEPS):
        state = env.state
        acted = torch.from_numpy(np.stack([action[step] for action in actions]))
        record = env.step(acted[:, None])
        metrics = {key: value.numpy() for key, value in record.metrics.items()}
        assert np.array_equal(metrics["demand"], demand[:, step])
        if step:
            np.testing.assert_allclose(state.sentiment, sentiment[:, step - 1], rtol=1e-6)
        np.testing.assert_allclose(metrics["ordered_units"], shipped[:, step].sum(-1), rtol=1e-5)
        turnover = 1.0 + np.abs(shipped[:, step]).sum(-1) + demand[:, step]
        assert (np.abs(metrics["profit"] - reward[:, step]) / turnover).max() < 2e-6
    np.testing.assert_allclose(metrics["stock_units"], stock.sum(-1), rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize(("name", "horizon"), [("network", 22), ("serial", 0)])
def test_examiner(name, horizon):
    check_environment(lambda: make_env(name, horizon=horizon))


def test_drawn_demand_is_nearly_poisson():
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(400_000, generator=generator)
    for mean in (3.0, 20.0, 90.0):
        drawn = draw_near_poisson(normal, torch.full_like(normal, mean))
        assert drawn.mean().item() == pytest.approx(mean, rel=0.005)
        assert drawn.var().item() == pytest.approx(mean + 1 / 12, rel=0.02)


def test_demand_moves_with_its_mean():
    mean = torch.tensor([5.0, 20.0], requires_grad=True)
    draw_near_poisson(torch.tensor([0.3, -1.0]), mean).sum().backward()
    assert mean.grad.tolist() == [1.0, 1.0]
