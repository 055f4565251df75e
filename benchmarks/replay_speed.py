"""Batches per second out of a full replay, beside Stable-Baselines3 and Tianshou in the same run.

Run `python -m benchmarks.replay_speed`: a table, and JSON in benchmarks/results/replay_speed.json.
Every library holds a million transitions of CartPole's shapes and one torch thread; a batch is 256.
Prioritised means one draw and one update of the priorities drawn. Libraries take turns, five times,
and the medians count. Peers lie in var/peers, made by scripts/install-peers, or in the folder that
QUARTERMASTER_PEERS names.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measuring import REPEATS, RESULTS, write_report
from benchmarks.peer_python import peer_python, run_peer
from rl.algorithms.priority_config import PriorityConfig
from rl.algorithms.replay_buffer import ReplayBuffer, Step

PEERS = ("sb3", "tianshou")
COPIES = 1000
END_PROBABILITY = 0.01
BATCHES = 2000


def filled(transitions: int, *, n_step: int, priority: PriorityConfig | None) -> ReplayBuffer:
    """Return a full replay of random steps, added as a learner adds them.

    Args:
        transitions: Its capacity.
        n_step: Steps per transition.
        priority: How to prefer large errors.
    """
    generator = torch.Generator().manual_seed(0)
    buffer = ReplayBuffer(capacity=transitions, gamma=0.99, n_step=n_step, priority=priority)
    mask = torch.ones(COPIES, 1, 2, dtype=torch.bool)
    observation = torch.randn(COPIES, 1, 4, generator=generator)
    for _ in range(transitions // COPIES + 1):
        following, final = torch.randn(2, COPIES, 1, 4, generator=generator)
        draw = torch.rand(COPIES, generator=generator)
        terminated, truncated = draw < END_PROBABILITY, draw > 1.0 - END_PROBABILITY / 10
        ended = (terminated | truncated)[:, None, None]
        step = Step(
            observation=observation,
            action_mask=mask,
            alive=mask[..., 0],
            action=torch.randint(2, (COPIES, 1), generator=generator),
            reward=torch.ones(COPIES, 1),
            terminated=terminated,
            truncated=truncated,
            next_observation=following,
            next_action_mask=mask,
            next_alive=mask[..., 0],
            final_observation=torch.where(ended, final, following),
            state=torch.zeros(COPIES, 0),
            next_state=torch.zeros(COPIES, 0),
            final_state=torch.zeros(COPIES, 0),
        )
        buffer.add(step)
        observation = following
    return buffer


def rates(name: str, draw: Callable[[], object]) -> dict[str, list[float]]:
    """Time a function that draws one batch; per second and per CPU second.

    Args:
        name: Of the result.
        draw: The function.
    """
    for _ in range(100):
        draw()
    begun, cpu_begun = time.perf_counter(), time.process_time()
    for _ in range(BATCHES):
        draw()
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    return {name: [BATCHES / wall, BATCHES / cpu]}


def measure_ours(transitions: int, batch: int) -> dict[str, list[float]]:
    """Time our own draws.

    Args:
        transitions: In the replay.
        batch: Transitions per draw.
    """
    generator = torch.Generator().manual_seed(1)
    found = {}
    for n_step in (1, 3):
        uniform = filled(transitions, n_step=n_step, priority=None)
        name = f"ours uniform, n_step {n_step}"
        found |= rates(name, lambda buffer=uniform: buffer.sample(batch, generator))
    preferred = filled(transitions, n_step=1, priority=PriorityConfig())
    everywhere = torch.arange(transitions)
    preferred.update_priorities(everywhere, torch.rand(transitions, generator=generator))
    errors = torch.rand(batch, generator=generator)

    def draw_and_update() -> None:
        index = preferred.sample(batch, generator).index
        preferred.update_priorities(index, errors)

    return {**found, **rates("ours prioritised, n_step 1", draw_and_update)}


def measure_peer(name: str, transitions: int, batch: int) -> dict[str, list[float]]:
    """Time another library's draws in a process of its own.

    Args:
        name: Of its environment.
        transitions: In the replay.
        batch: Transitions per draw.

    Raises:
        PeerMissingError: It is not installed.
    """
    return run_peer(name, f"{name}_replay_speed.py", [str(transitions), str(batch)])


def main() -> None:
    """Let the libraries take turns, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transitions", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--output", type=Path, default=RESULTS / "replay_speed.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for peer in PEERS:
        peer_python(peer)
    runs: dict[str, list[list[float]]] = defaultdict(list)
    for _ in range(arguments.repeats):
        found = measure_ours(arguments.transitions, arguments.batch)
        for peer in PEERS:
            found |= measure_peer(peer, arguments.transitions, arguments.batch)
        for name, pair in found.items():
            runs[name].append(pair)
    results = {
        name: {
            "batches_per_second": round(statistics.median(wall for wall, _ in pairs)),
            "batches_per_cpu_second": round(statistics.median(cpu for _, cpu in pairs)),
        }
        for name, pairs in runs.items()
    }
    for name, result in results.items():
        wall, cpu = result.values()
        print(f"{name:38} {wall:8,} batches/s {cpu:8,} batches/CPU-s")
    report = {
        "command": "python -m benchmarks.replay_speed",
        "transitions": arguments.transitions,
        "batch": arguments.batch,
        "repeats": arguments.repeats,
        "results": results,
    }
    write_report(arguments.output, report)


if __name__ == "__main__":
    main()
