"""Steps per second of PPO runs in one piece and in two shards: is it worth it on this machine?

`python -m benchmarks.sharded_collection` takes turns between the ways, and leaves start-up out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rl.training.conclusion import Places
from rl.training.problems import make_problem
from rl.training.recorder import NullRecorder, StopReason
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from utils.persistence.artifact_store import DirectoryArtifactStore

WAYS: Mapping[str, tuple[int, str]] = {
    "one piece": (1, "inline"),
    "two shards, inline": (2, "inline"),
    "two shards, processes": (2, "process"),
}
WORLDS = ("resource_allocation", "cluster_scheduling", "trading")
WARM = 2
"""Updates before the clock starts."""


class Stopwatch(NullRecorder):
    """Times updates, then asks to stop."""

    def __init__(self, updates: int) -> None:
        """Time so many.

        Args:
            updates: After those that warm up.
        """
        self._last = WARM + updates
        self._marks: list[tuple[float, int]] = []

    def metrics(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Note the time of an update.

        Args:
            env_steps: So far.
            values: Not looked at.
        """
        del values
        self._marks.append((time.perf_counter(), env_steps))

    def should_stop(self) -> StopReason | None:
        """Stop once all are timed."""
        return StopReason.PREEMPT if len(self._marks) == self._last else None

    @property
    def steps_per_second(self) -> float:
        """Of the timed updates."""
        (begin, first), (end, last) = self._marks[WARM - 1], self._marks[-1]
        return (last - first) / (end - begin)


def measure(config: TrainingConfig, updates: int) -> float:
    """Return the steps per second of a run.

    Args:
        config: The run.
        updates: How many are timed.
    """
    watch = Stopwatch(updates)
    with tempfile.TemporaryDirectory() as folder:
        places = Places(folder=Path(folder), artifacts=DirectoryArtifactStore(Path(folder) / "a"))
        (Path(folder) / "experts.json").write_text(_untuned(config))
        train_problem(config, watch, places, run_id="speed")
    return watch.steps_per_second


def _untuned(config: TrainingConfig) -> str:
    names = ", ".join(
        f'{{"name": "{name}", "parameters": []}}' for name in make_problem(config).experts
    )
    return f"[{names}]"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many counts")
    parser.add_argument("--updates", type=int, default=6)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    print("| world | " + " | ".join(WAYS) + " |")
    print("|---" * (1 + len(WAYS)) + "|")
    for world in WORLDS:
        base = TrainingConfig(
            environment=world, algorithm="ppo", num_envs=128, eval_frequency=0,
            checkpoint_frequency=0, total_episodes=10**6,
        )  # fmt: skip
        speeds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, (shards, place) in WAYS.items():
                config = replace(base, collection_shards=shards, collection_place=place)
                speeds[way].append(measure(config, options.updates))
        row = " | ".join(f"{statistics.median(values):,.0f}" for values in speeds.values())
        print(f"| {world} | {row} |", flush=True)


if __name__ == "__main__":
    main()
