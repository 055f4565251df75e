"""Teams reach the known best play of two small games."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.maddpg_agent import MADDPGAgent, MADDPGConfig
from rl.environments.catalog import make_world
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


def test_a_team_trains_in_the_world_of_nodes():
    world = make_world("distributed_nodes", num_envs=10, seed=0)
    spec = world.groups[0].action
    config = MADDPGConfig(learning_starts=500, train_frequency=10, **SMALL)
    agent = MADDPGAgent(
        "nodes",
        world.observation_size,
        spec.size,
        config,
        num_agents=world.num_agents,
        discrete=False,
        seed=0,
        action_low=spec.low,
        action_high=spec.high,
    )
    learner = ReplayLearner(world, agent, seed=0)
    while learner.env_steps < 2000:
        _, metrics = learner.learn(2000)
    assert torch.isfinite(torch.stack(list(metrics.values()))).all()
    action = agent.act(world.reset(1).observation, None).action
    assert action.min() >= spec.low
    assert action.max() <= spec.high
