"""Steps per CPU second of gym-invmgmt 0.2.1, printed as JSON; run by that package's own Python.

/tmp/invmgmt/bin/python benchmarks/peers/gym_invmgmt_speed.py --seconds 2
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version

import gym_invmgmt  # noqa: F401 - registers the environments
import gymnasium
import numpy as np

WORLDS = {"serial": "GymInvMgmt/Serial-v0", "multi_echelon": "GymInvMgmt/MultiEchelon-v0"}


def measure(name: str, seconds: float) -> float:
    """Return steps per CPU second, resets included.

    Args:
        name: Of the environment.
        seconds: CPU time to spend.
    """
    env = gymnasium.make(name).unwrapped
    orders = np.random.default_rng(0).uniform(0, 30, (30, *env.action_space.shape))
    env.reset(seed=0)
    steps, begun = 0, time.process_time()
    while time.process_time() - begun < seconds:
        for order in orders:
            env.step(order)
        env.reset()
        steps += len(orders)
    return steps / (time.process_time() - begun)


def main() -> None:
    """Measure both worlds and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    seconds = parser.parse_args().seconds
    speeds = {world: measure(name, seconds) for world, name in WORLDS.items()}
    print(json.dumps({"gym_invmgmt": version("gym-invmgmt"), **speeds}))


if __name__ == "__main__":
    main()
