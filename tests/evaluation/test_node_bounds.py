"""Nobody beats the bound of distributed nodes; where nothing is scarce it is what can be earned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.node_workload import NodeScenarios, NodeWorkload
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.node_experts import EXPERTS
from rl.domains.nodes import (
    NodeConfig,
    NodeView,
    distributed_nodes,
    distributed_nodes_deadlines,
)
from rl.environments.lockstep import LockstepOptions
from rl.environments.node_allocation_environment import BatchedNodes
from rl.evaluation.node_bounds import nodes_hindsight_bound


def play(scenarios, config, rule):
    copies = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=copies), 0)
    env = BatchedNodes(config, bank, LockstepOptions(num_envs=copies, shuffle=False), 0)
    generator, total = np.random.default_rng(0), np.zeros(copies)
    for _ in range(config.max_steps):
        action = rule(NodeView(usage=env.view.usage.numpy()), generator)
        total += env.step(torch.from_numpy(action)).reward.sum(1).double().numpy()
    return total


@pytest.mark.parametrize("preset_of", [distributed_nodes, distributed_nodes_deadlines])
@pytest.mark.parametrize("rate", [5.0, 20.0])
def test_no_rule_beats_it(preset_of, rate):
    preset = preset_of(workload_arrival_rate=rate, max_steps=80)
    scenarios = NodeWorkload(preset.world).draw(4, np.random.default_rng(1))
    bound = nodes_hindsight_bound(scenarios, preset.nodes)
    for rule in EXPERTS.values():
        assert (play(scenarios, preset.nodes, rule) <= bound + 1e-3).all()


def one_resource(arrivals, need, *, deadline=0.5, capacity=1.0, **rules):
    """One node; workloads of priority 1 in the given steps."""
    workloads = int(sum(arrivals))
    scenarios = NodeScenarios(
        capacity=np.full((1, 1, 1), capacity, np.float32),
        arrivals=np.asarray([arrivals], np.int16),
        need=np.full((1, workloads, 1), need, np.float32),
        priority=np.ones((1, workloads), np.float32),
        deadline=np.full((1, workloads), deadline, np.float32),
    )
    config = NodeConfig(
        num_nodes=1, resources=("cpu",), max_steps=len(arrivals), **({"drain": 0.1} | rules)
    )
    return scenarios, config


@pytest.mark.parametrize(
    ("arrivals", "need", "placed"),
    [
        ([1, 0, 0], 0.5, 1.0),
        ([2, 0, 0], 0.5, 2.0),
        ([3, 0, 0], 0.5, 2.0),
        ([3, 1, 0], 0.5, 2.2),  # a tenth comes back: a fifth of a workload more
        ([3, 0, 1], 0.5, 2.4),
        ([1, 0, 9], 0.1, 10.0),  # what is empty does not drain further: 1 of 1 is free again
        ([1, 0, 12], 0.1, 11.0),
    ],
)
def test_by_hand(arrivals, need, placed):
    """A placement earns 15, a failure costs a half; one node, so nothing is ever uneven."""
    scenarios, config = one_resource(arrivals, need)
    failed = sum(arrivals) - placed
    (bound,) = nodes_hindsight_bound(scenarios, config)
    assert bound == pytest.approx(15.0 * placed - 0.5 * failed, abs=1e-4)


def test_waiting_for_the_drain_helps_until_the_deadline():
    # Two of three fit; until the fifth try four tenths drain, of which a workload needs five.
    scenarios, config = one_resource([3, 0, 0, 0, 0, 0], 0.5, step_seconds=0.1)
    (bound,) = nodes_hindsight_bound(scenarios, config)
    assert bound == pytest.approx(15.0 * 2.8 - 0.5 * 0.2, abs=1e-4)
    (once,) = nodes_hindsight_bound(*one_resource([3, 0, 0, 0, 0, 0], 0.5))
    assert once == pytest.approx(15.0 * 2.0 - 0.5, abs=1e-4)


def test_it_is_earned_where_nothing_is_scarce():
    scenarios, config = one_resource([1, 1, 1], 0.05)
    (bound,) = nodes_hindsight_bound(scenarios, config)
    exact = play(scenarios, config, lambda view, _: (0.05 / (1 - view.usage)).astype(np.float32))
    assert exact[0] == pytest.approx(bound, rel=1e-3)


def test_an_episode_without_workloads_is_worth_nothing():
    scenarios, config = one_resource([0, 0, 0], 0.5)
    assert nodes_hindsight_bound(scenarios, config).tolist() == [0.0]
