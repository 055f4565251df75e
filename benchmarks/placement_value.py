"""Does placing by value fill a production GPU cluster better than FGD?

Run `python -m benchmarks.placement_value` with the OpenB files at hand (docs/environments/
cluster_scheduling.md says where they are to be had): the default list at 130 % demand, both rules
on the same arrivals of every seed, differences with their interval; then parts of the cluster with
task mixes drawn anew; writes benchmarks/results/placement_value.json, and with `--artifact FILE`
the policy with its card. About a minute of CPU; nothing is learned here: the weights are given.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cluster_placement import PUBLISHED_FILE
from benchmarks.measuring import write_report
from data.cluster_tasks import ClusterScenarios
from data.cluster_trace import ClusterTrace, TaskTypes, load_cluster_trace, make_cluster_trace
from data.traces import locate_traces
from rl.artifacts import Baseline, Evaluation, PolicyCard, ValidRange
from rl.deployment.placement_exporter import CLUSTER_PLACEMENT, make_placement_artifact
from rl.domains.cluster import Nodes, Task
from rl.domains.cluster_experts import EXPERTS
from rl.domains.cluster_presets import cluster_scheduling, small_cluster
from rl.domains.cluster_simulator import LOST, Placements, simulate
from rl.domains.cluster_value import ClusterValue
from rl.evaluation.cluster_prices import find_cluster_prices
from rl.evaluation.statistics import clustered_t_interval
from rl.training.provenance import read_provenance
from utils.seeding import make_generator

RESULTS = Path(__file__).parent / "results" / "placement_value.json"
SEEDS = tuple(range(42, 52))
DEMANDS = (1.0, 1.1, 1.3)
CLASSES = ("no GPU", "part of a GPU", "one GPU", "several GPUs")
STEP, UNUSABLE = 13.3, 0.09
"""GPU milli in a score, and the part of it that a milli nobody could use costs."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both rules on the same arrivals, percent of all GPUs in use."""

    value: float
    fgd: float


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Mean difference over seeds with its 95 % interval, in percent of all GPUs."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is played."""

    seeds: tuple[int, ...] = SEEDS
    relatives: int = 40


SMOKE = Size(seeds=SEEDS[:2], relatives=2)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found; GPU in use in percent of all, by demand in percent."""

    seeds: tuple[int, ...]
    percent: dict[str, dict[str, list[float]]]
    gain: dict[str, Gain]
    gain_over_published: dict[str, Gain]
    published: dict[str, list[float]]
    relatives: list[Pair]
    accepted: dict[str, dict[str, float]]
    """By rule and class, the share of tasks placed."""
    cpu_seconds: dict[str, float]
    decision_us: dict[str, float]


def play(scenarios: ClusterScenarios, episode: int, value: ClusterValue | None) -> Placements:
    """Place one list, by value or by FGD.

    Args:
        scenarios: Where it is.
        episode: Which.
        value: None for FGD.
    """
    generator = make_generator(episode, "rule")
    return simulate(scenarios, EXPERTS["fgd"], generator, episode=episode, value=value)


def compare(scenarios: ClusterScenarios, episode: int, value: ClusterValue, at: float) -> Pair:
    """Place one list by both.

    Args:
        scenarios: Where it is.
        episode: Which.
        value: The rule to be judged.
        at: Demand, as a share of the cluster's GPU.
    """
    rules = (value, None)
    ours, theirs = (100 * play(scenarios, episode, rule).allocation_at(at) for rule in rules)
    return Pair(value=round(ours, 3), fgd=round(theirs, 3))


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return mean and ends of the 95 % interval, by Student's t.

    Args:
        values: One per seed.
    """
    found = clustered_t_interval(values[None], np.arange(len(values)))
    return round(found.mean, 3), round(found.low, 3), round(found.high, 3)


def sort_classes(types: TaskTypes) -> dict[str, NDArray[np.bool_]]:
    """Tell which types belong to which class.

    Args:
        types: The requests.
    """
    one = types.num_gpus == 1
    part = one & (types.gpu_milli < types.gpu_milli.max())
    masks = (types.num_gpus == 0, part, one & ~part, types.num_gpus > 1)
    return dict(zip(CLASSES, masks, strict=True))


