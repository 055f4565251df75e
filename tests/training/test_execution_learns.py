"""Back-propagation through the market finds the Almgren-Chriss schedule from far away.

The agent begins by selling a tenth of the rest a step: half a rest, the default, is within 1 % of
the optimum by luck.
"""

from __future__ import annotations

import pytest
import torch

from data.price_shocks import NormalShocks, ShockConfig
from data.scenario import BankConfig, ScenarioBank
from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.apg_config import APGConfig
from rl.domains.execution import almgren_chriss
from rl.environments.execution_environment import BatchedExecution
from rl.environments.lockstep import LockstepOptions
from rl.evaluation.execution_bounds import compute_execution_bound
from rl.training.learners import EpisodeLearner

UPDATES, COPIES = 200, 256


def make_environment(config, *, seed, num_envs):
    source = NormalShocks(ShockConfig(num_steps=config.num_steps, antithetic=True))
    sizes = BankConfig(num_episodes=num_envs, refresh_every_episodes=num_envs)
    options = LockstepOptions(num_envs=num_envs)
    return BatchedExecution(config, ScenarioBank(source, sizes, seed), options, seed)


def measure_disutility(agent, config):
    """Expected cost plus risk penalty on unseen shocks; the fair price move is left out."""
    environment = make_environment(config, seed=99, num_envs=2048)
    record, total = environment.reset(), torch.zeros(2048, dtype=torch.float64)
    for _ in range(config.num_steps):
        record = environment.step(agent.act(record.observation, None).action)
        total -= (record.reward - record.reward_terms["price_move"])[:, 0]
    return float(total.mean())


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(3))
def test_gradients_through_the_market_find_the_optimum(seed):
    config = almgren_chriss(1e-6)
    best = compute_execution_bound(config).disutility
    settings = APGConfig(hidden_dims=(32, 32), initial_action_mean=0.1)
    agent = APGAgent("trader", 4, 1, settings, seed=seed)
    assert measure_disutility(agent, config) > 1.2 * best
    environment = make_environment(config, seed=seed, num_envs=COPIES)
    learner = EpisodeLearner(environment, agent, seed=seed)
    for _ in range(UPDATES):
        learner.learn(UPDATES * COPIES * config.num_steps)
    reached = measure_disutility(agent, config)
    assert best * (1 - 1e-6) <= reached <= 1.005 * best
