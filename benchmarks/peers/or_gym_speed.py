"""Steps per CPU second of or-gym 0.5.0's InvManagement; run by the Python of its own environment.

Prints one line of JSON. `scripts/install-peers` makes the environment.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import time

import numpy as np

SECONDS = 3.0


def main() -> None:
    """Step with random orders, resetting at the end of each episode."""
    np.bool8, np.Inf = np.bool_, np.inf  # noqa: NPY201
    with contextlib.redirect_stderr(io.StringIO()):
        module = importlib.import_module("or_gym.envs.supply_chain.inventory_management")
    world = module.InvManagementBacklogEnv()
    world.reset()
    world.action_space.seed(0)
    actions = [world.action_space.sample() for _ in range(100)]
    steps, begun = 0, time.process_time()
    while time.process_time() - begun < SECONDS:
        ended = world.step(actions[steps % 100])[2]
        steps += 1
        if ended:
            world.reset()
    rate = steps / (time.process_time() - begun)
    print(json.dumps({"or-gym 0.5.0 InvManagement-v0": rate}))


if __name__ == "__main__":
    main()
