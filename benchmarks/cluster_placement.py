"""How much of a production GPU cluster do experts fill, and how much could anyone?

Run `python -m benchmarks.cluster_placement` with the OpenB files at hand (docs/environments/
cluster_scheduling.md says where they are to be had): every rule on the default list at 130 % demand
with the published seeds beside the published means, the bounds of the same lists, and the speed of
the batched environment; writes benchmarks/results/cluster_placement.json and .png. About 6 CPU
minutes on one core; `--seeds 42 --bounds 0` takes half a minute.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.measuring import describe_machine
from data.cluster_tasks import ClusterScenarios
from data.cluster_trace import ClusterTrace, load_cluster_trace
from data.scenario import BankConfig, FixedSource, ScenarioBank
from data.traces import locate_traces
from rl.domains.cluster import fgd_score
from rl.domains.cluster_experts import EXPERTS
from rl.domains.cluster_presets import ClusterPreset, cluster_scheduling, small_cluster
from rl.domains.cluster_simulator import LOST, simulate
from rl.environments.cluster_scheduling_environment import BatchedClusterScheduling
from rl.environments.lockstep import LockstepOptions
from rl.evaluation.cluster_bounds import compute_cluster_bound
from utils.seeding import make_generator

RESULTS = Path(__file__).parent / "results" / "cluster_placement.json"
SEEDS = tuple(range(42, 52))
MARKS = tuple(round(0.02 * number, 2) for number in range(1, 66))
TAKEN_SHARES = (0.0, 0.85, 0.9, 0.95)
PUBLISHED_FILE = "published_openb_alloc_by_policy_seed.csv"
PUBLISHED_NAMES = {
    "01-Random": "random",
    "02-DotProd": "dot_product",
    "03-GpuClustering": "clustering",
    "04-GpuPacking": "packing",
    "05-BestFit": "best_fit",
    "06-FGD": "fgd",
}
PUBLISHED_FRAGMENTS = {"random": 13.49, "best_fit": 7.06, "fgd": 4.73}
"""Percent of all GPUs at 100 % demand, means of ten seeds: analysis_frag_discrete.csv there."""
BARS = {"random": 0.6, "best_fit": 0.6, "fgd": 0.3}
"""How far a mean may be from the published one, in percent of all GPUs."""
COLORS = {
    "random": "#999999",
    "first_fit": "#56B4E9",
    "dot_product": "#0072B2",
    "clustering": "#CC79A7",
    "packing": "#009E73",
    "best_fit": "#E69F00",
    "fgd": "#D55E00",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One rule over all seeds; percent of all GPUs."""

    rule: str
    at_130: list[float]
    """GPU in use when 130 % had been asked for, one per seed."""
    at_100: list[float]
    fragments_at_100: list[float]
    cpu_seconds: list[float]
    curve: list[float]
    """Means of GPU in use at each mark of demand."""
    published_at_130: float | None
    published_at_100: float | None


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What no rule can exceed, one per seed; percent of all GPUs."""

    taken_share: float
    """Demand, as a share of the cluster, up to which nothing is declined; 0 for any rule."""
    at_130: list[float]
    cpu_seconds: list[float]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The batched environment under a random policy."""

    preset: str
    copies: int
    first_episode_seconds: float
    """To build the copies: the table of scores of empty clusters."""
    steps_per_second: float
    steps_per_cpu_second: float


@dataclass(frozen=True, kw_only=True)
class WholeTrace:
    """One list from end to end through the batched environment, FGD choosing the nodes."""

    seed: int
    allocation: float
    """Percent of all GPUs."""
    same_as_simulator: bool
    """Every task on the same node."""
    cpu_seconds: float


def draw_lists(trace: ClusterTrace, seeds: tuple[int, ...]) -> dict[int, ClusterScenarios]:
    """Inflate and shuffle the list once per seed.

    Args:
        trace: The cluster and the list.
        seeds: One list each.
    """
    source = cluster_scheduling(trace).source
    return {seed: source.draw(1, make_generator(seed, "list")) for seed in seeds}


