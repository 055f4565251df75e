"""One learned policy for distributed nodes at three rates of arrival, beside the best rules.

Run `OMP_NUM_THREADS=1 python -m benchmarks.node_policy`: a table, and JSON in
benchmarks/results/node_policy.json. PPO with weights shared by all nodes sees the team and its mean
reward; episodes at rates 5, 10 and 20 come in turn, and it is never told which. Every row plays the
same unseen episodes. Beside return, violations, completion and use of the first resource stand what
no policy can exceed: `completion_limit` from the hindsight programme that counts placements,
`utilization_limit` from filling the smallest nodes first with all that arrives, split at will and
drained no faster than a full node is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import RESULTS, write_report
from data.node_workload import NodeScenarios, NodeWorkload
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.domains.node_experts import EXPERTS
from rl.domains.nodes import NodeConfig, NodeView, distributed_nodes
from rl.environments.lockstep import LockstepOptions
from rl.environments.node_allocation_environment import BatchedNodes
from rl.evaluation.node_bounds import nodes_hindsight_bound
from rl.evaluation.statistics import clustered_t_interval
from rl.training.agents import make_agent
from rl.training.learners import RolloutLearner

RATES = (5, 10, 20)
BEST_RULE = {5: 738.0, 10: 1668.0, 20: 1715.0}
"""Published return of the best heuristic at each rate."""
TARGETS = {"sla_violation_rate": 0.05, "completion_rate": 0.95, "cpu_utilization": 0.80}
TRAINED = replace(distributed_nodes().nodes, observe="team", shared_reward=True)
PPO = PPOConfig(
    hidden_dims=(64, 64),
    learning_rate=1e-3,
    decay_learning_rate=True,
    gamma=0.99,
    gae_lambda=0.8,
    ppo_epochs=10,
    num_minibatches=8,
    scale_rewards=True,
    initial_log_std=-1.0,
    initial_action_mean=0.5,
)
NUM_ENVS, ROLLOUT_STEPS = 24, 125
LIMIT_RATES = (5, 8, 9, 10, 11, 12, 15, 20)
LIMIT_EPISODES = 20

Act = Callable[[Tensor, NodeView], Tensor]


def train(seed: int, env_steps: int) -> tuple[PPOAgent, float]:
    """Train one policy for all rates; return it and the CPU-seconds it took.

    Args:
        seed: Of weights, actions and episodes.
        env_steps: Joint steps over all copies.
    """
    world = replace(
        distributed_nodes(workload_arrival_rate=RATES[0]).world,
        rate_factors=tuple(rate / RATES[0] for rate in RATES),
    )
    sizes = BankConfig(num_episodes=240, refresh_every_episodes=240)
    bank = ScenarioBank(NodeWorkload(world), sizes, seed)
    env = BatchedNodes(TRAINED, bank, LockstepOptions(num_envs=NUM_ENVS), seed)
    agent = make_agent(PPO, env, seed=seed)
    if not isinstance(agent, PPOAgent):
        raise TypeError(f"{type(agent).__name__} does not learn from blocks of steps")
    learner = RolloutLearner(env, agent, rollout_steps=ROLLOUT_STEPS, seed=seed)
    begun = time.process_time()
    while learner.env_steps < env_steps:
        summary, _ = learner.learn(env_steps)
        if summary.mean_return is not None:
            print(f"  {learner.env_steps} steps: return {summary.mean_return:.0f}", flush=True)
    return agent, time.process_time() - begun


@torch.no_grad()
def play(scenarios: NodeScenarios, config: NodeConfig, act: Act) -> dict[str, Tensor]:
    """Play every episode once; return figures, `[episode]` each.

    Args:
        scenarios: The episodes.
        config: What is observed; the return is that of the published reward in any case.
        act: Maps observations and the view to actions.
    """
    episodes = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=episodes), 0)
    env = BatchedNodes(config, bank, LockstepOptions(num_envs=episodes, shuffle=False), 0)
    record, total = env.reset(), torch.zeros(episodes)
    sums: dict[str, Tensor] = {}
    for _ in range(config.max_steps):
        record = env.step(act(record.observation, env.view))
        total += record.reward.sum(1)
        for name, values in record.metrics.items():
            sums[name] = sums.get(name, torch.zeros(episodes)) + values
    violation = sums["failed_workloads"] / sums["total_workloads"].clamp(min=1.0)
    return {
        "return": total,
        "sla_violation_rate": violation,
        "completion_rate": 1.0 - violation,
        "cpu_utilization": sums["avg_utilization"] / config.max_steps,
    }


def play_rules(scenarios: NodeScenarios) -> dict[str, dict[str, Tensor]]:
    """Play every expert's rule.

    Args:
        scenarios: The episodes.
    """
    figures = {}
    for name, rule in EXPERTS.items():
        generator = np.random.default_rng(0)

        def act(_: Tensor, view: NodeView) -> Tensor:
            shares = rule(NodeView(usage=view.usage.numpy()), generator)  # noqa: B023  # used at once
            return torch.from_numpy(shares)

        figures[name] = play(scenarios, distributed_nodes().nodes, act)
    return figures


def draw(rate: int, episodes: int) -> NodeScenarios:
    """Draw unseen episodes.

    Args:
        rate: Of arrivals.
        episodes: How many.
    """
    world = distributed_nodes(workload_arrival_rate=rate).world
    return NodeWorkload(world).draw(episodes, np.random.default_rng([rate, 77]))


def scan_limits() -> list[dict[str, float | bool]]:
    """Say at which rates the targets could be met together by any policy."""
    rows: list[dict[str, float | bool]] = []
    for rate in LIMIT_RATES:
        limits = compute_limits(draw(rate, LIMIT_EPISODES))
        possible = (
            limits["completion_limit"] > TARGETS["completion_rate"]
            and limits["utilization_limit"] > TARGETS["cpu_utilization"]
        )
        rows.append({"rate": rate, **limits, "targets_possible": possible})
        print(f"{rate:>3} no policy exceeds {limits}; targets possible: {possible}", flush=True)
    return rows


def compute_limits(scenarios: NodeScenarios) -> dict[str, float]:
    """Return what no policy exceeds on the mean of some episodes.

    Args:
        scenarios: The episodes.
    """
    counting = replace(
        distributed_nodes().nodes, placement_reward=0.0, fit_reward=1.0, failure_penalty=0.0
    )
    completed = nodes_hindsight_bound(scenarios, counting)
    arrived = scenarios.arrivals.sum(1)
    capacity = np.sort(scenarios.capacity[..., 0], axis=1)
    filled_before = capacity.cumsum(1) - capacity
    need = np.pad(scenarios.need[..., 0].cumsum(1), ((0, 0), (1, 0)))
    so_far = np.take_along_axis(need, scenarios.arrivals.cumsum(1, dtype=np.int64), axis=1)
    in_use, shares = np.zeros(len(capacity)), []
    for added in np.diff(so_far, axis=1, prepend=0).T:
        in_use = np.minimum(in_use + added, capacity.sum(1))
        rest = (in_use[:, None] - filled_before) / capacity
        shares.append(np.clip(rest, 0.0, 1.0).mean())
        in_use = in_use * (1.0 - counting.drain)
    return {
        "completion_limit": float((completed / np.maximum(arrived, 1)).mean()),
        "utilization_limit": float(np.mean(shares)),
    }


def compare(rate: int, agents: list[PPOAgent], episodes: int) -> dict[str, object]:
    """Play the learned policies and the rules on the same episodes of one rate.

    Args:
        rate: Of arrivals.
        agents: One per seed.
        episodes: How many.
    """
    scenarios = draw(rate, episodes)
    rules = play_rules(scenarios)
    rows = {
        name: {key: float(values.mean()) for key, values in figures.items()}
        for name, figures in rules.items()
    }
    learned = [
        play(
            scenarios,
            TRAINED,
            lambda seen, _, agent=agent: agent.act(seen, None, deterministic=True).action,
        )
        for agent in agents
    ]
    rows["learned"] = {
        key: float(torch.stack([figures[key] for figures in learned]).mean()) for key in learned[0]
    }
    best = max(rules, key=lambda name: float(rules[name]["return"].mean()))
    gain = torch.stack([figures["return"] for figures in learned]) - rules[best]["return"]
    for name, row in rows.items():
        print(f"{rate:>3} {name:<14} " + "  ".join(f"{k} {v:.3f}" for k, v in row.items()))
    return {
        "rate": rate,
        "rows": rows,
        "best_rule": best,
        "published_best_rule_return": BEST_RULE[rate],
        "learned_return_by_seed": [float(figures["return"].mean()) for figures in learned],
        "gain_over_best_rule": asdict(clustered_t_interval(gain.numpy(), np.arange(episodes))),
        "targets_met_by": [name for name, row in rows.items() if meets_targets(row)],
    }


def meets_targets(row: dict[str, float]) -> bool:
    """Say whether violations, completion and use all reach their targets.

    Args:
        row: Means of a policy.
    """
    return (
        row["sla_violation_rate"] < TARGETS["sla_violation_rate"]
        and row["completion_rate"] > TARGETS["completion_rate"]
        and row["cpu_utilization"] > TARGETS["cpu_utilization"]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, play and write.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--env-steps", type=int, default=600_000, help="joint, per seed")
    parser.add_argument("--episodes", type=int, default=400, help="unseen, per rate")
    parser.add_argument("--output", type=Path, default=RESULTS / "node_policy.json")
    parser.add_argument(
        "--smoke", action="store_true", help="see that it runs; figures mean little"
    )
    options = parser.parse_args(arguments)
    if options.smoke:
        options.seeds, options.env_steps, options.episodes = 1, NUM_ENVS * ROLLOUT_STEPS, 4
    torch.set_num_threads(1)
    agents, seconds = [], []
    for seed in range(options.seeds):
        print(f"seed {seed}", flush=True)
        agent, spent = train(seed, options.env_steps)
        agents.append(agent)
        seconds.append(round(spent, 1))
    write_report(
        options.output,
        {
            "command": f"python -m benchmarks.node_policy --seeds {options.seeds} "
            f"--env-steps {options.env_steps} --episodes {options.episodes}",
            "ppo": asdict(PPO),
            "cpu_seconds": seconds,
            "rates": [compare(rate, agents, options.episodes) for rate in RATES],
            "targets": TARGETS,
            "limits": [] if options.smoke else scan_limits(),
        },
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
