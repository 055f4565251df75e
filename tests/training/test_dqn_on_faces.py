"""Value-based learning of continuous allocation, through its discrete faces."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.dqn_agent import DQNAgent
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.policy_state import load_tensors, save_tensors
from rl.environments.catalog import make_world, with_actions
from rl.training.replay_learner import ReplayLearner


def make_pair(name, actions, seed=0):
    world = with_actions(make_world(name, num_envs=4, seed=0), actions)
    config = DQNConfig(hidden_dims=(16,), learning_starts=64, train_frequency=8, gradient_steps=2)
    agent = DQNAgent(name, world.observation_size, world.action_size, config, seed=seed)
    return world, agent, ReplayLearner(world, agent, seed=1)


@pytest.mark.parametrize(
    ("name", "actions"), [("constrained_allocation", "units"), ("market_making", "binned")]
)
def test_dqn_learns_from_choices_in_a_world_of_amounts(name, actions):
    _, agent, learner = make_pair(name, actions)
    before = agent.network.vector.clone()
    found = [learner.learn(1000)[1] for _ in range(10)]
    assert [bool(metrics) for metrics in found] == [False] + [True] * 9
    assert all(torch.isfinite(value) for value in found[-1].values())
    assert not torch.equal(agent.network.vector, before)
    assert learner.env_steps == agent.env_steps == 320


def test_learning_goes_on_bit_for_bit_between_units():
    world, agent, learner = make_pair("constrained_allocation", "units")
    for _ in range(6):
        learner.learn(1000)
    saved = [load_tensors(save_tensors(one.state_dict())) for one in (world, agent, learner)]
    late = make_pair("constrained_allocation", "units", seed=9)
    for one, state in zip(late, saved, strict=True):
        one.load_state_dict(state)
    for _ in range(3):
        learner.learn(1000)
        late[2].learn(1000)
    for one, other in zip((agent, learner), late[1:], strict=True):
        ours, theirs = one.state_dict(), other.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