def play(
    rule: str, lists: dict[int, ClusterScenarios], published: dict[str, dict[str, float]]
) -> Row:
    """Place every list by one rule.

    Args:
        rule: Name of the expert.
        lists: One episode each, by seed.
        published: Means by rule and percent of demand.
    """
    placed, seconds = [], []
    for seed, scenarios in lists.items():
        generator = make_generator(seed, "rule")
        begun = time.process_time()
        placed.append(simulate(scenarios, EXPERTS[rule], generator, marks=(1.0,)))
        seconds.append(round(time.process_time() - begun, 2))
    curves = [[100 * one.allocation_at(mark) for mark in MARKS] for one in placed]
    means = published.get(rule, {})
    return Row(
        rule=rule,
        at_130=[round(100 * one.allocation_at(1.3), 3) for one in placed],
        at_100=[round(100 * one.allocation_at(1.0), 3) for one in placed],
        fragments_at_100=[round(100 * float(one.fragments[0]) / one.capacity, 3) for one in placed],
        cpu_seconds=seconds,
        curve=np.round(np.mean(curves, 0), 3).tolist(),
        published_at_130=means.get("130"),
        published_at_100=means.get("100"),
    )


def bound(lists: list[ClusterScenarios], taken_share: float) -> Bound:
    """Bound every list.

    Args:
        lists: One episode each.
        taken_share: Demand up to which nothing is declined.
    """
    values, seconds = [], []
    for scenarios in lists:
        begun = time.process_time()
        found = compute_cluster_bound(scenarios, taken_share=taken_share)
        values.append(round(100 * found.allocation, 3))
        seconds.append(round(time.process_time() - begun, 2))
    return Bound(taken_share=taken_share, at_130=values, cpu_seconds=seconds)


def read_published(folder: Path) -> dict[str, dict[str, float]]:
    """Return the published means of ten seeds on the default list, by rule and percent of demand.

    Args:
        folder: Where the file lies.
    """
    with (folder / PUBLISHED_FILE).open() as file:
        rows = [row for row in csv.DictReader(file) if row["workload"] == "openb_pod_list_default"]
    columns = [name for name in rows[0] if name.isdigit()]
    return {
        ours: {
            column: float(np.mean([float(row[column]) for row in rows if row["sc_policy"] == name]))
            for column in columns
        }
        for name, ours in PUBLISHED_NAMES.items()
    }


def play_environment(trace: ClusterTrace, seed: int, scenarios: ClusterScenarios) -> WholeTrace:
    """Play one list in one copy of the batched environment.

    Args:
        trace: The cluster and the list.
        seed: Of the list.
        scenarios: The list.
    """
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=1), seed)
    config = cluster_scheduling(trace).config
    begun = time.process_time()
    environment = BatchedClusterScheduling(
        config, bank, LockstepOptions(num_envs=1, shuffle=False), seed
    )
    chosen, allocated = [], 0.0
    for _ in range(config.num_tasks):
        view = environment.view
        score = torch.where(view.fits, fgd_score(view.growth, torch), -1.0)
        node = torch.where(view.fits.any(1), score.argmax(1), config.num_nodes)
        chosen.append(int(node))
        record = environment.step(node[:, None])
        allocated += float(record.metrics["allocated_gpu_percent"])
    seconds = time.process_time() - begun
    placed = simulate(scenarios, EXPERTS["fgd"], make_generator(seed, "rule")).node
    wanted = np.where(placed == LOST, config.num_nodes, placed)
    return WholeTrace(
        seed=seed,
        allocation=round(allocated, 3),
        same_as_simulator=chosen[: len(wanted)] == wanted.tolist(),
        cpu_seconds=round(seconds, 1),
    )


def measure(name: str, preset: ClusterPreset, copies: int, steps: int) -> Speed:
    """Time the batched environment.

    Args:
        name: Of the preset.
        preset: The world.
        copies: How many.
        steps: Of each copy, after 20 to warm up.
    """
    bank = ScenarioBank(preset.source, BankConfig(num_episodes=min(copies, 8)), 0)
    begun = time.perf_counter()
    environment = BatchedClusterScheduling(
        preset.config, bank, LockstepOptions(num_envs=copies), seed=0
    )
    first = time.perf_counter() - begun
    generator = torch.Generator().manual_seed(0)
    record = environment.step(torch.full((copies, 1), preset.config.num_nodes))
    for number in range(20 + steps):
        if number == 20:
            wall, cpu = time.perf_counter(), time.process_time()
        allowed = record.action_mask[:, 0].float()
        record = environment.step(torch.multinomial(allowed, 1, generator=generator))
    return Speed(
        preset=name,
        copies=copies,
        first_episode_seconds=round(first, 2),
        steps_per_second=round(copies * steps / (time.perf_counter() - wall)),
        steps_per_cpu_second=round(copies * steps / (time.process_time() - cpu)),
    )


