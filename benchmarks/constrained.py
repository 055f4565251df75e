"""Learners under a constraint: PPO-Lagrangian beside the LP optimum, all learners beside the rule.

Run `python -m benchmarks.constrained`: two questions on `constrained_allocation`, in the world of
the published table, five seeds each, 512 unseen episodes of 100 steps:
1. From nothing: PPO with a limit on the mean squared overuse and no penalty in its reward, beside
   the LP optimum with hard limits.
2. On top of the rule: the cheapest-first rule is that optimum already (to seven digits), so only
   overuse that pays can beat it. PPO, SAC and DQN choose how much of what is available the rule may
   hand out (residual learning, arXiv:1812.06298).
Prints both tables and writes benchmarks/results/constrained.json.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.allocation_presets import COST, PRIORITY
from benchmarks.measuring import RESULTS, write_report
from data.scenario import BankConfig, ScenarioBank
from data.task_demand import TaskDemand, TaskLaws
from rl.algorithms.constraints import MultiplierConfig
from rl.algorithms.dqn_agent import DQNAgent, DQNConfig
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.algorithms.sac_agent import SACAgent, SACConfig
from rl.domains.constrained_allocation import ConstrainedConfig
from rl.domains.constrained_experts import fill_cheapest_first
from rl.environments.base_environment import ActionSpec, AgentGroup, StepRecord
from rl.environments.constrained_allocation_environment import BatchedConstrainedAllocation
from rl.environments.discrete_faces import BinnedActions
from rl.environments.lockstep import LockstepOptions
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.constrained_bounds import compute_constrained_optimum
from rl.evaluation.statistics import Estimate, clustered_t_interval
from rl.training.recorder import NullRecorder
from rl.training.trainer import Trainer, TrainerConfig

EPISODES = 512
EVALUATION_SEED = 12_345
TRAINING_STEPS = 4
"""Length of an episode in training: nothing changes within one, so short ones show more demands."""
REACH = 0.03
"""How far the budget of the rule may be from what is available, as a share of it."""
LEVELS = tuple(np.linspace(0.0, 1.0, 13).tolist())

LAGRANGIAN = PPOConfig(
    hidden_dims=(128, 128),
    activation="relu",
    learning_rate=1e-3,
    decay_learning_rate=True,
    gamma=0.0,
    gae_lambda=0.0,
    max_grad_norm=1.0,
    initial_action_mean=0.15,
    initial_log_std=-3.0,
    cost=MultiplierConfig(
        cost_limits=(2e-4,),
        learning_rate=50.0,
        proportional_gain=500.0,
        initial_multiplier=10.0,
    ),
)
LAGRANGIAN_COPIES, LAGRANGIAN_ENV_STEPS = 2048, 2048 * 4 * 500

BUDGET_PPO = PPOConfig(
    hidden_dims=(64, 64),
    activation="relu",
    learning_rate=1e-3,
    decay_learning_rate=True,
    gamma=0.0,
    gae_lambda=0.0,
    initial_log_std=-0.7,
)
BUDGET_SAC = SACConfig(
    hidden_dims=(64, 64),
    gamma=0.0,
    learning_rate=1e-3,
    temperature=0.01,
    buffer_size=200_000,
    learning_starts=4096,
    train_frequency=1,
    gradient_steps=8,
)
BUDGET_DQN = DQNConfig(
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
BUDGET_COPIES, BUDGET_ENV_STEPS = 256, 256 * 4 * 200


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Played:
    """What a policy came to on the unseen episodes, `[episode]` each."""

    total: np.ndarray
    """Return, penalty included."""
    violation: np.ndarray
    """Squared units beyond what is available, mean of the steps."""
    cost: np.ndarray
    """Paid for units."""


def make_world(
    num_envs: int, seed: int, *, training: bool, **changes: float
) -> BatchedConstrainedAllocation:
    """Return copies of the published world.

    Args:
        num_envs: Copies.
        seed: Of the demands and availabilities.
        training: Short episodes, drawn anew all the time; else `EPISODES` whole ones in order.
        changes: Of the world's configuration.
    """
    length = TRAINING_STEPS if training else 100
    config = dataclasses.replace(ConstrainedConfig(), episode_length=length, **changes)
    episodes = max(num_envs, EPISODES)
    source = TaskDemand(TaskLaws(), 0, cost=COST, priority=PRIORITY)
    bank_config = BankConfig(num_episodes=episodes, refresh_every_episodes=episodes)
    bank = ScenarioBank(source, bank_config, seed)
    options = LockstepOptions(num_envs=num_envs, shuffle=training)
    return BatchedConstrainedAllocation(config, bank, options, seed)


def unseen_world() -> BatchedConstrainedAllocation:
    """Return one copy of each episode that no learner has trained on."""
    return make_world(EPISODES, EVALUATION_SEED, training=False)


def play(
    world: Any, core: BatchedConstrainedAllocation, decide: Callable[[StepRecord], Tensor]
) -> Played:
    """Play every unseen episode once.

    Args:
        world: The core, or a face over it.
        core: The copies.
        decide: From what was seen to the face's action.
    """
    record = world.reset(0)
    sums = torch.zeros(3, EPISODES, dtype=torch.float64)
    for _ in range(core.config.episode_length):
        record = world.step(decide(record))
        figures = (record.reward[:, 0], record.cost[:, 0, 0], record.metrics["total_cost"])
        sums += torch.stack(figures)
    total, violation, cost = sums.numpy()
    return Played(total=total, violation=violation / core.config.episode_length, cost=cost)


def greedy(agent: Any) -> Callable[[StepRecord], Tensor]:
    """Return an agent's likeliest action as a rule.

    Args:
        agent: Of any kind.
    """

    def decide(record: StepRecord) -> Tensor:
        action: Tensor = agent.act(
            record.observation, record.action_mask, deterministic=True
        ).action
        return action

    return decide


def train(world: Any, agent: Any, *, env_steps: int, seed: int) -> None:
    """Train an agent.

    Args:
        world: Stepped by nobody else.
        agent: Learns.
        env_steps: How long.
        seed: Of the episodes.
    """
    config = TrainerConfig(total_env_steps=env_steps, rollout_steps=TRAINING_STEPS, seed=seed)
    Trainer(config, world, agent, NullRecorder()).train()


def learn_from_nothing(seed: int) -> dict[str, Played]:
    """Train PPO-Lagrangian without the penalty; play as it decides, and within the limits.

    Args:
        seed: Of everything.
    """
    world = make_world(LAGRANGIAN_COPIES, seed + 1, training=True, constraint_violation_penalty=0.0)
    sizes = (world.observation_size, world.groups[0].action.size)
    agent = PPOAgent("planner", *sizes, LAGRANGIAN, discrete=False, seed=seed)
    train(world, agent, env_steps=LAGRANGIAN_ENV_STEPS, seed=seed)
    core = unseen_world()
    decide = greedy(agent)

    def within_limits(record: StepRecord) -> Tensor:
        return core.domain.within_limits(decide(record)[:, 0], core.view)[:, None]

    return {"as decided": play(core, core, decide), "projected": play(core, core, within_limits)}


def learn_budgets(kind: str, seed: int) -> Played:
    """Train one learner on top of the rule and play the unseen episodes.

    Args:
        kind: ppo, sac or dqn.
        seed: Of everything.
    """
    scale = 100.0
    face: Any = RuleBudgets(make_world(BUDGET_COPIES, seed + 1, training=True, reward_scale=scale))
    core = unseen_world()
    played: Any = RuleBudgets(core)
    if kind == "dqn":
        face, played = BinnedActions(face, LEVELS), BinnedActions(played, LEVELS)
        agent: Any = DQNAgent("budget", 24, len(LEVELS), BUDGET_DQN, seed=seed)
    elif kind == "sac":
        agent = SACAgent("budget", 24, 1, BUDGET_SAC, seed=seed)
    else:
        agent = PPOAgent("budget", 24, 1, BUDGET_PPO, discrete=False, seed=seed)
    train(face, agent, env_steps=BUDGET_ENV_STEPS, seed=seed)
    return play(played, core, greedy(agent))


def estimate(values: list[np.ndarray]) -> Estimate:
    """Return a mean with its 95 % interval over seeds and episodes.

    Args:
        values: `[episode]` of each seed.
    """
    return clustered_t_interval(np.stack(values), np.arange(EPISODES))


def describe(name: str, runs: list[Played], reference: np.ndarray, rule: Played) -> dict[str, Any]:
    """Summarise the seeds of one policy, and print the row.

    Args:
        name: Of the policy.
        runs: One per seed.
        reference: LP optimum with hard limits, `[episode]`.
        rule: What cheapest first came to in the same episodes.
    """
    row = {
        "policy": name,
        "return": dataclasses.asdict(estimate([run.total for run in runs])),
        "share_of_lp": float(np.mean([run.total.mean() for run in runs]) / reference.mean()),
        "share_of_lp_by_seed": [float(run.total.mean() / reference.mean()) for run in runs],
        "less_rule": dataclasses.asdict(estimate([run.total - rule.total for run in runs])),
        "violation_per_step": dataclasses.asdict(estimate([run.violation for run in runs])),
        "largest_violation_per_step": float(max(run.violation.max() for run in runs)),
        "cost": dataclasses.asdict(estimate([run.cost for run in runs])),
    }
    gain = row["less_rule"]
    print(
        f"{name:26}{row['return']['mean']:8.3f}  {100 * row['share_of_lp']:7.2f} %  "
        f"{gain['mean']:+7.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]  "
        f"{row['violation_per_step']['mean']:.2e}  {row['cost']['mean']:7.2f}",
        flush=True,
    )
    return row


def main() -> None:
    """Play the rule, train with every seed, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--learners", nargs="+", default=["budgets ppo", "budgets sac", "budgets dqn", "lagrangian"]
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "constrained.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    core = unseen_world()
    optimum = compute_constrained_optimum(core.bank.scenarios, core.config)

    def cheapest_first(_: StepRecord) -> Tensor:
        return torch.as_tensor(fill_cheapest_first(view_to_numpy(core.view), core.config))[:, None]

    rule = play(core, core, cheapest_first)
    print(f"optimum: {optimum.hard.mean():.3f} with hard limits, {optimum.soft.mean():.3f} soft")
    print(
        "policy                      return   of the LP  less the rule              violation  cost"
    )
    rows = [describe("cheapest first", [rule], optimum.hard, rule)]
    for learner in options.learners:
        if learner == "lagrangian":
            runs = [learn_from_nothing(seed) for seed in options.seeds]
            for how in runs[0]:
                played = [run[how] for run in runs]
                rows.append(describe(f"PPO-Lagrangian, {how}", played, optimum.hard, rule))
        else:
            kind = learner.removeprefix("budgets ")
            played = [learn_budgets(kind, seed) for seed in options.seeds]
            rows.append(describe(f"rule budgets, {kind}", played, optimum.hard, rule))
    report = {
        "command": "python -m benchmarks.constrained",
        "seeds": options.seeds,
        "episodes": EPISODES,
        "optimum_hard": float(optimum.hard.mean()),
        "optimum_soft": float(optimum.soft.mean()),
        "env_steps": {"lagrangian": LAGRANGIAN_ENV_STEPS, "budgets": BUDGET_ENV_STEPS},
        "configs": {
            "lagrangian": dataclasses.asdict(LAGRANGIAN),
            "ppo": dataclasses.asdict(BUDGET_PPO),
            "sac": dataclasses.asdict(BUDGET_SAC),
            "dqn": dataclasses.asdict(BUDGET_DQN),
        },
        "rows": rows,
    }
    write_report(options.output, report)


if __name__ == "__main__":
    main()
