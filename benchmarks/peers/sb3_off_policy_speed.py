"""Steps per second of Stable-Baselines3's DQN, SAC and TD3; run by the Python of its environment.

Prints one line of JSON. `python -m benchmarks.off_policy_speed` calls it; `scripts/install-peers
sb3` makes the environment.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from typing import Any

import torch
from stable_baselines3 import DQN, SAC, TD3

KINDS = {"dqn": DQN, "sac": SAC, "td3": TD3}
ENVIRONMENTS = {"dqn": "CartPole-v1", "sac": "Pendulum-v1", "td3": "Pendulum-v1"}
OF_DQN = {"target_update_interval": 1000, "exploration_fraction": 0.01}


def main() -> None:
    """Learn for a while, then time some steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithm", choices=KINDS, required=True)
    sizes = ("hidden", "batch", "train_frequency", "learning_starts", "warmup", "steps")
    for name in sizes:
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings: dict[str, Any] = OF_DQN if given.algorithm == "dqn" else {}
    model = KINDS[given.algorithm](
        "MlpPolicy",
        ENVIRONMENTS[given.algorithm],
        learning_rate=3e-4,
        buffer_size=100_000,
        batch_size=given.batch,
        learning_starts=given.learning_starts,
        train_freq=given.train_frequency,
        gradient_steps=1,
        policy_kwargs={"net_arch": [given.hidden, given.hidden]},
        device="cpu",
        seed=0,
        **settings,
    )
    model.learn(given.warmup)
    wall, cpu = time.perf_counter(), time.process_time()
    model.learn(given.steps, reset_num_timesteps=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        json.dumps(
            {
                "library": f"stable-baselines3 {version('stable-baselines3')}",
                "torch": torch.__version__,
                "steps_per_second": given.steps / wall,
                "steps_per_cpu_second": given.steps / cpu,
            }
        )
    )


if __name__ == "__main__":
    main()
