"""PPO on CartPole-v1 at RL Zoo settings: mean of 100 evaluation episodes, seeds, steps per second.

Run `python -m benchmarks.ppo_cartpole`: a table, and JSON in var/benchmarks/ppo_cartpole.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import time
from pathlib import Path

import torch

from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.environments.adapter import GymnasiumAdapter
from rl.training.recorder import NullRecorder
from rl.training.trainer import Trainer, TrainerConfig
from utils.seeding import derive_seed

SOLVED = 475.0
ENV_STEPS = 98_304
EPISODES = 100
COPIES = 8
ROLLOUT_STEPS = 32

CONFIG = PPOConfig(
    learning_rate=1e-3,
    decay_learning_rate=True,
    decay_epsilon_clip=True,
    gamma=0.98,
    gae_lambda=0.8,
    ppo_epochs=20,
    num_minibatches=1,
    normalize_observations=False,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One training run."""

    seed: int
    env_steps: int
    mean_return: float
    worst_return: float
    train_seconds: float
    cpu_seconds: float


def evaluation_returns(agent: PPOAgent, *, seed: int) -> torch.Tensor:
    """Return the undiscounted return of the first episode of each of `EPISODES` fresh copies.

    Args:
        agent: Acts deterministically.
        seed: Of the episodes.
    """
    environment = GymnasiumAdapter("CartPole-v1", EPISODES, seed=seed)
    record = environment.reset()
    total = torch.zeros(EPISODES)
    running = torch.ones(EPISODES, dtype=torch.bool)
    while running.any():
        action = agent.act(record.observation, record.action_mask, deterministic=True).action
        record = environment.step(action)
        total += record.reward[:, 0] * running
        running &= ~(record.terminated | record.truncated)
    environment.close()
    return total


def train_once(seed: int) -> Result:
    """Train one agent and evaluate it on episodes it has not seen.

    Args:
        seed: Of everything.
    """
    environment = GymnasiumAdapter("CartPole-v1", COPIES, seed=seed)
    agent = PPOAgent("cartpole", 4, 2, CONFIG, discrete=True, seed=seed)
    config = TrainerConfig(total_env_steps=ENV_STEPS, rollout_steps=ROLLOUT_STEPS, seed=seed)
    trainer = Trainer(config, environment, agent, NullRecorder())
    started, cpu_started = time.perf_counter(), time.process_time()
    outcome = trainer.train()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    environment.close()
    returns = evaluation_returns(agent, seed=derive_seed(seed, "evaluation"))
    return Result(
        seed=seed,
        env_steps=outcome.env_steps,
        mean_return=float(returns.mean()),
        worst_return=float(returns.min()),
        train_seconds=round(seconds, 2),
        cpu_seconds=round(cpu_seconds, 2),
    )


def main() -> None:
    """Train with every seed, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("var/benchmarks/ppo_cartpole.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("seed  env steps  mean return  worst  seconds  steps/s  steps/CPU-s")
    results = []
    for seed in arguments.seeds:
        result = train_once(seed)
        results.append(result)
        print(
            f"{seed:4}  {result.env_steps:9,}  {result.mean_return:11.1f}  "
            f"{result.worst_return:5.0f}  {result.train_seconds:7.1f}  "
            f"{result.env_steps / result.train_seconds:7,.0f}  "
            f"{result.env_steps / result.cpu_seconds:11,.0f}",
            flush=True,
        )
    solved = sum(result.mean_return >= SOLVED for result in results)
    print(f"solved (mean >= {SOLVED:.0f} over {EPISODES} episodes): {solved} of {len(results)}")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    report = {
        "command": "python -m benchmarks.ppo_cartpole",
        "commit": commit.stdout.strip() or None,
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "config": dataclasses.asdict(CONFIG),
        "results": [dataclasses.asdict(result) for result in results],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1))
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
