"""DQN learns to balance a pole; the benchmark runs more seeds."""

from __future__ import annotations

import pytest
import torch

from benchmarks.presets_dqn import CARTPOLE, CARTPOLE_COPIES, CARTPOLE_ENV_STEPS
from rl.algorithms.dqn_agent import DQNAgent
from rl.environments.adapter import GymnasiumAdapter
from rl.training.recorder import NullRecorder
from rl.training.trainer import Trainer, TrainerConfig

EVALUATIONS = 10
CHOOSING, FINAL = 1_000_000, 2_000_000
"""Seeds of the episodes that choose the best policy, and of those that score it."""


def mean_return(agent, *, episodes, seed):
    """Return the mean of the first episode of each of so many fresh copies."""
    environment = GymnasiumAdapter("CartPole-v1", episodes, seed=seed)
    record = environment.reset()
    total, running = torch.zeros(episodes), torch.ones(episodes, dtype=torch.bool)
    while running.any():
        action = agent.act(record.observation, record.action_mask, deterministic=True).action
        record = environment.step(action)
        total += record.reward[:, 0] * running
        running &= ~(record.terminated | record.truncated)
    environment.close()
    return float(total.mean())


@pytest.mark.learning
@pytest.mark.slow
def test_dqn_solves_cartpole():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    environment = GymnasiumAdapter("CartPole-v1", CARTPOLE_COPIES, seed=0)
    agent = DQNAgent("cartpole", 4, 2, CARTPOLE, seed=0)
    block = CARTPOLE_COPIES * CARTPOLE.train_frequency
    config = TrainerConfig(
        total_env_steps=CARTPOLE_ENV_STEPS,
        evaluate_every_updates=CARTPOLE_ENV_STEPS // EVALUATIONS // block,
        score="return",
    )
    outcome = Trainer(
        config,
        environment,
        agent,
        NullRecorder(),
        evaluate=lambda agent: {"return": mean_return(agent, episodes=10, seed=CHOOSING)},
    ).train()
    environment.close()
    agent.load_policy_state(outcome.best_policy)
    score = mean_return(agent, episodes=100, seed=FINAL)
    torch.set_num_threads(threads)
    assert outcome.env_steps < CARTPOLE_ENV_STEPS + block
    assert score >= 475.0
