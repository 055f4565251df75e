"""Kills training with SIGKILL at random moments, ten times a run, and compares what is left.

Run `python -m benchmarks.killed_training [--environment trading ...] [--kills 10]`: a table, and
JSON in benchmarks/results/killed_training.json. For every pipeline one run is left alone; another
of the same configuration is killed with SIGKILL at random moments of its life, ten times, and each
time a new process goes on from what is in the database. Afterwards all tensors of the last
checkpoint (weights, optimiser, normaliser, generators, environment, best policy), every metric row
(none missing, none twice, same values), every evaluation and the curriculum's stage must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from sqlalchemy import select

from benchmarks.measuring import RESULTS, write_report
from rl.training.training_config import TrainingConfig
from rl.training.training_pipeline import RLTrainingPipeline
from utils.persistence.engine import open_database
from utils.persistence.experiments import evaluation, metric, run
from utils.persistence.jobs import checkpoint
from utils.seeding import make_generator

CONFIGS = {
    "trading": TrainingConfig(environment="trading", algorithm="apg", total_episodes=1200),
    "supply_chain": TrainingConfig(
        environment="supply_chain", algorithm="apg", num_agents=6, total_episodes=1200
    ),
    "resource_allocation": TrainingConfig(num_agents=4, total_episodes=1200),
}
SECONDS_BETWEEN_KILLS = (0.0, 4.0)
"""From the first checkpoint of an attempt on, uniformly; the first comes after a set-up that takes
longer than training."""
POLL_SECONDS = 0.02
COMMAND = "python -m benchmarks.killed_training"


def config_of(environment: str) -> TrainingConfig:
    """Return a short run that saves often.

    Args:
        environment: In `CONFIGS`.
    """
    return replace(
        CONFIGS[environment],
        num_envs=8,
        eval_frequency=240,
        checkpoint_frequency=8,
        use_curriculum=True,
    )


async def train(environment: str, folder: Path) -> None:
    """Train, or go on with the only run there is.

    Args:
        environment: In `CONFIGS`.
        folder: Of the database.
    """
    pipeline = RLTrainingPipeline(config_of(environment), output_dir=folder)
    runs = (await read(folder))["runs"]
    await pipeline.train(resume=runs[0] if runs else None)


async def read(folder: Path) -> dict[str, Any]:
    """Return what the database tells of the only run.

    Args:
        folder: Of the database.
    """
    database = await open_database(folder / "quartermaster.sqlite")
    try:
        async with database.read() as connection:
            runs = (await connection.execute(select(run.c.id))).scalars().all()
            rows = (await connection.execute(select(metric))).mappings().all()
            scored = (await connection.execute(select(evaluation))).mappings().all()
            saved = await connection.execute(
                select(checkpoint.c.path).order_by(checkpoint.c.fence.desc(), checkpoint.c.step)
            )
            paths = saved.scalars().all()
    finally:
        await database.aclose()
    return {
        "runs": list(runs),
        "metrics": sorted((row["step"], row["key"], row["value"]) for row in rows),
        "evaluations": sorted((row["env_steps"], json.dumps(row["scores"])) for row in scored),
        "paths": list(paths),
    }


def summarise(found: dict[str, Any]) -> dict[str, Any]:
    """Add what the newest checkpoint holds: hash of all tensors, counters, curriculum.

    Args:
        found: What `read` returned.
    """
    files = [Path(path) for path in found["paths"] if Path(path).is_file()]
    newest = max((json.loads(file.read_text()) for file in files), key=lambda one: one["env_steps"])
    return {
        **found,
        "tensors_sha256": newest["tensors_sha256"],
        "fields": newest["fields"],
    }


def train_killed(environment: str, folder: Path, kills: int, seed: int) -> int:
    """Train in processes that are killed, until one of them ends by itself.

    Args:
        environment: In `CONFIGS`.
        folder: Of the database.
        kills: How often.
        seed: Of the moments.

    Returns:
        How many were killed while they trained.
    """
    generator = make_generator(seed, "kills", environment)
    done = 0
    while True:
        child = start(environment, folder)
        if done < kills and wait_for_checkpoint(child, folder):
            time.sleep(generator.uniform(*SECONDS_BETWEEN_KILLS))
            child.send_signal(signal.SIGKILL)
        code = child.wait()
        if code == 0:
            return done
        if code != -signal.SIGKILL:
            raise SystemExit(f"{environment}: the training process ended with {code}")
        done += 1


def wait_for_checkpoint(child: subprocess.Popen[bytes], folder: Path) -> bool:
    """Wait until an attempt has saved something new; False if it ended before.

    Args:
        child: The attempt.
        folder: Of the database.
    """
    before = newest_name(folder)
    while newest_name(folder) == before:
        if child.poll() is not None:
            return False
        time.sleep(POLL_SECONDS)
    return True


def newest_name(folder: Path) -> str:
    """Return the name of the newest checkpoint file.

    Args:
        folder: Of the database.
    """
    return max((path.name for path in folder.glob("runs/*/checkpoints/step-*.json")), default="")


def start(environment: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start one attempt.

    Args:
        environment: In `CONFIGS`.
        folder: Of the database.
    """
    command = [sys.executable, "-m", "benchmarks.killed_training", "--attempt", str(folder)]
    single = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, "--environment", environment], env=single)  # noqa: S603


