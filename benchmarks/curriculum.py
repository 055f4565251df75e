"""A curriculum against none at equal env steps, on the hardest stage; PPO, five seeds each.

Run `OMP_NUM_THREADS=1 python -m benchmarks.curriculum`: a table, and JSON in
benchmarks/results/curriculum.json. Every run is stored when it ends (var/benchmarks/curriculum)
and not made again, so that a stopped benchmark goes on; `--worlds` and `--seeds` choose. `none` is
plain PPO in the hardest stage from the first step on; `staged` climbs the stages, `adaptive` mixes
neighbouring ones. All are scored on the fixed episodes of the hardest stage, on which nobody was
trained: 0 is chance, 1 the best simple rule there.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import RESULTS, write_report
from benchmarks.stored_runs import Row, StoredRuns
from data.scenario import BankConfig, ScenarioBank
from rl.algorithms.ppo_config import PPOConfig
from rl.evaluation.statistics import clustered_t_interval
from rl.training.agents import make_agent
from rl.training.allocation_curriculum import make_allocation_world
from rl.training.curriculum import (
    AdaptiveCurriculumScheduler,
    CurriculumManager,
    CurriculumScheduler,
)
from rl.training.curriculum_driver import CurriculumDriver
from rl.training.curriculum_world import CurriculumWorld
from rl.training.learners import make_learner
from rl.training.supply_curriculum import make_supply_world
from rl.training.trading_curriculum import make_trading_world
from utils.config import to_json
from utils.seeding import derive_seed

STORE = Path("var/benchmarks/curriculum")
COPIES = 64
BANK = BankConfig(num_episodes=256, refresh_every_episodes=512)
NUM_EVALUATIONS = 20
ADAPTIVE = AdaptiveCurriculumScheduler(adaptation_rate=0.25)
ARMS: dict[str, CurriculumScheduler | None] = {
    "none": None,
    "staged": CurriculumScheduler(),
    "adaptive": ADAPTIVE,
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A world and how PPO learns in it; the same for every arm."""

    make: Callable[[], CurriculumWorld]
    env_steps: int
    rollout_steps: int
    """Steps per copy and update: one episode."""
    config: PPOConfig


TASKS = {
    "supply_chain": Task(
        make=make_supply_world,
        env_steps=640_000,
        rollout_steps=30,
        config=PPOConfig(
            learning_rate=1e-3,
            decay_learning_rate=True,
            gamma=0.97,
            scale_rewards=True,
            initial_log_std=-2.0,
            initial_action_mean=0.3,
        ),
    ),
    "resource_allocation": Task(
        make=make_allocation_world,
        env_steps=276_480,
        rollout_steps=72,
        config=PPOConfig(
            learning_rate=1e-3,
            decay_learning_rate=True,
            gamma=0.95,
            gae_lambda=0.9,
            scale_rewards=True,
            initial_log_std=-2.0,
            initial_action_mean=0.5,
        ),
    ),
    "trading": Task(
        make=lambda: make_trading_world(4, max_steps=60),
        env_steps=320_000,
        rollout_steps=60,
        config=PPOConfig(
            learning_rate=1e-3, decay_learning_rate=True, scale_rewards=True, initial_log_std=-1.0
        ),
    ),
}


def train(task: Task, world: CurriculumWorld, arm: str, *, seed: int) -> Row:
    """Train one agent, and score it now and then on the hardest stage.

    Args:
        task: How it is trained.
        world: The task's.
        arm: In `ARMS`.
        seed: Of weights, actions and scenarios.
    """
    hardest, scheduler = world.stages[-1], ARMS[arm]
    driver = None
    if scheduler is None:
        bank = ScenarioBank(hardest.source, BANK, derive_seed(seed, "bank"))
    else:
        manager = CurriculumManager(tuple(one.stage for one in world.stages), scheduler)
        driver = CurriculumDriver(manager, world.stages, bank=BANK, seed=seed)
        bank = driver.make_bank()
    environment = world.learn_in(bank, COPIES, seed)
    if driver is not None:
        driver.begin(environment)
    agent = make_agent(task.config, environment, seed=seed)
    learner = make_learner(environment, agent, rollout_steps=task.rollout_steps, seed=seed)
    curve: list[tuple[int, float]] = []
    spent = 0.0
    while learner.env_steps < task.env_steps:
        begun = time.process_time()
        summary, _ = learner.learn(task.env_steps)
        if driver is not None:
            driver.after_update(environment, summary, learner.env_steps)
            if (record := driver.take_record()) is not None:
                learner.take_record(record)
        spent += time.process_time() - begun
        if learner.env_steps >= (len(curve) + 1) * task.env_steps / NUM_EVALUATIONS:
            kpi = world.contest.play_policy(agent, hardest.episodes).kpi.mean()
            curve.append((learner.env_steps, hardest.scale.score(float(kpi))))
    row: Row = {"env_steps": learner.env_steps, "cpu_seconds": round(spent, 1), "curve": curve}
    if driver is not None:
        report = driver.report()
        row["timeline"] = [to_json(entry) for entry in report.timeline]
        row["summary"] = report.completion.summary
    return row


