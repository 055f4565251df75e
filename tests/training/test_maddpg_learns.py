"""Teams reach the known best play of two small games."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.maddpg_agent import MADDPGAgent, MADDPGConfig
from rl.training.replay_learner import ReplayLearner
from tests.training.team_games import Messages, PayoffTables

SMALL = {"hidden_dims": (64, 64), "buffer_size": 100_000, "batch_size": 128}


def train(world, config, *, action_size, discrete, updates, seed):
    agent = MADDPGAgent("team", 2, action_size, config, num_agents=2, discrete=discrete, seed=seed)
    learner = ReplayLearner(world, agent, seed=seed)
    for _ in range(updates):
        learner.learn(updates * world.num_envs * config.train_frequency)
    return agent


def mean_return(world, agent, steps):
    """Return the mean return of an episode, both agents being paid the same."""
    record = world.reset(99)
    total, episodes = 0.0, 0
    for _ in range(steps):
        action = agent.act(record.observation, record.action_mask, deterministic=True).action
        record = world.step(action)
        total += float(record.reward[:, 0].sum())
        episodes += int(record.terminated.sum())
    return total / episodes


@pytest.mark.learning
@pytest.mark.slow
@pytest.mark.parametrize("variant", ["maddpg", "matd3"])
def test_a_speaker_and_a_listener_agree_on_a_language(variant):
    world = Messages()
    config = MADDPGConfig(variant=variant, learning_starts=1000, **SMALL)
    agent = train(world, config, action_size=1, discrete=False, updates=1200, seed=0)
    assert mean_return(world, agent, 20) > -0.05


@pytest.mark.learning
@pytest.mark.slow
@pytest.mark.parametrize("variant", ["maddpg", "matd3"])
def test_a_team_finds_the_best_pair_of_choices(variant):
    world = PayoffTables()
    config = MADDPGConfig(variant=variant, learning_starts=500, actor_learning_rate=3e-4, **SMALL)
    agent = train(world, config, action_size=4, discrete=True, updates=800, seed=0)
    assert mean_return(world, agent, 10) == pytest.approx(5.0)
    observation = world.reset(1).observation
    drawn = torch.stack([agent.act(observation, world.mask).action for _ in range(50)])
    assert drawn.max() < 3