def share_placed(
    placed: Sequence[Placements],
    arrivals: Sequence[NDArray[np.int32]],
    mask: NDArray[np.bool_],
) -> float:
    """Return the share of the tasks of one class that was placed.

    Args:
        placed: By list.
        arrivals: Types of the tasks, by list.
        mask: `[type]`, of the class.
    """
    asked = [mask[tasks] for tasks in arrivals]
    got = [(one.node != LOST)[some].sum() for one, some in zip(placed, asked, strict=True)]
    return round(float(sum(got)) / max(1, sum(int(some.sum()) for some in asked)), 4)


def write_artifact(path: Path, trace: ClusterTrace, report: Report) -> None:
    """Write the policy and its card.

    Args:
        path: Where to.
        trace: Where ranges come from.
        report: The evaluation.
    """
    ours, theirs = (report.percent[rule]["130"] for rule in ("value", "fgd"))
    kpi, low, high = interval(np.asarray(ours))
    types, nodes = trace.types, trace.nodes
    most = {
        "pod.cpu_milli": types.cpu_milli.max(),
        "pod.memory_mib": types.memory_mib.max(),
        "pod.gpus": types.num_gpus.max(),
        "pod.gpu_milli": types.gpu_milli.max(),
        "nodes.free_cpu_milli": nodes.cpu_milli.max(),
        "nodes.free_memory_mib": nodes.memory_mib.max(),
        "nodes.gpus": nodes.num_gpus.max(),
    }
    least = {"pod.gpu_milli": types.gpu_milli[types.gpu_milli > 0].min(), "nodes.gpus": 1}
    card = PolicyCard(
        agent=CLUSTER_PLACEMENT,
        run_id="",
        checkpoint_sha256="",
        commit=read_provenance().code_commit or "unknown",
        data="Prices from the OpenB cluster and its default list of tasks (Alibaba, Apache-2.0); "
        "weights chosen on shuffles 1000 to 1002 of that list.",
        evaluation=Evaluation(
            scenarios="GPU in use, % of all, at 130 % demand: OpenB, default list, seeds 42 to 51",
            num_episodes=len(ours),
            kpi=kpi,
            kpi_low=low,
            kpi_high=high,
        ),
        baseline=Baseline(
            expert="fgd",
            parameters=(),
            kpi=round(float(np.mean(theirs)), 3),
        ),
        validated_for=tuple(
            ValidRange(field=name, low=float(least.get(name, 0)), high=float(high_end))
            for name, high_end in most.items()
        ),
        limits=(
            "Prices are those of one cluster of 1,213 nodes and one list of tasks that never end.",
            "Another mix of tasks wants prices of its own.",
            "It maximises GPU in use and knows no priorities, affinities or disruption budgets.",
        ),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    prices = find_cluster_prices(trace)
    path.write_bytes(make_placement_artifact(prices, weights(), card).to_bytes())
    print(f"wrote {path}")


def weights() -> NDArray[np.float32]:
    """Return what the layer weighs features with."""
    return np.asarray([1.0 / STEP, -UNUSABLE / STEP], np.float32)


def compare_published(found: Sequence[float], published: Sequence[float]) -> Gain:
    """Compare with the published runs of FGD, seed by seed; their shuffles are others than ours.

    Args:
        found: Percent of all GPUs, by seed.
        published: The same.
    """
    mean, low, high = interval(np.asarray(found) - np.asarray(published))
    return Gain(mean=mean, low=low, high=high)


class TimedValue(ClusterValue):
    """Notes how long each scoring of stale nodes takes."""

    seconds: list[float]

    def score(
        self, nodes: Nodes, task: Task, model: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Score, and note.

        Args:
            nodes: As there.
            task: As there.
            model: As there.
        """
        begun = time.process_time_ns()
        found = super().score(nodes, task, model)
        self.seconds.append(1e-9 * (time.process_time_ns() - begun))
        return found


def measure(trace: ClusterTrace, size: Size, published: dict[str, list[float]]) -> Report:
    """Place the lists of all seeds by both rules.

    Args:
        trace: The cluster and the list.
        size: How much.
        published: FGD's runs, by percent of demand.
    """
    begun = time.process_time()
    value = TimedValue(find_cluster_prices(trace), weights())
    value.seconds = []
    seconds = {"prices": time.process_time() - begun, "value": 0.0, "fgd": 0.0}
    source = cluster_scheduling(trace).source
    placed: dict[str, list[Placements]] = {"value": [], "fgd": []}
    accepted: dict[str, dict[str, float]] = {}
    arrivals = []
    for seed in size.seeds:
        scenarios = source.draw(1, make_generator(seed, "list"))
        for rule, by in (("value", value), ("fgd", None)):
            begun = time.process_time()
            placed[rule].append(play(scenarios, 0, by))
            seconds[rule] += (time.process_time() - begun) / len(size.seeds)
        arrivals.append(scenarios.arrivals[0][: len(placed["fgd"][-1].node)])
    percent = {
        rule: {
            f"{100 * at:.0f}": [round(100 * one.allocation_at(at), 3) for one in placements]
            for at in DEMANDS
        }
        for rule, placements in placed.items()
    }
    for rule, placements in placed.items():
        accepted[rule] = {
            label: share_placed(placements, arrivals, mask)
            for label, mask in sort_classes(trace.types).items()
        }
    relatives = small_cluster(trace).source.draw(size.relatives, make_generator(7, "relatives"))
    others = [compare(relatives, one, value, 1.3) for one in range(size.relatives)]
    tasks = float(np.mean([len(one) for one in arrivals]))
    return Report(
        seeds=size.seeds,
        percent=percent,
        gain={
            at: compare_published(percent["value"][at], percent["fgd"][at])
            for at in percent["value"]
        },
        gain_over_published={
            at: compare_published(percent["value"][at], published[at]) for at in published
        },
        published=published,
        relatives=others,
        accepted=accepted,
        cpu_seconds={name: round(spent, 2) for name, spent in seconds.items()},
        decision_us={
            "mean": round(1e6 * seconds["value"] / tasks, 1),
            "score_p50": round(1e6 * float(np.median(value.seconds)), 1),
            "score_p99": round(1e6 * float(np.quantile(value.seconds, 0.99)), 1),
        },
    )


def read_published_seeds(folder: Path) -> dict[str, list[float]]:
    """Read the published runs of FGD on the default list, by percent of demand.

    Args:
        folder: Where the file lies.
    """
    with (folder / PUBLISHED_FILE).open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["workload"] == "openb_pod_list_default" and row["sc_policy"] == "06-FGD"
        ]
    by_seed = {int(row["seed"]): row for row in rows}
    names = [f"{100 * at:.0f}" for at in DEMANDS]
    return {name: [float(by_seed[seed][name]) for seed in SEEDS] for name in names}


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print, write.

    Args:
        arguments: Of the command line.

    Raises:
        SystemExit: The trace is not here.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small made-up cluster, two seeds")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--artifact", type=Path, help="where to write the policy")
    options = parser.parse_args(arguments)
    folder = locate_traces()
    if options.smoke:
        trace, size = make_cluster_trace(num_nodes=40, num_types=20), SMOKE
        published: dict[str, list[float]] = {}
    elif folder is None:
        raise SystemExit(
            "the OpenB files are not here; see docs/environments/cluster_scheduling.md"
        )
    else:
        trace, size = load_cluster_trace(folder), Size()
        published = read_published_seeds(folder)
    report = measure(trace, size, published)
    for at, gain in report.gain.items():
        means = [np.mean(report.percent[rule][at]) for rule in ("value", "fgd")]
        print(f"at {at} %: value {means[0]:.2f}, FGD {means[1]:.2f}, {gain}")
        print(f"  over the published runs: {report.gain_over_published.get(at)}")
    print(f"placed by class: {report.accepted}")
    print(f"CPU s a list: {report.cpu_seconds}, us a decision: {report.decision_us}")
    write_report(
        options.output, {"command": "python -m benchmarks.placement_value", **asdict(report)}
    )
    if options.artifact:
        write_artifact(options.artifact, trace, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
