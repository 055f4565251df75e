"""PPO on traffic_shares: shares of a link that follow demands in small steps."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.stored_runs import Row
from data.scenario import BankConfig, ScenarioBank
from data.traffic_demand import TrafficDemand, TrafficLaws
from rl.algorithms.base_algorithm import Policy
from rl.algorithms.ppo_config import PPOConfig
from rl.domains.traffic_shares import TrafficConfig
from rl.environments.lockstep import LockstepOptions
from rl.environments.traffic_shares_environment import BatchedTrafficShares
from rl.evaluation.players import Player, policy_player
from rl.evaluation.statistics import block_bootstrap_interval
from rl.evaluation.traffic_bounds import compute_static_return, compute_traffic_bound
from rl.training.agents import make_agent
from rl.training.learners import make_learner
from utils.seeding import derive_seed

CONFIG = PPOConfig(
    learning_rate=2e-3,
    decay_learning_rate=True,
    gamma=0.8,
    gae_lambda=0.8,
    scale_rewards=True,
    entropy_coeff=0.003,
    final_entropy_coeff=0.0,
)
"""A choice is made good in a few steps, so what comes later hardly counts."""
COPIES, BLOCK, ENV_STEPS = 128, 32, 800_000
EPISODES, BOUND_EPISODES, JUDGE = 512, 128, 77_002


def make_shares(copies: int, seed: int, *, shuffle: bool = True) -> BatchedTrafficShares:
    """Build copies of the preset.

    Args:
        copies: How many.
        seed: Of the demand.
        shuffle: Whether episodes are drawn from the bank at random.
    """
    sizes = BankConfig(num_episodes=copies, refresh_every_episodes=copies)
    bank = ScenarioBank(TrafficDemand(TrafficLaws()), sizes, derive_seed(seed, "shares"))
    options = LockstepOptions(num_envs=copies, shuffle=shuffle)
    return BatchedTrafficShares(TrafficConfig(), bank, options, seed)


def train_traffic(seed: int) -> tuple[Policy, Row]:
    """Train.

    Args:
        seed: Of everything.
    """
    world = make_shares(COPIES, seed)
    agent = make_agent(CONFIG, world, seed=derive_seed(seed, "agent"))
    learner = make_learner(world, agent, rollout_steps=BLOCK, seed=seed)
    begun = time.process_time()
    while learner.env_steps < ENV_STEPS:
        learner.learn(ENV_STEPS)
    seconds = round(time.process_time() - begun, 1)
    return agent, {"env_steps": learner.env_steps, "cpu_seconds": seconds}


def play_traffic(agent: Policy) -> Row:
    """Play episodes that were not trained on, beside standing still and the limits.

    Args:
        agent: Trained.
    """
    config = TrafficConfig()
    ours = _play(policy_player(agent))
    still = _play(lambda _, record: torch.full(record.reward.shape, config.no_op))
    gain = block_bootstrap_interval(ours - still, np.arange(EPISODES))
    world = make_shares(EPISODES, JUDGE, shuffle=False)
    scenarios = world.bank.scenarios.take(np.arange(EPISODES))
    some = scenarios.take(np.arange(BOUND_EPISODES))
    return {
        "return": float(ours.mean()),
        "no_op": float(still.mean()),
        "best_static": float(compute_static_return(scenarios, config).mean()),
        "bound": float(compute_traffic_bound(some, config).mean()),
        "gain": gain.mean,
        "gain_low": gain.low,
        "gain_high": gain.high,
    }


@torch.no_grad()
def _play(player: Player) -> NDArray[np.float64]:
    world = make_shares(EPISODES, JUDGE, shuffle=False)
    record, total = world.reset(), torch.zeros(EPISODES, dtype=torch.float64)
    for _ in range(world.shape.num_steps):
        record = world.step(player(world, record))
        total += record.reward[:, 0].double()
    return total.numpy()
