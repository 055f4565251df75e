"""How close do fitted arrivals, run times, days and disruptions come to the real series?

Run `python -m benchmarks.workload_generators`: fits each law to a real series, and again to a part
of it to be compared with the rest; prints the figures and writes
benchmarks/results/workload_generators.json and .png. About 15 CPU seconds on one core. Needs the
trace files (data/arrival_traces.py says where they are to be had).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.measuring import describe_machine
from data.arrival_law import compare_arrivals, fit_arrivals
from data.arrival_traces import load_request_times, load_run_times, load_web_requests
from data.demand_law import Floats
from data.disruptions import fit_disruption
from data.diurnal_law import compare_diurnal, fit_diurnal
from data.fit_report import FitReport
from data.run_time_law import compare_run_times, fit_run_times
from data.traces import NAB_SERIES, TraceError, load_service_traces, locate_traces
from rl.training.provenance import read_provenance
from utils.seeding import make_generator

mpl.use("Agg")

RESULTS = Path(__file__).parent / "results" / "workload_generators.json"
TRAIN_SECONDS = 40 * 60
TRAIN_STEPS = 9 * 288
BURST_THRESHOLD = 0.5
SEED = 0

Row = tuple[str, Any, FitReport]


def judge_arrivals(folder: Path) -> list[Row]:
    """Fit the requests of a language model: the whole trace, then 40 minutes against the rest.

    Args:
        folder: Where the traces lie.
    """
    times = load_request_times(folder)
    law, report = fit_arrivals(times)
    early, _ = fit_arrivals(times[times < TRAIN_SECONDS])
    rest = compare_arrivals(early, times[times >= TRAIN_SECONDS])
    return [("arrivals, whole trace", law, report), ("arrivals, unseen minutes", early, rest)]


def judge_run_times(folder: Path) -> list[Row]:
    """Fit the run times of jobs: all of them, then a random half against the other.

    Args:
        folder: Where the traces lie.
    """
    seconds = load_run_times(folder)
    law, report = fit_run_times(seconds)
    mixed = make_generator(SEED, "halves").permutation(seconds)
    half, _ = fit_run_times(mixed[::2])
    rest = compare_run_times(half, mixed[1::2])
    return [("run times, all jobs", law, report), ("run times, unseen half", half, rest)]


def judge_days(folder: Path) -> list[Row]:
    """Fit web requests per five minutes: all days, then nine days against the rest.

    Args:
        folder: Where the traces lie.
    """
    readings, slot = load_web_requests(folder)
    law, report = fit_diurnal(readings, first_slot=slot)
    early, _ = fit_diurnal(readings[:TRAIN_STEPS], first_slot=slot)
    rest = compare_diurnal(early, readings[TRAIN_STEPS:], first_slot=slot)
    return [("web requests, all days", law, report), ("web requests, unseen days", early, rest)]


def judge_disruptions(folder: Path) -> list[Row]:
    """Fit the bursts of a busy machine, its processor above one half.

    Args:
        folder: Where the traces lie.
    """
    demand = load_service_traces(folder).demand[:, 2].astype(np.float64)
    load = np.clip(demand / NAB_SERIES[2].work_per_reading / 100, 0, 1)
    rule, report = fit_disruption(load, threshold=BURST_THRESHOLD)
    return [("bursts of a machine", rule, report)]


def draw_chart(folder: Path, laws: dict[str, Any], path: Path) -> None:
    """Draw real beside made: requests per second, run times, a week of web requests.

    Args:
        folder: Where the traces lie.
        laws: By name of the row.
        path: Of the picture.
    """
    figure, axes = plt.subplots(2, 3, figsize=(13, 6), layout="constrained")
    generator = make_generator(SEED, "chart")
    times = load_request_times(folder)
    made_times = laws["arrivals, whole trace"].draw_times(float(times[-1]), generator)
    readings, slot = load_web_requests(folder)
    law = laws["web requests, all days"]
    made_days = law.draw(1, len(readings), generator, first_slot=slot)[0]
    for row, name in enumerate(("real", "made")):
        counts = np.bincount((times if row == 0 else made_times).astype(int))
        axes[row, 0].plot(counts[:900], linewidth=0.7, color=f"C{row}")
        axes[row, 0].set(title=f"{name}: requests", xlabel="second", ylim=(0, 45))
        days = readings if row == 0 else made_days
        axes[row, 1].plot(days[: 4 * 288], linewidth=0.7, color=f"C{row}")
        axes[row, 1].set(title=f"{name}: web requests", xlabel="five minutes", ylim=(0, 500))
    seconds = load_run_times(folder)
    made = laws["run times, all jobs"].draw(len(seconds), generator)
    for values, name in ((seconds, "real"), (made, "made")):
        exceed(axes[0, 2], np.maximum(values, 1), name)
        exceed(axes[1, 2], np.diff(times if name == "real" else made_times), name)
    axes[0, 2].set(title="share of jobs longer", xlabel="seconds")
    axes[1, 2].set(title="share of gaps longer", xlabel="seconds", xlim=(1e-3, None))
    for axis in axes[:, 2]:
        axis.legend()
    figure.savefig(path, dpi=64)
    plt.close(figure)


def exceed(axis: plt.Axes, values: Floats, name: str) -> None:
    """Draw which share of the values is larger than each.

    Args:
        axis: Where.
        values: Positive.
        name: For the legend.
    """
    ordered = np.sort(values)[::-1]
    axis.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), label=name)
    axis.set(xscale="log", yscale="log")


def main() -> None:
    """Fit, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    folder = locate_traces()
    if folder is None:
        raise TraceError("the trace files are not here; see data/arrival_traces.py")
    judges: tuple[Callable[[Path], list[Row]], ...] = (
        judge_arrivals,
        judge_run_times,
        judge_days,
        judge_disruptions,
    )
    rows = [row for judge in judges for row in judge(folder)]
    for name, _, report in rows:
        print(name)
        for line in report.describe():
            print(f"  {line}")
    content = {
        "command": "python -m benchmarks.workload_generators",
        "commit": read_provenance().code_commit,
        "machine": describe_machine(),
        "seed": SEED,
        "rows": [
            {
                "name": name,
                "law": asdict(law),
                "figures": {
                    one.name: {"real": one.real, "made": one.made, "error": one.relative_error}
                    for one in report.figures
                },
            }
            for name, law, report in rows
        ],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    laws = {name: law for name, law, _ in rows}
    draw_chart(folder, laws, options.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
