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
    *,
    seed=0,
    num_envs=4,
    num_nodes=NODES,
    steps=STEPS,
    source=None,
    shuffle=False,
    step_seconds=None,
    drain=0.001,
    observe="own",
    shared_reward=False,
):
    """Few nodes and many workloads, so that some fail."""
    world = NodeWorldConfig(
        num_nodes=num_nodes, initial_workloads=8.0, workloads_per_step=3.0, max_steps=steps
    )
    bank = ScenarioBank(
        source or NodeWorkload(world), BankConfig(num_episodes=8, refresh_every_episodes=9), seed
    )
    config = NodeConfig(
        num_nodes=num_nodes,
        max_steps=steps,
        step_seconds=step_seconds,
        drain=drain,
        observe=observe,
        shared_reward=shared_reward,
    )
    return BatchedNodes(config, bank, LockstepOptions(num_envs=num_envs, shuffle=shuffle), 0)


def check_usage(env, record):
    assert (env.view.usage >= 0).all()
    assert (env.view.usage <= 1).all()
    if record.metrics:
        placed = record.metrics["completed_workloads"] + record.metrics["failed_workloads"]
        assert torch.equal(placed, record.metrics["total_workloads"])


@pytest.mark.parametrize(("num_nodes", "step_seconds"), [(1, None), (NODES, None), (NODES, 0.5)])
def test_conformance(num_nodes, step_seconds):
    check_environment(
        lambda: make_environment(
            num_nodes=num_nodes, num_envs=3, shuffle=True, step_seconds=step_seconds
        ),
        num_steps=3 * STEPS - 2,
        invariants=(check_usage,),
    )


def test_conformance_of_a_team():
    check_environment(
        lambda: make_environment(num_envs=3, shuffle=True, observe="team", shared_reward=True),
        num_steps=2 * STEPS,
        invariants=(check_usage,),
    )


def test_a_team_shares_what_it_earns_and_loses_nothing():
    own, team = make_environment(), make_environment(shared_reward=True)
    action = torch.rand(4, NODES, 4)
    for env in (own, team):
        env.reset(0)
    one, other = own.step(action).reward, team.step(action).reward
    assert one.std(1).max() > 1
    torch.testing.assert_close(other, one.mean(1, keepdim=True).expand_as(one))


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
@given(seed=st.integers(0, 2**32 - 1), step_seconds=st.sampled_from([None, 0.3, 0.7, 5.0]))
def test_a_plain_loop_over_workloads_agrees(seed, step_seconds):
    env = make_environment(seed=seed, num_envs=2, step_seconds=step_seconds, drain=0.05)
    env.reset(0)
    draw = np.random.default_rng(seed)
    actions = draw.random((STEPS, 2, NODES, 4)).astype(np.float32) ** 0.3
    records = [env.step(torch.from_numpy(action)) for action in actions]
    for copy in range(2):
        wanted, failed = play_plainly(
            env.bank.scenarios, copy, actions[:, copy], step_seconds=step_seconds
        )
        seen = np.stack([record.reward[copy] for record in records])
        np.testing.assert_allclose(seen, wanted, rtol=1e-4, atol=1e-3)
        assert [int(r.metrics["failed_workloads"][copy]) for r in records] == failed