def summarise(rows: dict[str, list[Row]], threshold: float) -> dict[str, object]:
    """Compare the arms of one world.

    Args:
        rows: By arm, ordered by seed.
        threshold: Score that has to be reached.
    """
    final = {arm: [row["curve"][-1][1] for row in found] for arm, found in rows.items()}
    summary: dict[str, object] = {"threshold": threshold, "seeds": len(final["none"])}
    for arm, scores in final.items():
        reached = [_first(row["curve"], threshold) for row in rows[arm]]
        known = [steps for steps in reached if steps is not None]
        found: dict[str, object] = {
            "final_score": round(statistics.mean(scores), 4),
            "final_scores": [round(score, 4) for score in scores],
            "env_steps_to_threshold": reached,
            "runs_at_threshold": len(known),
            "median_env_steps_to_threshold": statistics.median(known) if known else None,
            "cpu_seconds": round(statistics.mean(row["cpu_seconds"] for row in rows[arm]), 1),
        }
        if arm != "none" and len(scores) > 1:
            difference = np.subtract(scores, final["none"])
            interval = clustered_t_interval(difference, np.arange(len(scores)))
            found["difference_to_none"] = [
                round(number, 4) for number in (interval.mean, interval.low, interval.high)
            ]
        summary[arm] = found
    return summary


def curriculum_table(results: dict[str, Any]) -> str:
    """Return the table of docs/training/curriculum.md.

    Args:
        results: The JSON.
    """
    lines = [
        "| world | arm | seeds | score on the hardest stage | to none, 95 % | steps to threshold |",
        "|---|---|---|---|---|---|",
    ]
    for world in TASKS:
        found = results.get(world)
        if found is None:
            lines.append(f"| {world} | | not run yet | | | |")
            continue
        for arm in ARMS:
            row, seeds = found[arm], found["seeds"]
            gap, median = row.get("difference_to_none"), row["median_env_steps_to_threshold"]
            to_none = "" if gap is None else f"{gap[0]:+.3f} [{gap[1]:+.3f}, {gap[2]:+.3f}]"
            steps = "never" if median is None else f"{median:,.0f}"
            lines.append(
                f"| {world} | {arm} | {seeds} | {row['final_score']:.3f} | {to_none} | {steps} "
                f"({row['runs_at_threshold']} of {seeds} reach {found['threshold']:g}) |"
            )
    return "\n".join(lines)


def _first(curve: list[tuple[int, float]], threshold: float) -> int | None:
    return next((steps for steps, score in curve if score >= threshold), None)


def main() -> None:
    """Make the runs that are missing, then print and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS / "curriculum.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store, worlds = StoredRuns(STORE), {}
    for name in arguments.worlds:
        task, world = TASKS[name], TASKS[name].make()
        rows: dict[str, list[Row]] = {arm: [] for arm in ARMS}
        for seed in range(arguments.seeds):
            for arm, kept in rows.items():
                kept.append(
                    store.run_once(
                        name,
                        arm,
                        partial(train, task, world, arm, seed=seed),
                        env_steps=task.env_steps,
                        seed=seed,
                    )
                )
        threshold = world.stages[-1].stage.advancement_threshold
        worlds[name] = {"runs": rows, **summarise(rows, threshold)}
        for arm in ARMS:
            print(f"{name:20} {arm:9} {worlds[name][arm]}")
    write_report(arguments.results, {"command": "python -m benchmarks.curriculum", **worlds})


if __name__ == "__main__":
    main()
