"""Tasks of one agent at fixed budgets, ours beside Stable-Baselines3 at RL-Zoo settings.

Run `python -m benchmarks.single_agent [--task cartpole-ppo ...] [--seeds 5] [--no-peer]`: a table,
and JSON in benchmarks/results/single_agent.json. Every run is stored under `--runs` when it ends,
and is not made again. The rule, for both libraries: 20 times in a training run the policy plays 10
episodes; the best one then plays 100 others, without noise, and their mean is the run's score. The
last policy plays the same 100 and stands in the JSON beside it.

The tasks that end in `-475` measure the CPU seconds of training (without evaluations) until 20
episodes, played every 1,000 transitions, first have a mean of 475. There each library has the
fastest settings found for it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.learning_run import Measure, train_and_score
from benchmarks.measuring import RESULTS, write_report
from benchmarks.peer_python import run_peer
from benchmarks.recipes import SINGLE_AGENT
from benchmarks.stored_runs import Row, StoredRuns
from rl.environments.adapter import GymnasiumAdapter
from rl.evaluation.statistics import block_bootstrap_interval, interquartile_mean

OURS, PEER = "quartermaster", "sb3"
EVALUATIONS = 20


@dataclass(frozen=True, kw_only=True)
class Task:
    """An environment, an algorithm, a budget and a bar."""

    environment: str
    env_steps: int
    bar: float
    measure: Measure


def _scored(environment: str, env_steps: int, bar: float) -> Task:
    every = env_steps // EVALUATIONS
    measure = Measure(env_steps=env_steps, every=every, episodes=10, final_episodes=100)
    return Task(environment=environment, env_steps=env_steps, bar=bar, measure=measure)


def _timed(environment: str, env_steps: int, bar: float) -> Task:
    measure = Measure(env_steps=env_steps, every=1_000, episodes=20, until=bar)
    return Task(environment=environment, env_steps=env_steps, bar=bar, measure=measure)


TASKS: dict[str, Task] = {
    "cartpole-ppo": _scored("CartPole-v1", 100_000, 475.0),
    "cartpole-dqn": _scored("CartPole-v1", 50_000, 475.0),
    "pendulum-ppo": _scored("Pendulum-v1", 100_000, -200.0),
    "acrobot-ppo": _scored("Acrobot-v1", 500_000, -85.0),
    "mountaincar-sac": _scored("MountainCarContinuous-v0", 50_000, 93.0),
    "lunarlander-dqn": _scored("LunarLander-v3", 500_000, 200.0),
    "lunarlander-ppo": _scored("LunarLander-v3", 1_000_000, 240.0),
    "pendulum-td3": _scored("Pendulum-v1", 20_000, -165.0),
    "pendulum-sac": _scored("Pendulum-v1", 20_000, -165.0),
    "cartpole-ppo-475": _timed("CartPole-v1", 100_000, 475.0),
    "cartpole-dqn-475": _timed("CartPole-v1", 50_000, 475.0),
}


def run_ours(name: str, seed: int) -> Row:
    """Train one agent of ours.

    Args:
        name: Of the task.
        seed: Of everything.
    """
    task = TASKS[name]

    def make(copies: int, seed: int) -> GymnasiumAdapter:
        return GymnasiumAdapter(task.environment, copies, seed=seed)

    return train_and_score(make, SINGLE_AGENT[name], task.measure, seed=seed)


def run_sb3(name: str, seed: int) -> Row:
    """Train one agent of Stable-Baselines3 with the same budget and evaluations.

    Args:
        name: Of the task.
        seed: Of everything.
    """
    measure = TASKS[name].measure
    arguments = [f"--task={name}", f"--seed={seed}"]
    for option, value in asdict(measure).items():
        if value is not None:
            arguments.append(f"--{option.replace('_', '-')}={value}")
    return run_peer(PEER, "sb3_run.py", arguments)


RUNS: dict[str, Callable[[str, int], Row]] = {OURS: run_ours, PEER: run_sb3}


def summarise(name: str, library: str, rows: list[Row]) -> dict[str, Any]:
    """Return the figures of a table's row.

    Args:
        name: Of the task.
        library: Whose runs.
        rows: One per seed.
    """
    task = TASKS[name]
    found: dict[str, Any] = {
        "task": name,
        "library": library,
        "bar": task.bar,
        "env_steps": task.env_steps,
        "seeds": [row["seed"] for row in rows],
        "commits": sorted({row["commit"] for row in rows}),
        "versions": sorted({row["version"] for row in rows}),
        "threads": sorted({row["threads"] for row in rows}),
        "wall_seconds": [row["wall_seconds"] for row in rows],
        "cpu_seconds": [row["cpu_seconds"] for row in rows],
    }
    if task.measure.until is not None:
        ends = [row["curve"][-1] for row in rows]
        found["reached"] = [score >= task.bar for _, score, _ in ends]
        found["env_steps_to_bar"] = [steps for steps, _, _ in ends]
        found["cpu_seconds_to_bar"] = [seconds for _, _, seconds in ends]
        found["median_cpu_seconds_to_bar"] = median(found["cpu_seconds_to_bar"])
        return found
    for which in ("best", "final"):
        returns = np.array([row[f"{which}_returns"] for row in rows])
        means = returns.mean(1)
        interval = block_bootstrap_interval(means, np.arange(len(means)))
        found[which] = {
            "mean_of_each_seed": means.round(2).tolist(),
            "iqm": interquartile_mean(means),
            "mean": interval.mean,
            "low": interval.low,
            "high": interval.high,
        }
    found["is_reached"] = found["best"]["iqm"] >= task.bar
    return found


def print_table(summaries: list[dict[str, Any]]) -> None:
    """Print one line for each task and library.

    Args:
        summaries: As `summarise` returns them.
    """
    print("task               library        seeds    bar  best IQM  mean [95 % interval]  CPU-s")
    for one in summaries:
        start = f"{one['task']:18} {one['library']:14} {len(one['seeds']):5} {one['bar']:6.0f}"
        if "best" not in one:
            seconds = one["cpu_seconds_to_bar"]
            print(f"{start}  CPU-s to it: {one['median_cpu_seconds_to_bar']:.2f} of {seconds}")
            continue
        best = one["best"]
        print(
            f"{start}  {best['iqm']:8.1f}  {best['mean']:.1f} [{best['low']:.1f}, "
            f"{best['high']:.1f}]  {median(one['cpu_seconds']):.0f}"
        )


def main() -> None:
    """Make the runs that are not stored yet, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--ours", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--runs", type=Path, default=Path("var/benchmarks/single_agent"))
    parser.add_argument("--output", type=Path, default=RESULTS / "single_agent.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stored = StoredRuns(arguments.runs)
    wanted = {OURS: arguments.ours, PEER: arguments.peer}
    for name in arguments.task:
        for library in (one for one, is_wanted in wanted.items() if is_wanted):
            for seed in range(arguments.seeds):
                stored.run_once(
                    name,
                    library,
                    partial(RUNS[library], name, seed),
                    env_steps=TASKS[name].env_steps,
                    seed=seed,
                )
    summaries = [
        summarise(name, library, rows)
        for name in TASKS
        for library in RUNS
        if (rows := stored.rows(name, library, TASKS[name].env_steps))
    ]
    print_table(summaries)
    command = " ".join(["python -m benchmarks.single_agent", *sys.argv[1:]])
    write_report(arguments.output, {"command": command, "rows": summaries})


if __name__ == "__main__":
    main()
