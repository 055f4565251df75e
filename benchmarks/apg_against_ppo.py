"""Analytic policy gradients beside PPO on a serial inventory, at equal CPU-seconds.

Run `OMP_NUM_THREADS=1 python -m benchmarks.apg_against_ppo`: a table, and JSON in
benchmarks/results/apg_against_ppo.json. Both learners train for `--seconds` of CPU time on the
same synthetic demand, each at the settings below, and play the same 1,000 unseen episodes; the
difference is paired by seed. Beside them: the tuned base-stock rule, the linear programme solved
anew in every period (on the first episodes), and the hindsight bound.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measuring import RESULTS, write_report
from data.demand import InventoryScenarios
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.base_algorithm import Policy
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.domains.inventory import inv_management, inv_management_demand
from rl.domains.inventory_experts import base_stock, tune_base_stock
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.evaluation.inventory_bounds import ShrinkingHorizonPlanner, inventory_hindsight_bound
from rl.evaluation.inventory_scores import base_stock_score, score_policy
from rl.evaluation.statistics import clustered_t_interval
from rl.training.learners import Learner, make_learner

WORLDS = {"serial_inventory": False, "serial_inventory_lost_sales": True}
PLANNED_EPISODES = 60
TUNING_EPISODES = 256
STRANGER = 1000


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Settings of one learner."""

    config: APGConfig | PPOConfig
    num_envs: int


CONTENDERS = {
    "apg": Contender(config=APGConfig(learning_rate=1e-2, initial_action_mean=0.25), num_envs=256),
    "ppo": Contender(
        config=PPOConfig(
            learning_rate=1e-3,
            decay_learning_rate=True,
            gamma=1.0,
            gae_lambda=0.97,
            scale_rewards=True,
            initial_log_std=-2.0,
            initial_action_mean=0.25,
        ),
        num_envs=64,
    ),
}


def make_environment(world: str, num_envs: int, seed: int) -> BatchedInventory:
    """Build training copies, whose demand never repeats.

    Args:
        world: In `WORLDS`.
        num_envs: How many.
        seed: Of the demand.
    """
    sizes = BankConfig(num_episodes=1024, refresh_every_episodes=1024)
    bank = ScenarioBank(inv_management_demand(), sizes, seed)
    config = inv_management(lost_sales=WORLDS[world])
    return BatchedInventory(config, bank, InventoryOptions(num_envs=num_envs), seed)


def start(world: str, name: str, seed: int) -> tuple[Policy, Learner]:
    """Build an untrained agent and its learner.

    Args:
        world: In `WORLDS`.
        name: In `CONTENDERS`.
        seed: Of weights, actions and demand.
    """
    contender = CONTENDERS[name]
    env = make_environment(world, contender.num_envs, seed)
    sizes = (env.observation_size, env.groups[0].action.size)
    agent: APGAgent | PPOAgent
    if isinstance(contender.config, APGConfig):
        agent = APGAgent("planner", *sizes, contender.config, seed=seed)
    else:
        agent = PPOAgent("planner", *sizes, contender.config, discrete=False, seed=seed)
    return agent, make_learner(env, agent, rollout_steps=env.config.max_steps, seed=seed)


def train(world: str, name: str, seconds: float, seed: int) -> tuple[Policy, dict[str, float]]:
    """Train one learner for so much CPU time.

    How many steps that is, is found by training a stranger for a tenth of the time.

    Args:
        world: In `WORLDS`.
        name: In `CONTENDERS`.
        seconds: Of CPU time.
        seed: Of weights, actions and demand.
    """
    _, calibration = start(world, name, seed + STRANGER)
    begun = time.process_time()
    calibration.learn(sys.maxsize)
    while time.process_time() - begun < seconds / 10:
        calibration.learn(sys.maxsize)
    pace = calibration.env_steps / (time.process_time() - begun)

    agent, learner = start(world, name, seed)
    begun = time.process_time()
    total = round(pace * seconds)
    while learner.env_steps < total:
        learner.learn(total)
    spent = time.process_time() - begun
    return agent, {"env_steps": learner.env_steps, "cpu_seconds": round(spent, 2)}


