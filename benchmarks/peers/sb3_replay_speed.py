"""Batches per second out of a full replay of Stable-Baselines3, by the Python of its environment.

Run as a script with TRANSITIONS and BATCH; prints one line of JSON: batches per second and per CPU
second. Contents are written into the library's arrays at once, because adding a million steps one
by one takes half a minute; sampling is by its public methods.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

BATCHES = 2000


def rates(name: str, draw: Callable[[], object]) -> dict[str, list[float]]:
    """Time a function that draws one batch."""
    for _ in range(100):
        draw()
    begun, cpu_begun = time.perf_counter(), time.process_time()
    for _ in range(BATCHES):
        draw()
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    return {name: [BATCHES / wall, BATCHES / cpu]}


def measure(transitions: int, batch: int) -> dict[str, list[float]]:
    """Uniform draws, as its DQN makes them."""
    torch.set_num_threads(1)
    space = spaces.Box(-1.0, 1.0, (4,), np.float32)
    buffer = ReplayBuffer(transitions, space, spaces.Discrete(2), device="cpu")
    rng = np.random.default_rng(0)
    buffer.observations[:] = rng.normal(size=buffer.observations.shape)
    buffer.next_observations[:] = buffer.observations
    for column in (buffer.actions, buffer.rewards, buffer.dones, buffer.timeouts):
        column[:] = 0
    buffer.full = True
    name = f"Stable-Baselines3 {version('stable-baselines3')}"
    return rates(f"{name} uniform", lambda: buffer.sample(batch))


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