def play_plainly(scenarios, episode, actions, *, step_seconds=None, drain=0.05):
    """The published definition in units, one workload and one node at a time."""
    capacity = scenarios.capacity[episode].astype(float)
    used, arrived, rewards, failures, queue = np.zeros_like(capacity), 0, [], [], []
    for step, action in enumerate(actions):
        reward = np.zeros(len(capacity))
        number = int(scenarios.arrivals[episode, step])
        queue += [(one, step) for one in range(arrived, arrived + number)]
        arrived, kept, failures = arrived + number, [], [*failures, 0]
        for workload, since in queue:
            need = scenarios.need[episode, workload]
            priority = scenarios.priority[episode, workload]
            best, least = None, np.inf
            for node in range(len(capacity)):
                offer = action[node] * (capacity[node] - used[node])
                waste = ((offer - need) / capacity[node]).mean()
                if (offer >= need).all() and waste < least:
                    best, least = node, waste
            if best is not None:
                used[best] += need
                reward[best] += 10.0 * priority + 5.0 * (1.0 - least)
            elif (
                step_seconds
                and (step + 1 - since) * step_seconds < (scenarios.deadline[episode, workload])
            ):
                kept.append((workload, since))
            else:
                failures[-1] += 1
                reward -= 5.0 * priority / 10.0
        queue = kept
        rewards.append(reward - 2.0 * np.var(used[:, 0] / capacity[:, 0]))
        used = np.maximum(used - drain * capacity, 0.0)
    return np.stack(rewards), failures


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_arrived_was_placed_failed_or_waits(seed):
    env = make_environment(seed=seed, step_seconds=0.4)
    env.reset(0)
    arrived = torch.as_tensor(env.bank.scenarios.arrivals[:4], dtype=torch.float32).cumsum(1)
    generator, settled, waited = torch.Generator().manual_seed(seed), 0.0, 0.0
    for step in range(STEPS - 1):
        record = env.step(torch.rand((4, NODES, 4), generator=generator))
        check_usage(env, record)
        settled = settled + record.metrics["total_workloads"]
        waiting = record.metrics["waiting_workloads"]
        waited += float(waiting.sum())
        assert torch.equal(settled + waiting, arrived[:, step])
        torch.testing.assert_close(record.cost.sum((1, 2)), record.metrics["failed_workloads"])
    assert waited > 0


def test_a_workload_is_tried_until_its_deadline():
    """Half a second in steps of .2: tried at 0, .2 and .4. Nobody offers, then node 1 does."""
    for offered_at, outcome in ((0, "placed"), (2, "placed"), (3, "failed")):
        source = two_nodes(12.0, steps=5, deadline=0.5)
        env = make_environment(num_envs=1, num_nodes=2, steps=5, source=source, step_seconds=0.2)
        env.reset(0)
        for step in range(4):
            record = env.step(torch.full((1, 2, 4), float(step == offered_at)))
            waits = step < min(offered_at, 2)
            assert record.metrics["waiting_workloads"].tolist() == [waits]
            assert record.metrics["total_workloads"].tolist() == [step == min(offered_at, 2)]
            failed = outcome == "failed" and step == 2
            assert record.reward_terms["failure"].tolist() == [[-1.0 * failed] * 2]


def test_whole_numbers_of_steps_are_counted_despite_rounding():
    """Seven tries fit into 4.9 seconds of steps of .7; in float32 the ratio exceeds seven."""
    source = two_nodes(12.0, steps=9, deadline=4.9)
    env = make_environment(num_envs=1, num_nodes=2, steps=9, source=source, step_seconds=0.7)
    env.reset(0)
    failed = [env.step(torch.zeros(1, 2, 4)).metrics["failed_workloads"].item() for _ in range(8)]
    assert failed == [0, 0, 0, 0, 0, 0, 1, 0]


def two_nodes(*needs, steps=2, deadline=1.0):
    """One episode; node 1 has twice the capacity; the workloads arrive at once, priority 2."""
    shape = (1, len(needs), 4)
    return FixedSource(
        NodeScenarios(
            capacity=np.asarray([[[10.0] * 4, [20.0] * 4]], np.float32),
            arrivals=np.asarray([[len(needs)] + [0] * (steps - 1)], np.int16),
            need=np.broadcast_to(np.asarray(needs)[None, :, None], shape).astype(np.float32),
            priority=np.full(shape[:2], 2.0, np.float32),
            deadline=np.full(shape[:2], deadline, np.float32),
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
    env = NodeAllocationEnvironment(num_agents=4, episode_length=30, step_seconds=0.1)
    parallel_api_test(env, num_cycles=70)
    assert "waiting_workloads" in env.get_allocation_metrics()
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
    with pytest.raises(ConfigError, match="fit_reward must be finite"):
        NodeConfig(fit_reward=float("nan"))
