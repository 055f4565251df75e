"""Steps per second of PPO runs in one piece and in two shards: is it worth it on this machine?

`python -m benchmarks.sharded_collection` takes turns between the ways, and leaves start-up out.
`--cpu` counts CPU seconds of one process instead, which hold on a busy machine, too: what each part
of a block takes, so what two shards could gain at most.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch

from data.scenario import ScenarioBank
from rl.algorithms.rollout_buffer import Rollout
from rl.training.agents import make_agent
from rl.training.collection_shard import CollectionShard, ShardOrder, acting_state
from rl.training.conclusion import Places
from rl.training.problems import make_problem
from rl.training.recorder import NullRecorder, StopReason
from rl.training.shard_messages import pack, unpack
from rl.training.training_config import TrainingConfig
from rl.training.training_run import learner_settings, train_problem
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


def count_cpu(world: str, blocks: int) -> tuple[float, ...]:
    """Return CPU seconds of a block: collected whole, half of it, sent as two parts, learnt from.

    Args:
        world: Name of the problem.
        blocks: The mean of so many.
    """
    run = TrainingConfig(environment=world, algorithm="ppo", num_envs=128)
    problem = make_problem(run)
    settings = learner_settings(run, problem)
    orders = [
        ShardOrder(
            run=run, learning=settings.config, num_envs=copies, rollout_steps=settings.rollout_steps
        )
        for copies in (128, 64)
    ]
    shards = [CollectionShard(order, problem, tuple) for order in orders]
    bank = ScenarioBank(problem.training, problem.bank, 0)
    agent = make_agent(settings.config, problem.learn_in(bank, 1, 0), seed=0)
    seconds = [0.0] * 4
    for block in range(WARM + blocks):
        marks = [time.process_time()]
        whole = shards[0].collect(acting_state(agent))[0]
        marks.append(time.process_time())
        half = shards[1].collect(acting_state(agent))[0]
        marks.append(time.process_time())
        parts = [unpack(pack({}, half)).tensors for _ in range(2)]
        for _ in range(2):
            unpack(pack({}, acting_state(agent)))
        for name in half:
            torch.cat([part[name] for part in parts], dim=0 if name == "memory" else 1)
        marks.append(time.process_time())
        agent.update(Rollout(**whole))
        marks.append(time.process_time())
        if block >= WARM:
            took = [end - begin for begin, end in pairwise(marks)]
            seconds = [so_far + more / blocks for so_far, more in zip(seconds, took, strict=True)]
    return tuple(seconds)


def print_cpu(blocks: int) -> None:
    """Print what a block takes, and what two shards could gain with a core each.

    Args:
        blocks: The mean of so many.
    """
    print("| world | collect 128 | collect 64 | send | learn | at most |")
    print("|---|---|---|---|---|---|")
    for world in WORLDS:
        whole, half, sent, learnt = count_cpu(world, blocks)
        gain = (whole + learnt) / (half + sent + learnt)
        figures = " | ".join(f"{1000 * value:,.0f}" for value in (whole, half, sent, learnt))
        print(f"| {world} | {figures} | {gain:.2f} x |", flush=True)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many counts")
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--cpu", action="store_true", help="count CPU milliseconds of the parts")
    options = parser.parse_args()
    if options.cpu:
        torch.set_num_threads(1)
        print_cpu(options.updates)
        return
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
