"""PPO, SAC and DQN beside the cheapest-first rule of constrained allocation, on top of it.

Run `python -m benchmarks.rule_budgets`: the rule is the LP optimum with hard limits already (to
seven digits), so only overuse that pays more than its penalty can beat it. Each learner chooses how
much of what is available the rule may hand out (residual learning, arXiv:1812.06298); DQN through
the binned face. Five seeds, 512 unseen episodes of 100 steps; prints a table and writes
benchmarks/results/rule_budgets.json. About five CPU minutes on one core.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.constrained import (
    EPISODES,
    Played,
    begin_table,
    describe,
    greedy,
    make_world,
    play,
    train,
    unseen_world,
)
from benchmarks.measuring import RESULTS, write_report
from rl.algorithms.dqn_agent import DQNAgent
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.algorithms.sac_agent import SACAgent
from rl.algorithms.sac_config import SACConfig
from rl.domains.constrained_experts import fill_cheapest_first
from rl.environments.base_environment import ActionSpec, AgentGroup, StepRecord
from rl.environments.constrained_allocation_environment import BatchedConstrainedAllocation
from rl.environments.discrete_faces import BinnedActions
from rl.environments.torch_tools import view_to_numpy

REACH = 0.03
"""How far the budget of the rule may be from what is available, as a share of it."""
LEVELS = tuple(np.linspace(0.0, 1.0, 13).tolist())
REWARD_SCALE = 100.0
"""In training, so that what an overuse gains is not lost in rounding."""

PPO = PPOConfig(
    hidden_dims=(64, 64),
    activation="relu",
    learning_rate=1e-3,
    decay_learning_rate=True,
    gamma=0.0,
    gae_lambda=0.0,
    initial_log_std=-0.7,
)
SAC = SACConfig(
    hidden_dims=(64, 64),
    gamma=0.0,
    learning_rate=1e-3,
    temperature=0.2,
    buffer_size=200_000,
    learning_starts=25_600,
    train_frequency=1,
    gradient_steps=8,
)
DQN = DQNConfig(
    hidden_dims=(64, 64),
    gamma=0.0,
    learning_rate=1e-3,
    buffer_size=200_000,
    batch_size=256,
    learning_starts=4096,
    train_frequency=1,
    gradient_steps=8,
    epsilon_decay_steps=50_000,
    epsilon_end=0.1,
)
CONFIGS = {"ppo": PPO, "sac": SAC, "dqn": DQN}
COPIES, ENV_STEPS = 256, 256 * 4 * 120


class RuleBudgets:
    """Lets an agent say how much the cheapest-first rule may hand out, alike for all resources.

    Action: one number in [-1, 1]; the rule sees availability times 1 + REACH * action.
    """

    def __init__(self, core: BatchedConstrainedAllocation) -> None:
        """Keep the core.

        Args:
            core: Stepped by nobody else.
        """
        self.core = core
        group = core.groups[0]
        action = ActionSpec(kind="continuous", size=1, low=-1.0, high=1.0)
        self.groups: tuple[AgentGroup, ...] = (dataclasses.replace(group, action=action),)
        self.num_envs, self.num_agents, self.agent_ids = core.num_envs, 1, core.agent_ids
        self.observation_size, self.state_size = core.observation_size, core.state_size
        self.num_costs, self.device = core.num_costs, core.device
        self._mask = torch.ones(core.num_envs, 1, 1, dtype=torch.bool)

    def reset(self, seed: int | None = None) -> StepRecord:
        """Begin a new episode in every copy.

        Args:
            seed: Begins the whole sequence anew.
        """
        return dataclasses.replace(self.core.reset(seed), action_mask=self._mask)

    def step(self, action: Tensor) -> StepRecord:
        """Let the rule play within its budget.

        Args:
            action: `[env, 1, 1]`.
        """
        view = view_to_numpy(self.core.view)
        budget = 1.0 + REACH * action[:, 0].clamp(-1.0, 1.0).numpy()
        widened = dataclasses.replace(view, availability=view.availability * budget)
        allocation = fill_cheapest_first(widened, self.core.config)
        record = self.core.step(torch.as_tensor(allocation)[:, None])
        return dataclasses.replace(record, action_mask=self._mask)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the core's state; the rule has none."""
        return self.core.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.
        """
        self.core.load_state_dict(state)


def learn_budgets(kind: str, seed: int) -> Played:
    """Train one learner on top of the rule and play the unseen episodes.

    Args:
        kind: ppo, sac or dqn.
        seed: Of everything.
    """
    face: Any = RuleBudgets(make_world(COPIES, seed + 1, training=True, reward_scale=REWARD_SCALE))
    core = unseen_world()
    played: Any = RuleBudgets(core)
    if kind == "dqn":
        face, played = BinnedActions(face, LEVELS), BinnedActions(played, LEVELS)
        agent: Any = DQNAgent("budget", 24, len(LEVELS), DQN, seed=seed)
    elif kind == "sac":
        agent = SACAgent("budget", 24, 1, SAC, seed=seed)
    else:
        agent = PPOAgent("budget", 24, 1, PPO, discrete=False, seed=seed)
    train(face, agent, env_steps=ENV_STEPS, seed=seed)
    return play(played, core, greedy(agent))


def main() -> None:
    """Play the rule, train every learner with every seed, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--learners", nargs="+", default=list(CONFIGS))
    parser.add_argument("--output", type=Path, default=RESULTS / "rule_budgets.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    optimum, rule, rows = begin_table()
    for kind in options.learners:
        runs = [learn_budgets(kind, seed) for seed in options.seeds]
        rows.append(describe(f"rule budgets, {kind}", runs, optimum, rule))
        report = {
            "command": "python -m benchmarks.rule_budgets",
            "seeds": options.seeds,
            "episodes": EPISODES,
            "optimum_hard": float(optimum.mean()),
            "env_steps": ENV_STEPS,
            "configs": {name: dataclasses.asdict(config) for name, config in CONFIGS.items()},
            "rows": rows,
        }
        write_report(options.output, report)


if __name__ == "__main__":
    main()
