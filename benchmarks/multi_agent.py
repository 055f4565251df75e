"""Particle worlds of mpe2 at 300,000 joint steps, ours beside BenchMARL.

Run `python -m benchmarks.multi_agent [--cell spread-mappo ...] [--seeds 5] [--no-peer]`: a table,
and JSON in benchmarks/results/multi_agent.json. Every run is stored under `--runs` when it ends,
and is not made again. The rule, for both libraries: the last policy plays 200 episodes of 25 steps
without noise; the reward of a step is the mean over agents, an episode's return the sum over its
steps. Agents choose; BenchMARL's MADDPG cannot, and plays the continuous variant of the same world.
BenchMARL has no MATD3: ours stands beside its MADDPG. Its settings are those of its
base_experiment.yaml (benchmarks/peers/benchmarl_run.py says why). Joint steps per second are those
of whole training runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from mpe2 import simple_speaker_listener_v4, simple_spread_v3

from benchmarks.learning_run import MakeEnvironment, Measure, train_and_score
from benchmarks.measuring import RESULTS, write_report
from benchmarks.peer_python import run_peer
from benchmarks.recipes import MULTI_AGENT
from benchmarks.stored_runs import Row, StoredRuns
from rl.environments.pettingzoo_adapter import PettingZooAdapter
from rl.evaluation.statistics import block_bootstrap_interval

OURS, PEER = "quartermaster", "benchmarl"
ENV_STEPS = 300_000
EPISODE_STEPS = 25
EPISODES = 200
WORLDS = {"spread": simple_spread_v3, "speaker_listener": simple_speaker_listener_v4}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A world, our algorithm, and the peer's beside it."""

    world: str
    algorithm: str
    peer: str

    @property
    def peer_task(self) -> str:
        """Under which the peer's runs are stored."""
        return f"{self.world}-{self.peer}"


CELLS = {
    f"{world}-{algorithm}": Cell(world=world, algorithm=algorithm, peer=peer)
    for algorithm, peer in (
        ("mappo", "mappo"),
        ("maddpg", "maddpg"),
        ("matd3", "maddpg"),
        ("qmix", "qmix"),
    )
    for world in WORLDS
}


def make_world(world: str) -> MakeEnvironment:
    """Return what makes copies of a world.

    Args:
        world: Its name.
    """

    def make_one() -> Any:
        return WORLDS[world].parallel_env(max_cycles=EPISODE_STEPS, continuous_actions=False)

    return lambda copies, seed: PettingZooAdapter(make_one, copies, seed=seed)


def run_ours(cell: Cell, env_steps: int, seed: int) -> Row:
    """Train our agents.

    Args:
        cell: Of the table.
        env_steps: Joint steps.
        seed: Of everything.
    """
    measure = Measure(env_steps=env_steps, every=env_steps, episodes=1, final_episodes=EPISODES)
    return train_and_score(
        make_world(cell.world), MULTI_AGENT[f"{cell.world}-{cell.algorithm}"], measure, seed=seed
    )


def run_benchmarl(cell: Cell, env_steps: int, seed: int) -> Row:
    """Train BenchMARL's agents.

    Args:
        cell: Of the table.
        env_steps: Joint steps.
        seed: Of everything.
    """
    arguments = [
        f"--world={cell.world}",
        f"--algorithm={cell.peer}",
        f"--seed={seed}",
        f"--env-steps={env_steps}",
        f"--episode-steps={EPISODE_STEPS}",
        f"--final-episodes={EPISODES}",
    ]
    return run_peer(PEER, "benchmarl_run.py", arguments)


RUNS: dict[str, Callable[[Cell, int, int], Row]] = {OURS: run_ours, PEER: run_benchmarl}


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Return the figures of one library in one cell.

    Args:
        rows: One per seed.
    """
    returns = np.array([row["final_returns"] for row in rows])
    interval = block_bootstrap_interval(returns, np.arange(returns.shape[1]))
    return {
        "seeds": [row["seed"] for row in rows],
        "commits": sorted({row["commit"] for row in rows}),
        "versions": sorted({row["version"] for row in rows}),
        "threads": sorted({row["threads"] for row in rows}),
        "env_steps": [row["env_steps"] for row in rows],
        "wall_seconds": [row["wall_seconds"] for row in rows],
        "cpu_seconds": [row["cpu_seconds"] for row in rows],
        "steps_per_second": median(row["env_steps"] / row["wall_seconds"] for row in rows),
        "steps_per_cpu_second": median(row["env_steps"] / row["cpu_seconds"] for row in rows),
        "mean_of_each_seed": returns.mean(1).round(2).tolist(),
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
    }


def summarise_cell(name: str, stored: StoredRuns) -> dict[str, Any]:
    """Return the figures of a cell, and whether ours is within the peer's interval or above.

    Args:
        name: Of the cell.
        stored: The runs.
    """
    cell = CELLS[name]
    tasks = {OURS: name, PEER: cell.peer_task}
    found: dict[str, Any] = {"cell": name, "peer_algorithm": cell.peer}
    for library, task in tasks.items():
        if rows := stored.rows(task, library, ENV_STEPS):
            found[library] = summarise(rows)
    if OURS in found and PEER in found:
        ours, peer = found[OURS], found[PEER]
        found["is_reached"] = ours["mean"] >= peer["low"]
        found["times_faster"] = ours["steps_per_cpu_second"] / peer["steps_per_cpu_second"]
    return found


def print_table(cells: list[dict[str, Any]]) -> None:
    """Print one line for each cell and library.

    Args:
        cells: As `summarise_cell` returns them.
    """
    print(
        "cell                      library        seeds  mean return [95 % interval]  steps/CPU-s"
    )
    for one in cells:
        for library in (name for name in RUNS if name in one):
            row = one[library]
            print(
                f"{one['cell']:25} {library:14} {len(row['seeds']):5}  {row['mean']:7.2f} "
                f"[{row['low']:.2f}, {row['high']:.2f}]  {row['steps_per_cpu_second']:15.0f}"
            )


def main() -> None:
    """Make the runs that are not stored yet, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--ours", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--runs", type=Path, default=Path("var/benchmarks/multi_agent"))
    parser.add_argument("--output", type=Path, default=RESULTS / "multi_agent.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stored = StoredRuns(arguments.runs)
    wanted = {OURS: arguments.ours, PEER: arguments.peer}
    for seed in range(arguments.seeds):
        for name in arguments.cell:
            cell = CELLS[name]
            for library in (one for one, is_wanted in wanted.items() if is_wanted):
                stored.run_once(
                    name if library == OURS else cell.peer_task,
                    library,
                    partial(RUNS[library], cell, ENV_STEPS, seed),
                    env_steps=ENV_STEPS,
                    seed=seed,
                )
    cells = [summarise_cell(name, stored) for name in CELLS]
    print_table(cells)
    command = " ".join(["python -m benchmarks.multi_agent", *sys.argv[1:]])
    write_report(arguments.output, {"command": command, "cells": cells})


if __name__ == "__main__":
    main()
