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

from benchmarks.cluster_placement import PUBLISHED_FILE
from benchmarks.measuring import RESULTS, write_report
from benchmarks.placement_runs import (
    DEMANDS,
    SEEDS,
    Gain,
    Timed,
    compare,
    play,
    play_all,
    read_cluster,
    weights,
)
from data.cluster_tasks import ClusterScenarios
from data.cluster_trace import ClusterTrace
from data.traces import locate_traces
from rl.artifacts import Baseline, Evaluation, PolicyCard, ValidRange
from rl.deployment.placement_exporter import CLUSTER_PLACEMENT, make_placement_artifact
from rl.domains.cluster_presets import cluster_scheduling, small_cluster
from rl.domains.cluster_simulator import NodeScores
from rl.domains.cluster_value import ClusterValue
from rl.evaluation.cluster_prices import find_cluster_prices
from rl.training.provenance import read_provenance
from utils.seeding import make_generator


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both rules on the same arrivals, percent of all GPUs in use."""

    value: float
    fgd: float


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
    """Seed by seed; the shuffles of the published runs are others than ours."""
    published: dict[str, list[float]]
    relatives: list[Pair]
    accepted: dict[str, dict[str, float]]
    """By rule and class, the share of tasks placed."""
    cpu_seconds: dict[str, float]
    decision_us: dict[str, float]


def play_relative(scenarios: ClusterScenarios, episode: int, value: NodeScores) -> Pair:
    """Place one list by both.

    Args:
        scenarios: Where it is.
        episode: Which.
        value: The rule to be judged.
    """
    placed = (play(scenarios, rule, episode) for rule in (value, None))
    ours, theirs = (100 * one.allocation_at(DEMANDS[-1]) for one in placed)
    return Pair(value=round(ours, 3), fgd=round(theirs, 3))


def write_artifact(path: Path, trace: ClusterTrace, report: Report) -> None:
    """Write the policy and its card.

    Args:
        path: Where to.
        trace: Where ranges come from.
        report: The evaluation.
    """
    ours, theirs = (report.percent[rule]["130"] for rule in ("value", "fgd"))
    kpi = compare(ours, 0.0)
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
            kpi=kpi.mean,
            kpi_low=kpi.low,
            kpi_high=kpi.high,
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


def measure(trace: ClusterTrace, size: Size, published: dict[str, list[float]]) -> Report:
    """Place the lists of all seeds by both rules.

    Args:
        trace: The cluster and the list.
        size: How much.
        published: FGD's runs, by percent of demand.
    """
    begun = time.process_time()
    value = Timed(ClusterValue(find_cluster_prices(trace), weights()))
    prices = time.process_time() - begun
    source = cluster_scheduling(trace).source
    lists = [source.draw(1, make_generator(seed, "list")) for seed in size.seeds]
    played = play_all(lists, {"value": value, "fgd": None}, trace.types)
    percent, seconds = played.percent, played.seconds
    scorings = np.quantile(value.seconds, (0.5, 0.99))
    mean = sum(seconds["value"]) / sum(played.tasks)
    relatives = small_cluster(trace).source.draw(size.relatives, make_generator(7, "relatives"))
    return Report(
        seeds=size.seeds,
        percent=percent,
        gain={at: compare(found, percent["fgd"][at]) for at, found in percent["value"].items()},
        gain_over_published={at: compare(percent["value"][at], published[at]) for at in published},
        published=published,
        relatives=[play_relative(relatives, one, value) for one in range(size.relatives)],
        accepted=played.accepted,
        cpu_seconds={
            "prices": round(prices, 2),
            **{rule: round(float(np.mean(spent)), 2) for rule, spent in seconds.items()},
        },
        decision_us={
            "mean": round(1e6 * mean, 1),
            "score_p50": round(1e6 * float(scorings[0]), 1),
            "score_p99": round(1e6 * float(scorings[1]), 1),
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
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small made-up cluster, two seeds")
    parser.add_argument("--output", type=Path, default=RESULTS / "placement_value.json")
    parser.add_argument("--artifact", type=Path, help="where to write the policy")
    options = parser.parse_args(arguments)
    trace, folder = read_cluster(smoke=options.smoke), locate_traces()
    published = read_published_seeds(folder) if folder and not options.smoke else {}
    report = measure(trace, SMOKE if options.smoke else Size(), published)
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