@torch.no_grad()
def play(agent: Policy, world: str, scenarios: InventoryScenarios) -> NDArray[np.float64]:
    """Return the profit of every episode, acting deterministically.

    Args:
        agent: Trained.
        world: In `WORLDS`.
        scenarios: The episodes.
    """
    episodes = scenarios.num_episodes
    config = inv_management(lost_sales=WORLDS[world])
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=episodes), 0)
    env = BatchedInventory(config, bank, InventoryOptions(num_envs=episodes, shuffle=False), 0)
    observation, profit = env.reset().observation, np.zeros(episodes)
    for _ in range(config.max_steps):
        record = env.step(agent.act(observation, None, deterministic=True).action)
        observation = record.observation
        profit += record.reward[:, 0].double().numpy()
    return profit


def score_peers(world: str, scenarios: InventoryScenarios) -> dict[str, float]:
    """Return the mean profit of the expert's rules and of the bound.

    Args:
        world: In `WORLDS`.
        scenarios: The episodes; planner and bound take the first of them.
    """
    config = inv_management(lost_sales=WORLDS[world])
    training = inv_management_demand().draw(TUNING_EPISODES, np.random.default_rng([77, 1]))
    levels = tune_base_stock(
        base_stock_score(training, config), num_stages=3, highest=640, spacing=64
    )
    few = scenarios.take(np.arange(PLANNED_EPISODES))
    ordering = score_policy(lambda view: base_stock(view, config, levels), scenarios, config)
    planning = score_policy(ShrinkingHorizonPlanner(config, 20.0), few, config)
    return {
        "base_stock": float(ordering.profit.mean()),
        "shrinking_horizon_first_episodes": float(planning.profit.mean()),
        "hindsight_bound_first_episodes": float(inventory_hindsight_bound(few, config).mean()),
    }


def compare(
    world: str, scenarios: InventoryScenarios, seconds: float, seeds: int
) -> dict[str, object]:
    """Train both learners over the seeds and score them.

    Args:
        world: In `WORLDS`.
        scenarios: The unseen episodes.
        seconds: CPU time of one run.
        seeds: How many runs of each.
    """
    peers = score_peers(world, scenarios)
    print(world, {name: round(value, 1) for name, value in peers.items()}, flush=True)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    profits: dict[str, list[NDArray[np.float64]]] = {name: [] for name in CONTENDERS}
    for seed, name in itertools.product(range(seeds), CONTENDERS):
        agent, effort = train(world, name, seconds, seed)
        profit = play(agent, world, scenarios)
        runs[name].append({"seed": seed, "profit": float(profit.mean()), **effort})
        profits[name].append(profit)
        print(f"  {name} {runs[name][-1]}", flush=True)
    difference = np.stack(profits["apg"]) - np.stack(profits["ppo"])
    paired = clustered_t_interval(difference.mean(1), np.arange(seeds))
    print(f"  apg - ppo, paired by seed: {paired}", flush=True)
    return {"peers": peers, "runs": runs, "apg_minus_ppo": asdict(paired)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, score and write.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU time of one training run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=1000, help="unseen, the same for all")
    parser.add_argument(
        "--smoke", action="store_true", help="see that it runs; figures mean little"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "apg_against_ppo.json")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.seconds, options.seeds, options.episodes = 0.2, 2, 60
    torch.set_num_threads(1)
    scenarios = inv_management_demand().draw(options.episodes, np.random.default_rng([77, 0]))
    reports = {world: compare(world, scenarios, options.seconds, options.seeds) for world in WORLDS}
    write_report(
        options.output,
        {
            "command": "python -m benchmarks.apg_against_ppo",
            "seconds": options.seconds,
            "seeds": options.seeds,
            "episodes": options.episodes,
            "settings": {name: asdict(contender) for name, contender in CONTENDERS.items()},
            "worlds": reports,
        },
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
