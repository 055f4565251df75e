"""A memory is needed to recall, and its state between blocks is part of what is resumed."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.policy_state import load_tensors, save_tensors, under_prefix, with_prefix
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.recurrent_ppo_agent import RecurrentPPOAgent
from rl.training.learners import RolloutLearner
from tests.training.recall import Recall
from tests.training.test_rollout import Script
from tests.training.worlds import PointWorld

COPIES, ROLLOUT_STEPS, UPDATES = 64, 16, 45


def make_learner(*, memory_size, seed=0, copies=COPIES):
    config = PPOConfig(
        hidden_dims=(16,),
        memory_size=memory_size,
        learning_rate=5e-3,
        normalize_observations=False,
        num_minibatches=2,
        ppo_epochs=3,
        entropy_coeff=0.01,
    )
    kind = RecurrentPPOAgent if memory_size else PPOAgent
    agent = kind("recall", 2, 2, config, discrete=True, seed=seed)
    world = Recall(copies, seed=seed)
    return world, agent, RolloutLearner(world, agent, rollout_steps=ROLLOUT_STEPS, seed=seed)


def last_score(learner, updates=UPDATES):
    """Return the mean return of the episodes in the last five blocks."""
    returns = [learner.learn(10**9)[0].mean_return for _ in range(updates)]
    return sum(returns[-5:]) / 5


@pytest.mark.learning
def test_a_memory_recalls_and_a_reflex_cannot():
    _, _, learner = make_learner(memory_size=16)
    assert last_score(learner) > 0.95
    _, _, reflex = make_learner(memory_size=0)
    assert 0.4 < last_score(reflex) < 0.6


def save(world, agent, learner):
    parts = {"world": world, "agent": agent, "learner": learner}
    return save_tensors(
        {
            name: tensor
            for part, owner in parts.items()
            for name, tensor in with_prefix(part, owner.state_dict()).items()
        }
    )


def load(content, world, agent, learner):
    tensors = load_tensors(content)
    world.load_state_dict(under_prefix("world", tensors))
    agent.load_state_dict(under_prefix("agent", tensors))
    learner.load_state_dict(under_prefix("learner", tensors))


def test_training_goes_on_bit_for_bit_in_the_middle_of_episodes():
    whole = make_learner(memory_size=8, copies=6)
    whole[2].learn(1000)
    content = save(*whole)
    assert whole[1].memory.abs().sum() > 0
    late = make_learner(memory_size=8, copies=6, seed=5)
    load(content, *late)
    for _, _, learner in (whole, late):
        learner.learn(1000)
    assert save(*whole) == save(*late)


def test_truncated_episodes_are_valued_with_their_memory():
    script = Script(PointWorld())
    world = script.world
    config = PPOConfig(hidden_dims=(8,), memory_size=4, normalize_observations=False)
    agent = RecurrentPPOAgent(
        "p", world.observation_size, world.action_size, config, discrete=False, seed=0
    )
    learner = RolloutLearner(script, agent, rollout_steps=40, seed=1)
    rollout, _ = learner._collector.collect()
    cuts = 0
    for time in range(40):
        record = script.records[time + 1]
        for env in (record.truncated & ~record.terminated).nonzero().flatten().tolist():
            begin = max([t + 1 for t in range(time) if rollout.ended[t, env, 0]], default=0)
            episode = rollout.observation[begin : time + 1, env : env + 1]
            last = record.final_observation[env : env + 1].unsqueeze(0)
            never = torch.zeros(time - begin + 2, 1, 2, dtype=torch.bool)
            memory = torch.zeros(1, 2, agent.memory_size)
            value = agent.value(torch.cat((episode, last)), memory, never)[-1, 0]
            torch.testing.assert_close(rollout.next_value[time, env], value)
            cuts += 1
    assert cuts >= 3
