"""One step of TD3 against plain autograd over every network; the delay."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.policy_state import module_state
from rl.algorithms.twin_critics import as_rows
from tests.algorithms.test_continuous_agents import make, play
from tests.algorithms.test_sac_agent import copy_of, plain, q_of


def decide(actor, observation):
    return 1.0 + 2.0 * plain(actor, observation[None])[0].tanh()


@pytest.fixture
def prepared():
    agent = make("td3", gamma=0.9, low=-1.0, high=3.0, policy_delay=1, smoothing_noise=0.5)
    play(agent, 12, seed=1)
    batch = agent.experience.replay.sample(32, torch.Generator().manual_seed(0))
    noise = torch.randn(32, 2, generator=torch.Generator().manual_seed(7))
    agent.experience.normal = lambda like: noise
    return agent, batch, noise


def test_a_step_has_the_gradients_of_autograd(prepared):
    agent, batch, noise = prepared
    rows = as_rows(batch)
    actor, critic = copy_of(agent.actor.network), copy_of(agent.critics.network)
    with torch.no_grad():
        around = (2.0 * 0.5 * noise).clamp(-1.0, 1.0)
        action = (decide(agent.target_actor, rows.next_observation) + around).clamp(-1.0, 3.0)
        next_q = q_of(agent.critics.target, rows.next_observation, action).min(0).values
        target = rows.reward + rows.discount * next_q
    loss = 0.5 * (q_of(critic, rows.observation, rows.action) - target).square().mean(-1).sum()
    loss.backward()

    metrics = agent.learn(batch)
    torch.testing.assert_close(agent.critics.network.vector.grad, critic.vector.grad)
    torch.testing.assert_close(metrics["critic_loss"], loss.detach())

    first = q_of(copy_of(agent.critics.network), rows.observation, decide(actor, rows.observation))
    actor_loss = -first[0].mean()
    actor_loss.backward()
    torch.testing.assert_close(
        agent.actor.network.vector.grad, actor.vector.grad, rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(metrics["actor_loss"], actor_loss.detach())


def test_the_first_critic_alone_equals_the_first_of_both(prepared):
    agent, batch, _ = prepared
    other = make("td3", seed=8)
    agent.learn(batch)
    other.critics.load_state_dict(agent.critics.state_dict())
    rows = as_rows(batch)
    for one in (agent, other):
        alone = one.critics.first_value(rows.observation, rows.action)
        torch.testing.assert_close(alone, one.critics.value(rows.observation, rows.action)[0])


def test_policy_and_targets_move_at_every_second_step_only():
    agent = make("td3", policy_delay=2, learning_starts=100)
    play(agent, 5, seed=1)
    batch = agent.experience.replay.sample(32, torch.Generator().manual_seed(0))
    moved = []
    for _ in range(4):
        before = agent.state_dict()
        metrics = agent.learn(batch)
        after = agent.state_dict()
        slow = ("actor.network.vector", "target_actor.vector", "critics.target.vector")
        changed = [not torch.equal(before[name], after[name]) for name in slow]
        assert len(set(changed)) == 1
        assert not torch.equal(
            before["critics.online.network.vector"], after["critics.online.network.vector"]
        )
        assert ("actor_loss" in metrics) == changed[0]
        moved.append(changed[0])
    assert moved == [False, True, False, True]


def test_targets_go_their_share_of_the_way(prepared):
    agent, batch, _ = prepared
    before = module_state(agent.target_actor)["vector"]
    agent.learn(batch)
    expected = before + 0.005 * (agent.actor.network.vector.detach() - before)
    torch.testing.assert_close(agent.target_actor.vector.detach(), expected)


def test_exploration_has_the_deviation_asked_for():
    agent = make("td3", low=0.0, high=4.0, exploration_noise=0.1)
    agent.experience.env_steps = 100
    observation = torch.zeros(4000, 1, 3)
    exact = agent.act(observation, None, deterministic=True).action
    noise = agent.act(observation, None).action - exact
    assert noise.std().item() == pytest.approx(0.2, rel=0.05)
