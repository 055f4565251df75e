"""Train Stable-Baselines3 at the settings of RL-Zoo; run by the Python of its own environment.

Prints one line of JSON. `python -m benchmarks.single_agent` calls it; `scripts/install-peers sb3`
makes the environment. Settings: github.com/DLR-RM/rl-baselines3-zoo, folder hyperparams; where
the Zoo names no value, the library's default holds.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecNormalize

ALGORITHMS = {"ppo": PPO, "dqn": DQN, "sac": SAC, "td3": TD3}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one algorithm on one task."""

    environment: str
    algorithm: str
    copies: int = 1
    normalize: bool = False
    """Observations and rewards by running statistics (VecNormalize)."""
    options: dict[str, Any] = field(default_factory=dict)


def linear(start: float) -> Any:
    """Return a schedule that falls from `start` to zero.

    Args:
        start: Its first value.
    """
    return lambda remaining: remaining * start


def settings_of(task: str) -> Settings:
    """Return the settings of RL-Zoo for a task; for CartPole's time to 475, the fastest found.

    Those were larger blocks, one batch each, and twice the rate without decay; the Zoo's own take
    about three times as long.

    Args:
        task: As `benchmarks.single_agent` calls it.
    """
    wide = {"policy_kwargs": {"net_arch": [256, 256]}}
    known = {
        "cartpole-ppo": Settings(
            environment="CartPole-v1",
            algorithm="ppo",
            copies=8,
            options={
                "n_steps": 32,
                "batch_size": 256,
                "gae_lambda": 0.8,
                "gamma": 0.98,
                "n_epochs": 20,
                "ent_coef": 0.0,
                "learning_rate": linear(0.001),
                "clip_range": linear(0.2),
            },
        ),
        "cartpole-dqn": Settings(
            environment="CartPole-v1",
            algorithm="dqn",
            options={
                "learning_rate": 2.3e-3,
                "batch_size": 64,
                "buffer_size": 100_000,
                "learning_starts": 1_000,
                "gamma": 0.99,
                "target_update_interval": 10,
                "train_freq": 256,
                "gradient_steps": 128,
                "exploration_fraction": 0.16,
                "exploration_final_eps": 0.04,
                **wide,
            },
        ),
        "acrobot-ppo": Settings(
            environment="Acrobot-v1",
            algorithm="ppo",
            copies=16,
            normalize=True,
            options={
                "n_steps": 256,
                "gae_lambda": 0.94,
                "gamma": 0.99,
                "n_epochs": 4,
                "ent_coef": 0.0,
            },
        ),
        "pendulum-ppo": Settings(
            environment="Pendulum-v1",
            algorithm="ppo",
            copies=4,
            options={
                "n_steps": 1024,
                "gae_lambda": 0.95,
                "gamma": 0.9,
                "n_epochs": 10,
                "ent_coef": 0.0,
                "learning_rate": 1e-3,
                "clip_range": 0.2,
                "use_sde": True,
                "sde_sample_freq": 4,
            },
        ),
        "pendulum-sac": Settings(
            environment="Pendulum-v1", algorithm="sac", options={"learning_rate": 1e-3}
        ),
        "pendulum-td3": Settings(
            environment="Pendulum-v1",
            algorithm="td3",
            options={
                "gamma": 0.98,
                "buffer_size": 200_000,
                "learning_starts": 10_000,
                "action_noise": NormalActionNoise(np.zeros(1), 0.1 * np.ones(1)),
                "gradient_steps": -1,
                "train_freq": (1, "episode"),
                "learning_rate": 1e-3,
                "policy_kwargs": {"net_arch": [400, 300]},
            },
        ),
        "mountaincar-sac": Settings(
            environment="MountainCarContinuous-v0",
            algorithm="sac",
            options={
                "learning_rate": 3e-4,
                "buffer_size": 50_000,
                "batch_size": 512,
                "ent_coef": 0.1,
                "train_freq": 32,
                "gradient_steps": 32,
                "gamma": 0.9999,
                "tau": 0.01,
                "learning_starts": 0,
                "use_sde": True,
                "policy_kwargs": {"log_std_init": -3.67, "net_arch": [64, 64]},
            },
        ),
        "lunarlander-ppo": Settings(
            environment="LunarLander-v3",
            algorithm="ppo",
            copies=16,
            options={
                "n_steps": 1024,
                "batch_size": 64,
                "gae_lambda": 0.98,
                "gamma": 0.999,
                "n_epochs": 4,
                "ent_coef": 0.01,
            },
        ),
        "lunarlander-dqn": Settings(
            environment="LunarLander-v3",
            algorithm="dqn",
            options={
                "learning_rate": 6.3e-4,
                "batch_size": 128,
                "buffer_size": 50_000,
                "learning_starts": 0,
                "gamma": 0.99,
                "target_update_interval": 250,
                "train_freq": 4,
                "gradient_steps": -1,
                "exploration_fraction": 0.12,
                "exploration_final_eps": 0.1,
                **wide,
            },
        ),
    }
    known["cartpole-dqn-475"] = known["cartpole-dqn"]
    known["cartpole-ppo-475"] = Settings(
        environment="CartPole-v1",
        algorithm="ppo",
        copies=8,
        options={
            **known["cartpole-ppo"].options,
            "n_steps": 64,
            "batch_size": 512,
            "learning_rate": 2e-3,
            "clip_range": 0.2,
        },
    )
    return known[task]


