"""PPO for the worst twentieth of episodes beside PPO for the mean, in the newsvendor's world.

Run `python -m benchmarks.tail_risk`: both with equal steps and seeds on the same unseen demand,
beside the exact best stock for each aim; prints a table and writes
benchmarks/results/tail_risk.json. About two CPU minutes on one core.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from scipy.stats import poisson

from benchmarks.measuring import RESULTS, write_report
from data.scenario import BankConfig, ScenarioBank
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.risk import tail_mean
from rl.domains.inventory_presets import newsvendor
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.evaluation.statistics import Estimate, clustered_t_interval
from rl.training.recorder import NullRecorder
from rl.training.trainer import Trainer, TrainerConfig
from utils.seeding import derive_seed

TAIL_SHARE = 0.05
COPIES, ROLLOUT_STEPS, ENV_STEPS = 512, 4, 512 * 4 * 200
EPISODES = 20_000
HOLDING, SHORTAGE, MEAN = 1.0, 4.0, 20.0
CONFIG = PPOConfig(
    hidden_dims=(32,),
    gamma=0.0,
    gae_lambda=0.0,
    learning_rate=3e-3,
    decay_learning_rate=True,
    initial_action_mean=0.15,
    initial_log_std=-3.0,
    scale_rewards=True,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one policy came to on unseen demand."""

    seed: int
    stock: float
    mean_return: float
    tail_return: float
    """Mean of the worst twentieth."""


def make_world(num_envs: int, episodes: int, seed: int) -> BatchedInventory:
    """Return copies of the newsvendor with demand of their own.

    Args:
        num_envs: Copies.
        episodes: Days in the bank, drawn anew once all were played.
        seed: Of the demand.
    """
    preset = newsvendor(MEAN, holding=HOLDING, shortage=SHORTAGE)
    config = BankConfig(num_episodes=episodes, refresh_every_episodes=episodes)
    bank = ScenarioBank(preset.demand, config, seed)
    return BatchedInventory(preset.chain, bank, InventoryOptions(num_envs=num_envs), seed)


def train(config: PPOConfig, seed: int) -> PPOAgent:
    """Train one agent.

    Args:
        config: With or without a tail.
        seed: Of everything.
    """
    world = make_world(COPIES, 8192, seed)
    sizes = (world.observation_size, world.groups[0].action.size)
    agent = PPOAgent("newsvendor", *sizes, config, discrete=False, seed=seed)
    settings = TrainerConfig(total_env_steps=ENV_STEPS, rollout_steps=ROLLOUT_STEPS, seed=seed)
    Trainer(settings, world, agent, NullRecorder()).train()
    return agent


def evaluate(agent: PPOAgent, seed: int) -> Outcome:
    """Play unseen days, the same for both agents of a seed.

    Args:
        agent: Acts deterministically.
        seed: Of the training; the days have a seed derived from it.
    """
    world = make_world(EPISODES, EPISODES, derive_seed(seed, "evaluation"))
    record = world.reset(derive_seed(seed, "evaluation"))
    action = agent.act(record.observation, record.action_mask, deterministic=True).action
    capacity = world.config.capacity[0]
    returns = world.step(action).reward[:, 0].double()
    return Outcome(
        seed=seed,
        stock=float(np.floor(float(action[0, 0, 0].clamp(0, 1)) * capacity + 1e-3)),
        mean_return=float(returns.mean()),
        tail_return=float(tail_mean(returns, TAIL_SHARE)),
    )


def exact_returns() -> dict[int, tuple[float, float]]:
    """Return the exact mean and tail of every stock from 0 to 60."""
    demand = np.arange(200)
    chance = poisson.pmf(demand, MEAN)
    table = {}
    for stock in range(61):
        profit = -HOLDING * np.maximum(stock - demand, 0) - SHORTAGE * np.maximum(demand - stock, 0)
        order = np.argsort(profit)
        before = np.cumsum(chance[order]) - chance[order]
        weight = np.clip(TAIL_SHARE - before, 0.0, chance[order])
        table[stock] = float(profit @ chance), float(profit[order] @ weight / TAIL_SHARE)
    return table


def paired(better: list[Outcome], worse: list[Outcome], name: str) -> Estimate:
    """Estimate by how much one agent beats the other, over seeds.

    Args:
        better: One per seed.
        worse: The same seeds.
        name: Of the figure.
    """
    gain = [getattr(b, name) - getattr(w, name) for b, w in zip(better, worse, strict=True)]
    return clustered_t_interval(gain, np.arange(len(gain)))


def main() -> None:
    """Train both with every seed, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--output", type=Path, default=RESULTS / "tail_risk.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    aims = {"mean": CONFIG, "tail": dataclasses.replace(CONFIG, tail_share=TAIL_SHARE)}
    found: dict[str, list[Outcome]] = {name: [] for name in aims}
    print("aim   seed  stock  mean return  worst 5 %")
    for name, config in aims.items():
        for seed in options.seeds:
            outcome = evaluate(train(config, seed), seed)
            found[name].append(outcome)
            print(
                f"{name:5} {seed:4} {outcome.stock:6.0f} {outcome.mean_return:12.2f} "
                f"{outcome.tail_return:10.2f}",
                flush=True,
            )
    exact = exact_returns()
    best = {
        "mean": max(exact, key=lambda stock: exact[stock][0]),
        "tail": max(exact, key=lambda stock: exact[stock][1]),
    }
    for name, stock in best.items():
        print(f"{name:5} best {stock:6} {exact[stock][0]:12.2f} {exact[stock][1]:10.2f}")
    gains = {
        name: paired(found["tail"], found["mean"], name) for name in ("tail_return", "mean_return")
    }
    for name, gain in gains.items():
        print(f"{name}, tail less mean: {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]")
    report = {
        "command": "python -m benchmarks.tail_risk",
        "world": "newsvendor",
        "tail_share": TAIL_SHARE,
        "env_steps": ENV_STEPS,
        "evaluation_episodes": EPISODES,
        "config": dataclasses.asdict(CONFIG),
        "outcomes": {n: [dataclasses.asdict(o) for o in rows] for n, rows in found.items()},
        "exact": {
            n: {"stock": s, "mean": exact[s][0], "tail": exact[s][1]} for n, s in best.items()
        },
        "gains": {name: dataclasses.asdict(gain) for name, gain in gains.items()},
    }
    write_report(options.output, report)


if __name__ == "__main__":
    main()