def draw(
    rows: list[Row], bounds: list[Bound], published: dict[str, dict[str, float]], path: Path
) -> None:
    """Draw allocation against demand.

    Args:
        rows: The rules.
        bounds: Lines above them.
        published: Marked as dots.
        path: Of the picture.
    """
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row in sorted(rows, key=lambda one: -one.curve[-1]):
        color = COLORS[row.rule]
        label = f"{row.rule.replace('_', ' ')}  {np.mean(row.at_130):.2f}"
        axes.plot([100 * mark for mark in MARKS], row.curve, color=color, label=label, lw=1.8)
        dots = {int(at): value for at, value in published.get(row.rule, {}).items()}
        axes.plot(dots.keys(), dots.values(), "o", color=color, mec="#222222", mew=0.6, ms=5)
    for one in bounds:
        style = "-" if not one.taken_share else ":"
        value = float(np.mean(one.at_130))
        axes.axhline(value, color="#222222", lw=0.9, ls=style)
        what = "any rule" if not one.taken_share else f"none declined to {one.taken_share:.0%}"
        edge = "top" if one.taken_share == TAKEN_SHARES[-1] else "bottom"
        if one.taken_share != TAKEN_SHARES[2]:
            axes.text(78.5, value, f"bound, {what}: {value:.2f}", fontsize=8, va=edge)
    axes.set(xlim=(78, 131), ylim=(77, 101), xlabel="GPU asked for, % of the cluster")
    axes.set_ylabel("GPU in use, % of the cluster")
    axes.set_title("OpenB, default list at 130 %: means of ten seeds; dots: published", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def print_rows(rows: list[Row], bounds: list[Bound]) -> None:
    """Print the tables.

    Args:
        rows: The rules.
        bounds: What they cannot exceed.
    """
    print(f"{'rule':14}{'at 130 %':>16}{'published':>11}{'at 100 %':>10}{'published':>11}", end="")
    print(f"{'fragments':>11}{'published':>11}{'CPU s':>8}")
    for row in rows:
        ours = f"{np.mean(row.at_130):.2f} +- {np.std(row.at_130):.2f}"
        known = [row.published_at_130, row.published_at_100, PUBLISHED_FRAGMENTS.get(row.rule)]
        theirs = [f"{value:.2f}" if value is not None else "-" for value in known]
        print(
            f"{row.rule:14}{ours:>16}{theirs[0]:>11}{np.mean(row.at_100):10.2f}{theirs[1]:>11}"
            f"{np.mean(row.fragments_at_100):11.2f}{theirs[2]:>11}{max(row.cpu_seconds):8.2f}"
        )
    for one in bounds:
        print(
            f"bound, nothing declined to {one.taken_share:4.0%}: {np.mean(one.at_130):.2f} "
            f"({min(one.at_130):.2f} .. {max(one.at_130):.2f}), "
            f"{max(one.cpu_seconds)} CPU s at most"
        )


def main() -> None:
    """Play, bound, measure, print, write.

    Raises:
        SystemExit: The trace is not here, or a mean misses its bar.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--bounds", type=int, default=len(SEEDS), help="lists to bound")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = locate_traces()
    if folder is None:
        raise SystemExit(
            "the OpenB files are not here; see docs/environments/cluster_scheduling.md"
        )
    trace, published = load_cluster_trace(folder), read_published(folder)
    lists = draw_lists(trace, tuple(options.seeds))
    rows = [play(rule, lists, published) for rule in EXPERTS]
    bounds = [
        bound(list(lists.values())[: options.bounds], share)
        for share in TAKEN_SHARES
        if options.bounds
    ]
    print_rows(rows, bounds)
    whole, small = cluster_scheduling(trace), small_cluster(trace)
    speeds = [
        measure("cluster_scheduling", whole, 1, 2000),
        measure("cluster_scheduling", whole, 64, 100),
        measure("small_cluster", small, 1, 2000),
        measure("small_cluster", small, 64, 300),
    ]
    seed, scenarios = next(iter(lists.items()))
    played = play_environment(trace, seed, scenarios)
    for one in (*speeds, played):
        print(one)
    content = {
        "command": "python -m benchmarks.cluster_placement",
        "seeds": options.seeds,
        "demand_marks": MARKS,
        "rules": [asdict(row) for row in rows],
        "bounds": [asdict(one) for one in bounds],
        "published_fragments_at_100": PUBLISHED_FRAGMENTS,
        "speeds": [asdict(speed) for speed in speeds],
        "whole_trace": asdict(played),
        **describe_machine(),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    draw(rows, bounds, published, options.output.with_suffix(".png"))
    missed = [
        row.rule
        for row in rows
        if row.published_at_130 is not None
        and abs(np.mean(row.at_130) - row.published_at_130) > BARS.get(row.rule, 100.0)
    ]
    if missed:
        raise SystemExit(f"the means of {', '.join(missed)} miss the published ones")


if __name__ == "__main__":
    main()
