"""What the nodes keep, whatever arrives and whatever they offer; rewards worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from data.node_workload import NodeScenarios, NodeWorkload, NodeWorldConfig
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.nodes import NodeConfig, NodeDomain, NodeView, distributed_nodes
from rl.environments.base_environment import InvalidActionError
from rl.environments.conformance import check_environment
from rl.environments.faces import DictEnvironment
from rl.environments.lockstep import LockstepOptions
from rl.environments.node_allocation_environment import (
    BatchedNodes,
    NodeAllocationEnvironment,
)
from utils.errors import ConfigError

STEPS, NODES = 7, 3


def make_environment(
    *, seed=0, num_envs=4, num_nodes=NODES, steps=STEPS, source=None, shuffle=False
):
    """Few nodes and many workloads, so that some fail."""
    world = NodeWorldConfig(
        num_nodes=num_nodes, initial_workloads=8.0, workloads_per_step=3.0, max_steps=steps
    )
    bank = ScenarioBank(
        source or NodeWorkload(world), BankConfig(num_episodes=8, refresh_every_episodes=9), seed
    )
    config = NodeConfig(num_nodes=num_nodes, max_steps=steps)
    return BatchedNodes(config, bank, LockstepOptions(num_envs=num_envs, shuffle=shuffle), 0)


def check_usage(env, record):
    assert (env.view.usage >= 0).all()
    assert (env.view.usage <= 1).all()
    if record.metrics:
        placed = record.metrics["completed_workloads"] + record.metrics["failed_workloads"]
        assert torch.equal(placed, record.metrics["total_workloads"])


@pytest.mark.parametrize("num_nodes", [1, NODES])
def test_conformance(num_nodes):
    check_environment(
        lambda: make_environment(num_nodes=num_nodes, num_envs=3, shuffle=True),
        num_steps=3 * STEPS - 2,
        invariants=(check_usage,),
    )


def test_128_nodes():
    env = make_environment(num_nodes=128, num_envs=2)
    assert env.reset(0).observation.shape == (2, 128, 8)
    check_usage(env, env.step(torch.rand(2, 128, 4)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_was_placed_is_in_use_and_what_arrived_was_placed_or_failed(seed):
    env = make_environment(seed=seed)
    env.reset(0)
    generator = torch.Generator().manual_seed(seed)
    scenarios, drain = env.bank.scenarios, env.config.drain
    for step in range(STEPS - 1):
        before = env.view.usage
        action = 3 * torch.rand((4, NODES, 4), generator=generator) - 1
        record = env.step(action)
        check_usage(env, record)
        arrived = record.metrics["total_workloads"]
        assert arrived.tolist() == scenarios.arrivals[:4, step].tolist()
        torch.testing.assert_close(record.cost.sum((1, 2)), record.metrics["failed_workloads"])
        grown = (env.view.usage > before + 1e-6).any((1, 2))
        assert not (grown & (record.metrics["completed_workloads"] == 0)).any()
        assert (env.view.usage >= before - drain - 1e-6).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_plain_loop_over_workloads_agrees(seed):
    env = make_environment(seed=seed, num_envs=2)
    env.reset(0)
    draw = np.random.default_rng(seed)
    actions = draw.random((STEPS, 2, NODES, 4)).astype(np.float32) ** 0.3
    seen = [env.step(torch.from_numpy(action)).reward.numpy() for action in actions]
    for copy in range(2):
        wanted = play_plainly(env.bank.scenarios, copy, actions[:, copy])
        np.testing.assert_allclose(np.stack(seen)[:, copy], wanted, rtol=1e-4, atol=1e-3)


def play_plainly(scenarios, episode, actions):
    """The published definition in units, one workload and one node at a time."""
    capacity = scenarios.capacity[episode].astype(float)
    used, tried, rewards = np.zeros_like(capacity), 0, []
    for step, action in enumerate(actions):
        reward = np.zeros(len(capacity))
        for _ in range(scenarios.arrivals[episode, step]):
            need, priority = scenarios.need[episode, tried], scenarios.priority[episode, tried]
            tried += 1
            best, least = None, np.inf
            for node in range(len(capacity)):
                offer = action[node] * (capacity[node] - used[node])
                waste = ((offer - need) / capacity[node]).mean()
                if (offer >= need).all() and waste < least:
                    best, least = node, waste
            if best is None:
                reward -= 5.0 * priority / 10.0
            else:
                used[best] += need
                reward[best] += 10.0 * priority + 5.0 * (1.0 - least)
        rewards.append(reward - 2.0 * np.var(used[:, 0] / capacity[:, 0]))
        used = np.maximum(used - 0.001 * capacity, 0.0)
    return np.stack(rewards)


def two_nodes(*needs):
    """One episode; node 1 has twice the capacity; the workloads arrive at once, priority 2."""
    shape = (1, len(needs), 4)
    return FixedSource(
        NodeScenarios(
            capacity=np.asarray([[[10.0] * 4, [20.0] * 4]], np.float32),
            arrivals=np.asarray([[len(needs), 0]], np.int16),
            need=np.broadcast_to(np.asarray(needs)[None, :, None], shape).astype(np.float32),
            priority=np.full(shape[:2], 2.0, np.float32),
        )
    )


def test_best_fit_takes_the_workload_and_all_pay_for_imbalance():
    env = make_environment(num_envs=1, num_nodes=2, steps=2, source=two_nodes(5.0))
    env.reset(0)
    record = env.step(torch.ones(1, 2, 4))
    terms = record.reward_terms
    assert terms["placement"].tolist() == [[10 * 2 + 5 * (1 - 0.5), 0.0]]
    assert terms["failure"].tolist() == [[0.0, 0.0]]
    np.testing.assert_allclose(terms["imbalance"], -2 * 0.25**2, rtol=1e-6)
    np.testing.assert_allclose(env.view.usage[0, :, 0], [0.499, 0.0], rtol=1e-6)


def test_what_no_offer_covers_fails_once_and_all_pay():
    env = make_environment(num_envs=1, num_nodes=2, steps=2, source=two_nodes(9.0, 18.0, 3.0))
    env.reset(0)
    record = env.step(torch.ones(1, 2, 4))
    assert record.metrics["completed_workloads"].tolist() == [2]
    assert record.reward_terms["failure"].tolist() == [[-1.0, -1.0]]
    record = env.step(torch.ones(1, 2, 4))
    assert record.metrics["total_workloads"].tolist() == [0]
    assert record.terminated.all()
    assert not record.truncated.any()


def test_one_offer_short_in_one_resource_is_no_offer():
    env = make_environment(num_envs=1, num_nodes=2, steps=2, source=two_nodes(5.0))
    env.reset(0)
    action = torch.ones(1, 2, 4)
    action[0, 0, 3] = 0.49
    record = env.step(action)
    assert record.reward_terms["placement"].tolist() == [[0.0, 10 * 2 + 5 * (1 - 0.75)]]


def test_a_copy_plays_the_same_in_any_batch():
    alone, among = make_environment(num_envs=1), make_environment(num_envs=4)
    alone.reset(0)
    among.reset(0)
    action = torch.rand((STEPS, 4, NODES, 4), generator=torch.Generator().manual_seed(0))
    for step in action[:-1]:
        one, many = alone.step(step[:1]), among.step(step)
        assert torch.equal(one.observation[0], many.observation[0])
        assert torch.equal(one.reward[0], many.reward[0])


def test_observation_is_the_domains_encoding():
    env = make_environment()
    env.reset(0)
    record = env.step(torch.ones(4, NODES, 4))
    view = NodeView(usage=env.view.usage.numpy())
    np.testing.assert_allclose(record.observation, NodeDomain(env.config).encode(view), atol=1e-6)


def test_dict_faces():
    env = NodeAllocationEnvironment(num_agents=4, workload_arrival_rate=20, episode_length=30)
    parallel_api_test(env, num_cycles=70)
    parallel_api_test(DictEnvironment(make_environment(num_envs=1)), num_cycles=20)


def test_episode_metrics_are_rates():
    env = NodeAllocationEnvironment(
        num_agents=2, workload_arrival_rate=80, episode_length=3, seed=1
    )
    env.reset()
    ones = {agent: np.ones(4, np.float32) for agent in env.possible_agents}
    for _ in range(3):
        _, _, terminated, truncated, _ = env.step(ones)
    assert all(terminated.values())
    assert not any(truncated.values())
    metrics = env.get_allocation_metrics()
    assert metrics["step"] == 3
    assert 0 < metrics["sla_violation_rate"] < 1
    assert metrics["failed_workloads"] == pytest.approx(
        metrics["sla_violation_rate"] * metrics["total_workloads"]
    )
    assert metrics["completion_rate"] == pytest.approx(1 - metrics["sla_violation_rate"])
    assert 0 < metrics["avg_utilization"] < 1


def test_refusals():
    env = make_environment()
    with pytest.raises(InvalidActionError, match="not finite"):
        env.step(torch.full((4, NODES, 4), float("nan")))
    with pytest.raises(InvalidActionError, match=r"\(4, 3\), not \(4, 3, 4\)"):
        env.step(torch.zeros(4, NODES))
    with pytest.raises(ConfigError, match="the bank holds"):
        BatchedNodes(distributed_nodes().nodes, env.bank, LockstepOptions(num_envs=1), 0)
    with pytest.raises(ConfigError, match="num_envs"):
        LockstepOptions(num_envs=0)
