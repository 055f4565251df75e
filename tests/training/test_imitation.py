"""A policy that imitates does what the expert did."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.losses import DivergenceError
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.training.imitation import imitate


@pytest.fixture
def observation():
    return torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)) * 4 + 2


def make_agent(*, discrete):
    return PPOAgent("learner", 3, 2, PPOConfig(hidden_dims=(32,)), discrete=discrete, seed=0)


def test_continuous(observation):
    agent = make_agent(discrete=False)
    expert = torch.sigmoid(observation[:, :2])
    returns = observation.sum(-1) / 5
    mask = torch.tensor([True, False]).expand(2000, 2)
    noise = agent.network.log_std.clone()
    loss = imitate(
        agent,
        observation,
        expert,
        action_mask=mask,
        returns=returns,
        epochs=60,
        learning_rate=1e-2,
    )
    assert loss < 0.005
    action = agent.act(observation, mask, deterministic=True).action
    assert (action - expert)[:, 0].abs().mean() < 0.05
    assert (agent.value(observation) - returns).abs().mean() < 0.2
    assert torch.equal(agent.network.log_std, noise)
    assert not agent.optimizer.state
    untaught = agent.network.actor(agent.network.normalizer(observation))[:, 1]
    assert untaught.abs().max() < 1.0


def test_discrete(observation):
    agent = make_agent(discrete=True)
    expert = (observation[:, 0] > 2).long()
    imitate(agent, observation, expert)
    choice = agent.act(observation, None, deterministic=True).action
    assert (choice == expert).float().mean() > 0.95


def test_a_poisoned_expert_is_named(observation):
    with pytest.raises(DivergenceError, match="imitation loss"):
        imitate(make_agent(discrete=False), observation, torch.full((2000, 2), torch.nan))
