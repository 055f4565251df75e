"""PPO-Lagrangian beside the LP optimum of constrained allocation.

Run `python -m benchmarks.constrained`: PPO with a limit on the mean squared overuse, and without
the penalty in its reward, in the world of the published table; five seeds, 512 unseen episodes of
100 steps, played as the policy decides and projected into what is available. Prints a table and
writes benchmarks/results/constrained.json. About twelve CPU minutes on one core.
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
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.domains.constrained_allocation import ConstrainedConfig
from rl.domains.constrained_experts import fill_cheapest_first
from rl.environments.base_environment import StepRecord
from rl.environments.constrained_allocation_environment import BatchedConstrainedAllocation
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

CONFIG = PPOConfig(
    hidden_dims=(128, 128),
    activation="relu",
    learning_rate=1e-3,
    decay_learning_rate=True,
    ppo_epochs=2,
    num_minibatches=8,
    gamma=0.0,
    gae_lambda=0.0,
    max_grad_norm=1.0,
    initial_action_mean=0.15,
    initial_log_std=-3.0,
    cost=MultiplierConfig(
        cost_limits=(8e-4,),
        learning_rate=10.0,
        proportional_gain=100.0,
        initial_multiplier=4.0,
    ),
)
COPIES, ENV_STEPS = 2048, 2048 * 4 * 750


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
    world = make_world(COPIES, seed + 1, training=True, constraint_violation_penalty=0.0)
    sizes = (world.observation_size, world.groups[0].action.size)
    agent = PPOAgent("planner", *sizes, CONFIG, discrete=False, seed=seed)
    train(world, agent, env_steps=ENV_STEPS, seed=seed)
    core = unseen_world()
    decide = greedy(agent)

    def within_limits(record: StepRecord) -> Tensor:
        return core.domain.within_limits(decide(record)[:, 0], core.view)[:, None]

    return {"as decided": play(core, core, decide), "projected": play(core, core, within_limits)}


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


def play_rule(core: BatchedConstrainedAllocation) -> Played:
    """Play cheapest first in the unseen episodes.

    Args:
        core: The copies.
    """

    def cheapest_first(_: StepRecord) -> Tensor:
        return torch.as_tensor(fill_cheapest_first(view_to_numpy(core.view), core.config))[:, None]

    return play(core, core, cheapest_first)


def begin_table() -> tuple[np.ndarray, Played, list[dict[str, Any]]]:
    """Print the head and the rule's row; return the LP optimum `[episode]`, the rule, the row."""
    core = unseen_world()
    optimum = compute_constrained_optimum(core.bank.scenarios, core.config)
    rule = play_rule(core)
    print(f"optimum: {optimum.hard.mean():.3f} with hard limits, {optimum.soft.mean():.3f} soft")
    print(f"{'policy':28}return   of the LP  less the rule              violation  cost")
    return optimum.hard, rule, [describe("cheapest first", [rule], optimum.hard, rule)]


def main() -> None:
    """Play the rule, train with every seed, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--output", type=Path, default=RESULTS / "constrained.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    optimum, rule, rows = begin_table()
    runs: list[dict[str, Played]] = []
    for seed in options.seeds:
        runs.append(learn_from_nothing(seed))
        by_seed = [
            describe(f"seed {seed}, {how}", [played], optimum, rule)
            for how, played in runs[-1].items()
        ]
        rows += by_seed
        summary = [
            describe(f"PPO-Lagrangian, {how}", [run[how] for run in runs], optimum, rule)
            for how in runs[0]
        ]
        report = {
            "command": "python -m benchmarks.constrained",
            "seeds": options.seeds[: len(runs)],
            "episodes": EPISODES,
            "optimum_hard": float(optimum.mean()),
            "env_steps": ENV_STEPS,
            "config": dataclasses.asdict(CONFIG),
            "rows": rows + summary,
        }
        write_report(options.output, report)


if __name__ == "__main__":
    main()
