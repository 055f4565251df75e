"""Does placing by value fill a production GPU cluster better than FGD?

Run `python -m benchmarks.placement_value` with the OpenB files at hand (docs/environments/
cluster_scheduling.md says where they are to be had): the default list at 130 % demand, both rules
on the same arrivals of every seed, differences with their interval; then parts of the cluster with
task mixes drawn anew; writes benchmarks/results/placement_value.json, and with `--artifact FILE`
the policy with its card. About a minute of CPU; nothing is learned here: the weights are given.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import describe_machine
from data.cluster_tasks import ClusterScenarios
from data.cluster_trace import ClusterTrace, load_cluster_trace
from data.traces import locate_traces
from rl.artifacts import Baseline, Evaluation, PolicyCard, ValidRange
from rl.deployment.placement_exporter import CLUSTER_PLACEMENT, make_placement_artifact
from rl.domains.cluster_experts import EXPERTS
from rl.domains.cluster_presets import cluster_scheduling, small_cluster
from rl.domains.cluster_simulator import LOST, Placements, simulate
from rl.domains.cluster_value import ClusterValue
from rl.evaluation.cluster_prices import find_cluster_prices
from rl.training.provenance import read_provenance
from utils.seeding import make_generator

RESULTS = Path(__file__).parent / "results" / "placement_value.json"
SEEDS = tuple(range(42, 52))
STEP, UNUSABLE = 13.3, 0.09
"""GPU milli in a score, and the part of it that a milli nobody could use costs."""
NUM_RELATIVES = 40
STUDENT_9 = 2.262
"""97.5 % quantile of Student's t with nine degrees of freedom; the seeds are ten."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both rules on the same arrivals, percent of all GPUs in use."""

    value: float
    fgd: float


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
    """Return mean and ends of the 95 % interval of ten values, by Student's t.

    Args:
        values: Ten of them.
    """
    half = STUDENT_9 * float(values.std(ddof=1)) / len(values) ** 0.5
    mean = float(values.mean())
    return round(mean, 3), round(mean - half, 3), round(mean + half, 3)


def count_accepted(trace: ClusterTrace, scenarios: ClusterScenarios, placed: Placements) -> float:
    """Return the share of the tasks with several GPUs that were placed.

    Args:
        trace: The types.
        scenarios: One list.
        placed: What became of it.
    """
    tasks = scenarios.arrivals[0][: len(placed.node)]
    several = trace.types.num_gpus[tasks] > 1
    return float((placed.node[several] != LOST).mean())


def write_artifact(path: Path, trace: ClusterTrace, pairs: list[Pair]) -> None:
    """Write the policy and its card.

    Args:
        path: Where to.
        trace: Where ranges come from.
        pairs: The evaluation.
    """
    kpi, low, high = interval(np.asarray([pair.value for pair in pairs]))
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
            num_episodes=len(pairs),
            kpi=kpi,
            kpi_low=low,
            kpi_high=high,
        ),
        baseline=Baseline(
            expert="fgd",
            parameters=(),
            kpi=round(float(np.mean([pair.fgd for pair in pairs])), 3),
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


def main() -> None:
    """Play, print, write.

    Raises:
        SystemExit: The trace is not here.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--artifact", type=Path, help="where to write the policy")
    options = parser.parse_args()
    folder = locate_traces()
    if folder is None:
        raise SystemExit(
            "the OpenB files are not here; see docs/environments/cluster_scheduling.md"
        )
    trace = load_cluster_trace(folder)
    begun = time.process_time()
    value = ClusterValue(find_cluster_prices(trace), weights())
    seconds = {"prices": round(time.process_time() - begun, 2)}
    source = cluster_scheduling(trace).source
    pairs, full, accepted = [], [], []
    for seed in SEEDS:
        scenarios = source.draw(1, make_generator(seed, "list"))
        begun = time.process_time()
        ours = play(scenarios, 0, value)
        seconds["value"] = round(time.process_time() - begun, 2)
        begun = time.process_time()
        theirs = play(scenarios, 0, None)
        seconds["fgd"] = round(time.process_time() - begun, 2)
        for found, demand in ((pairs, 1.3), (full, 1.0)):
            both = [round(100 * one.allocation_at(demand), 3) for one in (ours, theirs)]
            found.append(Pair(value=both[0], fgd=both[1]))
        accepted.append([count_accepted(trace, scenarios, one) for one in (ours, theirs)])
    relatives = small_cluster(trace).source.draw(NUM_RELATIVES, make_generator(7, "relatives"))
    others = [compare(relatives, one, value, 1.3) for one in range(NUM_RELATIVES)]
    gains = {
        "at_130": interval(np.asarray([pair.value - pair.fgd for pair in pairs])),
        "at_100": interval(np.asarray([pair.value - pair.fgd for pair in full])),
    }
    for name, found in (("at 130 %", pairs), ("at 100 %", full), ("relatives", others)):
        ours_mean = np.mean([pair.value for pair in found])
        print(f"{name}: value {ours_mean:.2f}, FGD {np.mean([p.fgd for p in found]):.2f}")
    print(f"value less FGD, with 95 % interval: {gains}")
    print(f"several GPUs placed (value, FGD): {np.mean(accepted, 0).round(3)}; CPU s: {seconds}")
    content = {
        "command": "python -m benchmarks.placement_value",
        "seeds": SEEDS,
        "at_130": [vars(pair) for pair in pairs],
        "at_100": [vars(pair) for pair in full],
        "relatives": [vars(pair) for pair in others],
        "gain_mean_low_high": gains,
        "several_gpus_placed": np.mean(accepted, 0).round(4).tolist(),
        "cpu_seconds": seconds,
        **describe_machine(),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    if options.artifact:
        write_artifact(options.artifact, trace, pairs)


if __name__ == "__main__":
    main()
