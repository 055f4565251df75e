"""What single choices bring: pairs of runs that differ in one setting, at equal env steps.

Run `OMP_NUM_THREADS=1 python -m benchmarks.ablations [--ablation dueling ...] [--seeds 5]`: a
table, JSON in benchmarks/results/ablations.json, and table and pictures in
docs/training/ablations.md.
Every run is stored under `--runs` when it ends and is not made again, so that a stopped benchmark
goes on; an arm of several ablations is trained once. `--length 0.02` is a first look: so short a
part of every run, written to var/benchmarks/ablations/short.json and nowhere else.

A run is scored by its best policy on validation episodes, which then plays the problem's held-out
set. Both arms of a pair have the same seed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.ablation_arms import ABLATIONS, Ablation, Arm
from benchmarks.ablation_page import fill_page, format_table
from benchmarks.measuring import RESULTS, write_report
from benchmarks.stored_runs import Row, StoredRuns
from data.traces import locate_traces
from rl.environments.delayed_reward import DelayedReward
from rl.evaluation.run_curves import merge_curves
from rl.evaluation.run_report import Curve
from rl.evaluation.run_statistics import probability_of_improvement
from rl.evaluation.statistics import clustered_t_interval
from rl.training.conclusion import Places
from rl.training.problem import Problem
from rl.training.problems import make_problem
from rl.training.recorder import EvaluationRecord, NullRecorder
from rl.training.training_run import train_problem
from utils.errors import ConfigError
from utils.persistence.artifact_store import DirectoryArtifactStore

FOLDER = Path("var/benchmarks/ablations")
RESULT = RESULTS / "ablations.json"


class _Scores(NullRecorder):
    """Keeps the learning curve."""

    def __init__(self) -> None:
        self.curve: list[tuple[int, float]] = []

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Keep the score.

        Args:
            evaluation: On validation episodes.
        """
        self.curve.append((evaluation.env_steps, float(evaluation.scores["kpi"])))


def run_arm(arm: Arm, seed: int) -> Row:
    """Train and judge once.

    Args:
        arm: How.
        seed: Of everything.
    """
    begun = time.process_time()
    config = replace(arm.config, seed=seed)
    problem = _only_what_counts(make_problem(config), with_experts=config.use_curriculum)
    if arm.delay_rewards:
        learn_in = problem.learn_in
        problem = replace(
            problem,
            learn_in=lambda bank, copies, seed: DelayedReward(learn_in(bank, copies, seed)),
        )
    scores = _Scores()
    with TemporaryDirectory() as folder:
        places = Places(folder=Path(folder), artifacts=DirectoryArtifactStore(Path(folder)))
        result = train_problem(config, scores, places, run_id=arm.key, problem=problem)
    (ours,) = [row for row in result.tables[0].rows if row.kind == "agent"]
    return {
        "cpu_seconds": round(time.process_time() - begun, 1),
        "env_steps": result.env_steps,
        "kpi": problem.contest.kpi,
        "score": ours.kpi.mean,
        "curve": scores.curve,
        "held_out_sha256": problem.held_out.sha256,
        "stages": [asdict(entry) for entry in result.curriculum.timeline]
        if result.curriculum
        else [],
    }


def _only_what_counts(problem: Problem, *, with_experts: bool) -> Problem:
    """Leave out what is measured for reports only; stages are scaled by experts."""
    return replace(
        problem,
        experts=problem.experts if with_experts else {},
        bound=None,
        stress=(),
        exporter=None,
        illustrate=None,
    )


def conclude(names: tuple[str, str], low: float, high: float) -> str:
    """Say in words which arm is better, if the interval of the difference tells.

    Args:
        names: Of the first arm and of the second.
        low: Lower end of the interval of first minus second.
        high: Upper end.
    """
    if low > 0:
        return f"{names[0]} is better"
    return f"{names[1]} is better" if high < 0 else "undecided"


