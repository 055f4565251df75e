"""PPO on one shelf with a cost per order, where (s, S) is best: Poisson 10, h 1, p 9, K 64.

An order has a cost whatever its size, so the profit jumps where one is placed and has no gradient
there. PPO chooses a level to order up to, of 21 from 0 to 100 units, from what it sees of the
shelf; a level at or below the position orders nothing. It is told nothing of s or S.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from benchmarks.stored_runs import Row
from data.scenario import BankConfig, ScenarioBank
from rl.algorithms.base_algorithm import Policy
from rl.algorithms.ppo_config import PPOConfig
from rl.domains.inventory_presets import fixed_order_cost
from rl.environments.base_environment import StepRecord
from rl.environments.discrete_faces import BinnedActions
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.training.agents import make_agent
from rl.training.learners import make_learner
from utils.seeding import derive_seed

SHELF_MEAN = 10.0
SHELF_OPTIMUM = 35.022
"""Cost of a step under (6, 40), published and computed in `rl/evaluation/stock_optima.py`."""
GRID = tuple(np.linspace(0.0, 1.0, 21).tolist())


class LevelChoices(BinnedActions):
    """A choice is a level that the shelf's position is raised to."""

    def step(self, action: Tensor) -> StepRecord:
        """Order what lacks.

        Args:
            action: `[env, 1]` choices.

        Raises:
            InvalidActionError: The shape is wrong or a choice unknown.
        """
        choice = self._check(action)
        view, most = self.core.view, self.core.domain.capacity
        position = view.stock + view.in_transit.sum(-1) - view.unmet[:, :1] + view.unmet[:, 1:]
        level = torch.tensor(GRID)[choice] * most
        share = ((level - position) / most).clamp(0.0, 1.0)
        return self._translate(self.core.step(share[:, None]))


CONFIG = PPOConfig(
    learning_rate=2e-3,
    decay_learning_rate=True,
    gamma=0.95,
    gae_lambda=0.95,
    scale_rewards=True,
    entropy_coeff=0.01,
    final_entropy_coeff=0.0,
    num_minibatches=8,
)
COPIES, BLOCK, ENV_STEPS, TRAIN_LENGTH = 128, 32, 400_000, 200
EPISODES, STEPS, WARM_UP, JUDGE = 300, 1000, 200, 77_001
"""As in `benchmarks.stock_optima`: long, because the phase of the orders is forgotten slowly."""


def make_shelf(copies: int, length: int, seed: int, *, shuffle: bool = True) -> LevelChoices:
    """Build the shelf with levels on a grid.

    Args:
        copies: How many.
        length: Of an episode.
        seed: Of the demand.
        shuffle: Whether episodes are drawn from the bank at random.
    """
    preset = fixed_order_cost(SHELF_MEAN, max_steps=length)
    sizes = BankConfig(num_episodes=copies, refresh_every_episodes=copies)
    bank = ScenarioBank(preset.demand, sizes, derive_seed(seed, "shelf"))
    options = InventoryOptions(num_envs=copies, shuffle=shuffle)
    return LevelChoices(BatchedInventory(preset.chain, bank, options, seed), GRID)


def train_shelf(seed: int) -> tuple[Policy, Row]:
    """Train.

    Args:
        seed: Of everything.
    """
    world = make_shelf(COPIES, TRAIN_LENGTH, seed)
    agent = make_agent(CONFIG, world, seed=derive_seed(seed, "agent"))
    learner = make_learner(world, agent, rollout_steps=BLOCK, seed=seed)
    begun = time.process_time()
    while learner.env_steps < ENV_STEPS:
        learner.learn(ENV_STEPS)
    seconds = round(time.process_time() - begun, 1)
    return agent, {"env_steps": learner.env_steps, "cpu_seconds": seconds}


@torch.no_grad()
def play_shelf(agent: Policy) -> Row:
    """Measure the long-run cost of a step on paths that were not trained on.

    Args:
        agent: Trained.
    """
    world = make_shelf(EPISODES, STEPS, JUDGE, shuffle=False)
    record, cost = world.reset(), torch.zeros(EPISODES, dtype=torch.float64)
    for step in range(STEPS):
        action = agent.act(record.observation, record.action_mask, deterministic=True).action
        record = world.step(action)
        if step >= WARM_UP:
            cost -= record.reward[:, 0].double()
    cost = cost / (STEPS - WARM_UP)
    error = float(cost.std() / EPISODES**0.5)
    return {"cost": float(cost.mean()), "standard_error": error}