class Scores(BaseCallback):
    """Evaluates now and then, keeps the best policy, and stops its clocks meanwhile."""

    def __init__(self, environment: str, *, every: int, episodes: int, until: float | None) -> None:
        """Begin with nothing.

        Args:
            environment: To evaluate in.
            every: Transitions between two evaluations.
            episodes: Of each evaluation.
            until: Training ends once an evaluation reaches this mean; None never.
        """
        super().__init__()
        self.environment = environment
        self.every, self.episodes, self.until = every, episodes, until
        self.next = every
        self.curve: list[tuple[int, float, float]] = []
        self.best: tuple[float, Any, Any] | None = None
        self.paused_wall = self.paused_cpu = 0.0

    def _on_training_start(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """Return wall and CPU seconds of training so far, without the evaluations."""
        return (
            time.perf_counter() - self.wall - self.paused_wall,
            time.process_time() - self.cpu - self.paused_cpu,
        )

    def _on_step(self) -> bool:
        if self.num_timesteps < self.next:
            return True
        self.next += self.every
        score = self.score()
        return self.until is None or score < self.until

    def score(self) -> float:
        """Evaluate the policy as it is, and keep it if it is the best so far."""
        wall, cpu = self.seconds()
        seed = 1_000_000 * (1 + self.model.seed) + 1_000 * len(self.curve)
        returns = evaluate(self.model, self.environment, episodes=self.episodes, seed=seed)
        score = float(returns.mean())
        self.curve.append((self.num_timesteps, score, round(cpu, 3)))
        if self.best is None or score > self.best[0]:
            statistics = copy.deepcopy(getattr(self.model.get_vec_normalize_env(), "obs_rms", None))
            self.best = (score, copy.deepcopy(self.model.policy.state_dict()), statistics)
        now_wall, now_cpu = self.seconds()
        self.paused_wall += now_wall - wall
        self.paused_cpu += now_cpu - cpu
        return score

    def load_best(self) -> None:
        """Give the model the policy that was best."""
        if self.best is None:
            raise RuntimeError("nothing was evaluated")
        _, policy, statistics = self.best
        self.model.policy.load_state_dict(policy)
        if statistics is not None:
            self.model.get_vec_normalize_env().obs_rms = statistics


def evaluate(model: BaseAlgorithm, environment: str, *, episodes: int, seed: int) -> np.ndarray:
    """Return the undiscounted return of the first episode of each of so many fresh copies.

    Args:
        model: Acts deterministically.
        environment: Its id.
        episodes: How many.
        seed: Of the episodes.
    """
    copies = SyncVectorEnv([lambda: gymnasium.make(environment)] * episodes)
    seen, _ = copies.reset(seed=list(range(seed, seed + episodes)))
    normalizer = model.get_vec_normalize_env()
    total, running = np.zeros(episodes), np.ones(episodes, bool)
    while running.any():
        if normalizer is not None:
            seen = normalizer.normalize_obs(seen)
        action, _ = model.predict(seen, deterministic=True)
        seen, reward, terminated, truncated, _ = copies.step(action)
        total += reward * running
        running &= ~(terminated | truncated)
    copies.close()
    return total


def main() -> None:
    """Train once, evaluate the best and the last policy, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--env-steps", type=int, required=True)
    parser.add_argument("--every", type=int, required=True)
    parser.add_argument("--episodes", type=int, required=True)
    parser.add_argument("--final-episodes", type=int, required=True)
    parser.add_argument("--until", type=float)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = settings_of(arguments.task)
    environment = make_vec_env(settings.environment, n_envs=settings.copies, seed=arguments.seed)
    if settings.normalize:
        environment = VecNormalize(environment, gamma=settings.options["gamma"])
    model = ALGORITHMS[settings.algorithm](
        "MlpPolicy", environment, seed=arguments.seed, device="cpu", **settings.options
    )
    scores = Scores(
        settings.environment,
        every=arguments.every,
        episodes=arguments.episodes,
        until=arguments.until,
    )
    model.learn(arguments.env_steps, callback=scores)
    wall, cpu = scores.seconds()
    if arguments.until is None:
        scores.score()
    found = {
        "version": f"stable-baselines3 {version('stable-baselines3')}, torch {torch.__version__}",
        "env_steps": model.num_timesteps,
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "threads": torch.get_num_threads(),
        "curve": scores.curve,
    }
    if arguments.final_episodes:
        seed = 1_000_000 * (1 + arguments.seed) + 500_000
        episodes = {"episodes": arguments.final_episodes, "seed": seed}
        found["final_returns"] = evaluate(model, settings.environment, **episodes).tolist()
        scores.load_best()
        found["best_returns"] = evaluate(model, settings.environment, **episodes).tolist()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