def summarise(name: str, ablation: Ablation, rows: tuple[list[Row], list[Row]]) -> dict[str, Any]:
    """Compare the arms of one ablation, run by run of the same seed.

    Args:
        name: Of the ablation.
        ablation: The question.
        rows: Of the first arm and of the second; at least one seed in common.

    Raises:
        ConfigError: The arms were judged on different episodes, or trained for different steps.
    """
    seeds = sorted({row["seed"] for row in rows[0]} & {row["seed"] for row in rows[1]})
    both = [[row for row in one if row["seed"] in seeds] for one in rows]
    if len({row["held_out_sha256"] for one in both for row in one}) > 1:
        raise ConfigError(
            f"{name}: the arms were judged on different episodes (were the trace files there for "
            "both?): delete the stored runs of one of them"
        )
    lengths = {row["env_steps"] for one in both for row in one}
    if len(lengths) > 1:
        raise ConfigError(
            f"{name}: runs of {' and '.join(f'{steps:,}' for steps in sorted(lengths))} env steps "
            "cannot be compared: choose a total that is a whole number of updates of both arms"
        )
    first, second = (np.array([row["score"] for row in one]) for one in both)
    found: dict[str, Any] = {
        "ablation": name,
        "question": ablation.question,
        "note": ablation.note,
        "changed": ablation.changed,
        "world": ablation.first.config.environment,
        "kpi": both[0][0]["kpi"],
        "seeds": seeds,
        "commits": sorted({row["commit"] for one in both for row in one}),
        "arms": [_describe(arm, one) for arm, one in zip(ablation.arms, both, strict=True)],
        "difference": {"mean": float((first - second).mean())},
        "probability_of_improvement": asdict(
            probability_of_improvement(first[:, None], second[:, None])
        ),
        "conclusion": "one seed: no interval",
    }
    if len(seeds) > 1:
        interval = clustered_t_interval(first - second, np.arange(len(seeds)))
        found["difference"] |= {"low": interval.low, "high": interval.high}
        names = (ablation.first.name, ablation.second.name)
        found["conclusion"] = conclude(names, interval.low, interval.high)
    return found


def _describe(arm: Arm, rows: list[Row]) -> dict[str, Any]:
    curves = [
        Curve(
            name=arm.name,
            env_steps=tuple(steps for steps, _ in row["curve"]),
            mean=tuple(score for _, score in row["curve"]),
        )
        for row in rows
    ]
    return {
        "name": arm.name,
        "mean": float(np.mean([row["score"] for row in rows])),
        "scores": [row["score"] for row in rows],
        "env_steps": rows[0]["env_steps"],
        "cpu_seconds": round(statistics.mean(row["cpu_seconds"] for row in rows), 1),
        "curve": asdict(merge_curves(curves, name=arm.name)),
        "stages": [row["stages"] for row in rows],
    }


def run_ablation(ablation: Ablation, stored: StoredRuns, seeds: Sequence[int]) -> None:
    """Make the runs of both arms that are not stored yet.

    Args:
        ablation: The question.
        stored: Where runs are kept.
        seeds: One pair of runs each.

    Raises:
        ConfigError: It needs the trace files, and they are not there.
    """
    if ablation.needs_traces and locate_traces() is None:
        raise ConfigError(
            f'"{ablation.question}" needs real data: put the trace files into var/traces (see '
            "docs/environments/market_data.md), or choose other ablations with --ablation"
        )
    for seed in seeds:
        for arm in ablation.arms:
            stored.run_once(
                arm.config.environment,
                arm.key,
                partial(run_arm, arm, seed),
                env_steps=arm.config.total_env_steps,
                seed=seed,
            )


def summarise_stored(ablations: dict[str, Ablation], stored: StoredRuns) -> list[dict[str, Any]]:
    """Compare the arms of every ablation of which both have runs.

    Args:
        ablations: By name.
        stored: Where runs are kept.
    """
    found = []
    for name, ablation in ablations.items():
        first, second = (
            stored.rows(arm.config.environment, arm.key, arm.config.total_env_steps)
            for arm in ablation.arms
        )
        if {row["seed"] for row in first} & {row["seed"] for row in second}:
            found.append(summarise(name, ablation, (first, second)))
    return found


def main() -> None:
    """Make the runs that are missing, then print and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ablation", nargs="+", choices=ABLATIONS, default=list(ABLATIONS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--length", type=float, default=1.0)
    parser.add_argument("--runs", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    if not 0 < arguments.length <= 1 or arguments.seeds < 1:
        parser.error("--length is a share in (0, 1], and --seeds at least 1")
    is_whole = arguments.length == 1
    stored = StoredRuns(arguments.runs)
    ablations = {name: one.shortened(arguments.length) for name, one in ABLATIONS.items()}
    for name in arguments.ablation:
        run_ablation(ablations[name], stored, range(arguments.seeds))
    summaries = summarise_stored(ablations, stored)
    command = " ".join(["python -m benchmarks.ablations", *sys.argv[1:]])
    output = RESULT if is_whole else FOLDER / "short.json"
    write_report(output, {"command": command, "ablations": summaries})
    print(format_table(summaries))
    if is_whole:
        fill_page(summaries)


if __name__ == "__main__":
    main()
