"""Steps per CPU second of gym-invmgmt; run by the Python of its own environment.

Prints one line of JSON. `scripts/install-peers` makes the environment.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import version

import gym_invmgmt  # noqa: F401 - registers the environments
import gymnasium
import numpy as np

WORLDS = ("GymInvMgmt/Serial-v0", "GymInvMgmt/MultiEchelon-v0")
SECONDS = 3.0


def measure(name: str) -> float:
    """Return steps per CPU second, resets included.

    Args:
        name: Of the environment.
    """
    env = gymnasium.make(name).unwrapped
    orders = np.random.default_rng(0).uniform(0, 30, (30, *env.action_space.shape))
    env.reset(seed=0)
    steps, begun = 0, time.process_time()
    while time.process_time() - begun < SECONDS:
        for order in orders:
            env.step(order)
        env.reset()
        steps += len(orders)
    return steps / (time.process_time() - begun)


def main() -> None:
    """Measure both worlds and print."""
    package = f"gym-invmgmt {version('gym-invmgmt')}"
    print(json.dumps({f"{package} {name.split('/')[1]}": measure(name) for name in WORLDS}))


if __name__ == "__main__":
    main()
