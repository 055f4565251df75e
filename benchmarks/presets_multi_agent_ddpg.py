"""MADDPG and MATD3 on mpe2's speaker-listener and spread: settings, and one run's curve.

Run `python -m benchmarks.presets_multi_agent_ddpg --world simple_speaker_listener --seed 0`.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Literal

import torch
from mpe2 import simple_speaker_listener_v4, simple_spread_v3

from benchmarks.measuring import RESULTS, write_report
from rl.algorithms.base_algorithm import Policy
from rl.algorithms.maddpg_config import MADDPGConfig
from rl.environments.pettingzoo_adapter import PettingZooAdapter
from rl.training.agents import make_agent
from rl.training.replay_learner import ReplayLearner
from utils.seeding import derive_seed

World = Literal["simple_speaker_listener", "simple_spread"]

ENV_STEPS = 300_000
COPIES = 10
EVALUATION_EPISODES = 100
EVALUATIONS = 10

MAKERS = {
    "simple_speaker_listener": simple_speaker_listener_v4.parallel_env,
    "simple_spread": simple_spread_v3.parallel_env,
}

SPEAKER_LISTENER = MADDPGConfig(
    hidden_dims=(128, 128),
    learning_rate=1e-3,
    actor_learning_rate=5e-4,
    gamma=0.95,
    tau=0.01,
    batch_size=256,
    learning_starts=5_000,
    train_frequency=2,
    gradient_steps=1,
)
SPREAD = dataclasses.replace(SPEAKER_LISTENER, shared=True)
CONFIGS: dict[World, MADDPGConfig] = {
    "simple_speaker_listener": SPEAKER_LISTENER,
    "simple_spread": SPREAD,
}


def make_environment(
    world: World, copies: int, seed: int, *, continuous: bool = False
) -> PettingZooAdapter:
    """Make copies of a world of mpe2, with episodes of 25 steps.

    Args:
        world: Its name.
        copies: How many.
        seed: Of their episodes.
        continuous: Actions are Boxes instead of choices.
    """
    make = MAKERS[world]
    return PettingZooAdapter(
        lambda: make(max_cycles=25, continuous_actions=continuous), copies, seed=seed
    )


def evaluate(agent: Policy, environment: PettingZooAdapter, seed: int) -> float:
    """Return the mean over episodes, one a copy, of the return of an agent.

    Args:
        agent: Acts without noise.
        environment: Whose copies are reset.
        seed: Of the episodes.
    """
    record = environment.reset(seed)
    total = torch.zeros(environment.num_envs)
    running = torch.ones(environment.num_envs, dtype=torch.bool)
    while running.any():
        action = agent.act(record.observation, record.action_mask, deterministic=True).action
        record = environment.step(action)
        total += record.reward.mean(-1) * running
        running &= ~(record.terminated | record.truncated)
    return float(total.mean())


def main() -> None:
    """Train one team, print its curve and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", choices=list(CONFIGS), default="simple_speaker_listener")
    parser.add_argument("--variant", choices=["maddpg", "matd3"], default="maddpg")
    parser.add_argument("--continuous", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--env-steps", type=int, default=ENV_STEPS)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    world, seed = arguments.world, arguments.seed
    config = dataclasses.replace(CONFIGS[world], variant=arguments.variant)
    environment = make_environment(world, COPIES, seed, continuous=arguments.continuous)
    tests = make_environment(world, EVALUATION_EPISODES, seed, continuous=arguments.continuous)
    agent = make_agent(config, environment, seed=seed)
    learner = ReplayLearner(environment, agent, seed=seed)
    curve: list[dict[str, float]] = []
    cpu, wall = 0.0, 0.0
    for part in range(EVALUATIONS):
        cpu_begun, wall_begun = time.process_time(), time.perf_counter()
        while learner.env_steps < arguments.env_steps * (part + 1) / EVALUATIONS:
            learner.learn(arguments.env_steps)
        cpu += time.process_time() - cpu_begun
        wall += time.perf_counter() - wall_begun
        point = {
            "env_steps": learner.env_steps,
            "return": round(evaluate(agent, tests, derive_seed(seed, "evaluation", part)), 2),
            "cpu_seconds": round(cpu, 1),
            "wall_seconds": round(wall, 1),
        }
        curve.append(point)
        print(point, flush=True)
    name = "_".join(
        (arguments.variant, world, "continuous" if arguments.continuous else "discrete")
    )
    report = {"world": world, "seed": seed, "config": dataclasses.asdict(config), "curve": curve}
    write_report(arguments.output or RESULTS / f"{name}_seed{seed}.json", report)


if __name__ == "__main__":
    main()