def compare(environment: str, kills: int, seed: int) -> dict[str, Any]:
    """Train once undisturbed and once killed, and say what differs.

    Args:
        environment: In `CONFIGS`.
        kills: How often.
        seed: Of the moments.
    """
    with tempfile.TemporaryDirectory() as place:
        calm, rough = Path(place) / "calm", Path(place) / "rough"
        if start(environment, calm).wait() != 0:
            raise SystemExit(f"{environment}: the undisturbed run failed")
        done = train_killed(environment, rough, kills, seed)
        ours, theirs = (summarise(anyio.run(read, folder)) for folder in (rough, calm))
    twice = sum(count - 1 for count in Counter(row[:2] for row in ours["metrics"]).values())
    return {
        "environment": environment,
        "kills": done,
        "runs": len(ours["runs"]),
        "same_tensors": ours["tensors_sha256"] == theirs["tensors_sha256"],
        "same_fields": ours["fields"] == theirs["fields"],
        "metric_rows": len(ours["metrics"]),
        "same_metrics": equal_rows(ours["metrics"], theirs["metrics"]),
        "metric_rows_twice": twice,
        "evaluations": len(ours["evaluations"]),
        "same_evaluations": ours["evaluations"] == theirs["evaluations"],
    }


def killed_table(rows: list[dict[str, Any]]) -> str:
    """Return the table of docs/training/README.md.

    Args:
        rows: As in the JSON.
    """
    lines = [
        "| problem | kills | same tensors | metric rows | all, once | same scores | same stage |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        metrics = row["same_metrics"] and not row["metric_rows_twice"]
        marks = [row["same_tensors"], metrics, row["same_evaluations"], row["same_fields"]]
        tensors, whole, scored, fields = ("yes" if mark else "NO" for mark in marks)
        lines.append(
            f"| {row['environment']} | {row['kills']} | {tensors} | {row['metric_rows']:,} "
            f"| {whole} | {scored} | {fields} |"
        )
    return "\n".join(lines)


def equal_rows(ours: list[Any], theirs: list[Any]) -> bool:
    """Say whether two lists of metric rows are the same, NaN being equal to itself.

    Args:
        ours: Step, name, value.
        theirs: The same.
    """
    if [row[:2] for row in ours] != [row[:2] for row in theirs]:
        return False
    mine, other = (np.array([row[2] for row in rows], float) for rows in (ours, theirs))
    return bool(np.array_equal(mine, other, equal_nan=True))


def main() -> None:
    """Kill, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--environment", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attempt", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=RESULTS / "killed_training.json")
    options = parser.parse_args()
    if options.attempt is not None:
        anyio.run(train, options.environment[0], options.attempt)
        return
    rows = []
    for environment in options.environment:
        rows.append(compare(environment, options.kills, options.seed))
        print(json.dumps(rows[-1]), flush=True)
    write_report(options.output, {"command": COMMAND, "pipelines": rows})
    print(killed_table(rows))
    if not all(row["same_tensors"] and row["same_metrics"] for row in rows):
        sys.exit("a killed run differs from the undisturbed one")


if __name__ == "__main__":
    main()
