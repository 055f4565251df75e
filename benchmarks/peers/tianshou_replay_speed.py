"""Batches per second out of a full replay of Tianshou, by the Python of its environment.

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
from tianshou.data import Batch, PrioritizedReplayBuffer, ReplayBuffer

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
    """Uniform draws, and prioritised ones with an update of the priorities; NumPy arrays."""
    rng = np.random.default_rng(0)
    zeros = np.zeros(4, np.float32)
    first = {"obs": zeros, "obs_next": zeros, "act": 0, "rew": 0.0, "info": {}}

    def filled(buffer: ReplayBuffer) -> ReplayBuffer:
        buffer.add(Batch(**first, terminated=False, truncated=False))
        contents = vars(buffer)["_meta"]
        contents.obs[:] = rng.normal(size=(transitions, 4))
        contents.obs_next[:] = contents.obs
        for name in ("act", "rew", "terminated", "truncated", "done"):
            contents[name][:] = 0
        vars(buffer)["_size"] = transitions
        return buffer

    uniform = filled(ReplayBuffer(transitions))
    preferred = filled(PrioritizedReplayBuffer(transitions, alpha=0.6, beta=0.4))
    preferred.update_weight(np.arange(transitions), rng.random(transitions))
    errors = rng.random(batch)

    def draw_and_update() -> None:
        _, index = preferred.sample(batch)
        preferred.update_weight(index, errors)

    name = f"Tianshou {version('tianshou')}"
    return {
        **rates(f"{name} uniform", lambda: uniform.sample(batch)),
        **rates(f"{name} prioritised", draw_and_update),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
