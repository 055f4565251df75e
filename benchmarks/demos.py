"""The three demos at their documented sizes, over seeds, against the domains' simple experts.

Run `python -m benchmarks.demos [--demo trading ...] [--seeds 3]`: a table, and JSON in
benchmarks/results/demos.json. Every run is the demo's own (`rl.training.demos`, stages included);
its exported policy's KPI on each held-out episode is stored under `--runs` when it ends, and the
run is not made again. The difference to the simple expert (TWAP, tuned base-stock, max-min) is
paired by episode; its interval resamples seeds and the blocks that episodes are cut from.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import RESULTS, write_report
from benchmarks.stored_runs import Row, StoredRuns
from data.scenario import ScenarioBank
from rl.algorithms.policy_state import under_prefix
from rl.artifacts import Figure
from rl.evaluation.statistics import block_bootstrap_interval
from rl.training.agents import make_agent
from rl.training.checkpointing import CheckpointFolder
from rl.training.conclusion import Places
from rl.training.demos import DEMOS, demo_config
from rl.training.expert_tuning import tune_experts_once
from rl.training.problem import Problem
from rl.training.problems import make_problem
from rl.training.recorder import NullRecorder
from rl.training.training_config import TrainingConfig
from rl.training.training_run import learner_settings, train_problem
from utils.persistence.artifact_store import DirectoryArtifactStore

DOCUMENTED = {"trading": (4, 2_000), "supply_chain": (6, 3_000), "resource_allocation": (8, 2_500)}
"""Agents and episodes of the promised examples."""


def config_of(name: str, seed: int) -> TrainingConfig:
    """Return the demo at its documented size.

    Args:
        name: Of the demo.
        seed: Of everything.
    """
    agents, episodes = DOCUMENTED[name]
    return demo_config(name, num_agents=agents, episodes=episodes, use_curriculum=True, seed=seed)


def train(name: str, seed: int) -> Row:
    """Run one demo and play the held-out episodes with its best policy and its simple expert.

    Args:
        name: Of the demo.
        seed: Of everything.
    """
    config = config_of(name, seed)
    began, wall = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        places = Places(folder=folder, artifacts=DirectoryArtifactStore(folder / "artifacts"))
        result = train_problem(config, NullRecorder(), places, run_id=f"{name}-{seed}")
        cpu_seconds, wall_seconds = time.process_time() - began, time.perf_counter() - wall
        problem = make_problem(config)
        tuned = tune_experts_once(problem, folder / "experts.json", NullRecorder())
        ours = play_best(config, problem, folder)
        rival = play_rival(problem, tuned[str(problem.rival)])
    return {
        "seed": seed,
        "env_steps": result.env_steps,
        "cpu_seconds": cpu_seconds,
        "wall_seconds": wall_seconds,
        "ended": result.ended,
        "stages": []
        if result.curriculum is None
        else [one.stage for one in result.curriculum.timeline],
        "kpi": [round(value, 6) for value in ours],
        "rival_kpi": [round(value, 6) for value in rival],
        "best_expert": result.tables[0].baseline,
        "best_expert_kpi": result.tables[0].row(result.tables[0].baseline).kpi.mean,
    }


def play_best(config: TrainingConfig, problem: Problem, folder: Path) -> list[float]:
    """Return the KPI of every held-out episode under the best policy of a run.

    Args:
        config: Of the run.
        problem: Of the run.
        folder: Of the run.
    """
    settings = learner_settings(config, problem)
    bank = ScenarioBank(problem.training, problem.bank, 0)
    agent = make_agent(settings.config, problem.learn_in(bank, 1, 0), seed=0, agent_id="planner")
    newest = CheckpointFolder(folder / "checkpoints").newest()
    if newest is None:
        raise SystemExit("the run left no checkpoint")
    agent.load_policy_state(under_prefix("best_policy", newest.checkpoint.tensors))
    return problem.contest.play_policy(agent, problem.held_out).kpi.tolist()


def play_rival(problem: Problem, tuned: tuple[Figure, ...]) -> list[float]:
    """Return the KPI of every held-out episode under the simple expert.

    Args:
        problem: Names it.
        tuned: What it was tuned to.
    """
    player = problem.experts[str(problem.rival)].player(tuned)
    return problem.contest.play(player, problem.held_out).kpi.tolist()


def summarise(name: str, rows: list[Row]) -> dict[str, Any]:
    """Return the figures of a demo.

    Args:
        name: Of it.
        rows: One per seed.
    """
    problem = make_problem(config_of(name, 0))
    blocks = problem.held_out.blocks
    ours, rival = (np.array([row[key] for row in rows]) for key in ("kpi", "rival_kpi"))
    interval = block_bootstrap_interval(ours - rival, blocks)
    return {
        "rival": problem.rival,
        "kpi_is": problem.contest.kpi,
        "data": problem.held_out.about,
        "seeds": [row["seed"] for row in rows],
        "commits": sorted({row["commit"] for row in rows}),
        "kpi": float(ours.mean()),
        "rival_kpi": float(rival.mean()),
        "best_expert": rows[0]["best_expert"],
        "best_expert_kpi": rows[0]["best_expert_kpi"],
        "difference": asdict(interval),
        "difference_of_each_seed": (ours - rival).mean(1).round(3).tolist(),
        "cpu_seconds": [round(row["cpu_seconds"], 1) for row in rows],
        "wall_seconds": [round(row["wall_seconds"], 1) for row in rows],
        "stages": [row["stages"] for row in rows],
    }


def demo_table(demos: dict[str, Any]) -> str:
    """Return the table of docs/training/README.md.

    Args:
        demos: As in the JSON.
    """
    lines = [
        "| demo | agents/episodes | KPI | simple expert | difference, 95 % | seeds | CPU s a run |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in demos.items():
        agents, episodes = DOCUMENTED[name]
        gap = found["difference"]
        lines.append(
            f"| {name} | {agents} / {episodes:,} | {found['kpi']:,.0f} | {found['rival']} "
            f"{found['rival_kpi']:,.0f} | {gap['mean']:+,.0f} [{gap['low']:+,.0f}, "
            f"{gap['high']:+,.0f}] | {len(found['seeds'])} | "
            f"{max(found['cpu_seconds']):,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Train, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", nargs="+", choices=DEMOS, default=list(DEMOS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("var/benchmarks/demos"))
    parser.add_argument("--output", type=Path, default=RESULTS / "demos.json")
    options = parser.parse_args()
    stored = StoredRuns(options.runs)
    demos = {}
    for name in options.demo:
        rows = [
            stored.run_once(
                name, "quartermaster", partial(train, name, seed), env_steps=1, seed=seed
            )
            for seed in range(options.seeds)
        ]
        demos[name] = summarise(name, rows)
    print(demo_table(demos))
    write_report(options.output, {"command": "python -m benchmarks.demos", "demos": demos})
    if any(found["difference"]["low"] <= 0 for found in demos.values()):
        sys.exit("a demo does not certainly beat its simple expert")


if __name__ == "__main__":
    main()
