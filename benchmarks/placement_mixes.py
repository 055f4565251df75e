"""Is placing by value better than FGD on other lists of tasks than the published one?

Run `OMP_NUM_THREADS=1 python -m benchmarks.placement_mixes` with the OpenB files at hand (docs/
environments/cluster_scheduling.md says where they are to be had): the whole cluster with five lists
made here from the types of the default list, each with a seed of its own: other weights; half of
the GPUs wanted by tasks with several; two of five types bound to two GPU models; a quarter of the
tasks without GPU; no task with one whole GPU. Lists are inflated to 130 % and shuffled as the
default one is. The value of each list has prices of its own, and the same two weights everywhere.

`calibrated` is the rule that an operator would use: on one shuffle of the list, of another seed
than those judged, value and FGD are tried, and the better of both is taken. Everything is paired
by shuffle. Writes benchmarks/results/placement_mixes.json. About two minutes of CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import RESULTS, write_report
from benchmarks.placement_runs import (
    DEMANDS,
    play,
    play_all,
    read_cluster,
    sort_classes,
    weights,
)
from data.cluster_tasks import ClusterScenarios, InflatedList
from data.cluster_trace import ClusterTrace, TaskTypes
from rl.domains.cluster_value import ClusterValue
from rl.evaluation.bounds import BoundError
from rl.evaluation.cluster_bounds import compute_cluster_bound
from rl.evaluation.cluster_prices import find_cluster_prices
from rl.evaluation.statistics import Estimate, clustered_t_interval
from utils.seeding import make_generator

LIST_SEED, TRIED_SEED = 0, 1000
SEEDS = (42, 43, 44, 45, 46)
TAKEN_SHARES = (0.9, 0.7, 0.5)
"""The bound is that of rules that decline nothing before so much has been asked for; the first that
can be taken at all."""
SPREAD, WIDE_SPREAD = 0.3, 1.0
"""Standard deviations of the logarithm by which frequencies of types are changed."""
BOUND_TYPES, MODELS_ALLOWED = 0.4, 2
MOST_TASKS = 40_000

Floats = NDArray[np.float64]
Reweigh = Callable[[Floats, TaskTypes], Floats]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One list; GPU in use in percent of all, by demand in percent."""

    mix: str
    seeds: tuple[int, ...]
    tasks: int
    value: dict[str, list[float]]
    """One number per shuffle."""
    fgd: dict[str, list[float]]
    gain: dict[str, Estimate]
    """Of value over FGD."""
    chosen: str
    """By trying both on another shuffle."""
    calibrated_gain: dict[str, Estimate]
    accepted: dict[str, dict[str, float]]
    """Share of the tasks of a class that was placed, by rule."""
    bound: float
    """Of the first shuffle."""
    bound_from: float
    """Demand, as a share of the cluster, before which the bound's rules decline nothing."""
    cpu_seconds: dict[str, float]


def _scale(weight: Floats, some: NDArray[np.bool_], share: float, per_task: Floats) -> Floats:
    """Give some types a share of the whole, counted as so much per task."""
    amount = weight * per_task
    factor = share / (1.0 - share) * amount[~some].sum() / amount[some].sum()
    return np.where(some, weight * factor, weight)


def multi_gpu(weight: Floats, types: TaskTypes) -> Floats:
    """Let tasks with several GPUs want half of all GPUs.

    Args:
        weight: `[type]`.
        types: The requests.
    """
    return _scale(weight, sort_classes(types)["several GPUs"], 0.5, types.demand.astype(float))


def cpu_heavy(weight: Floats, types: TaskTypes) -> Floats:
    """Let a quarter of the tasks want no GPU.

    Args:
        weight: `[type]`.
        types: The requests.
    """
    return _scale(weight, sort_classes(types)["no GPU"], 0.25, np.ones(len(weight)))


def sharing(weight: Floats, types: TaskTypes) -> Floats:
    """Take out the tasks with one whole GPU.

    Args:
        weight: `[type]`.
        types: The requests.
    """
    return np.where(sort_classes(types)["one GPU"], 0.0, weight)


def unchanged(weight: Floats, types: TaskTypes) -> Floats:
    """Keep the weights.

    Args:
        weight: `[type]`.
        types: Not used.
    """
    del types
    return weight


MIXES: dict[str, Reweigh] = {
    "other_weights": unchanged,
    "multi_gpu": multi_gpu,
    "gpu_spec": unchanged,
    "cpu_heavy": cpu_heavy,
    "sharing": sharing,
}


def make_mix(trace: ClusterTrace, name: str) -> ClusterTrace:
    """Make a list of tasks that asks for as many GPUs as there are.

    Args:
        trace: The cluster and the list whose types are used.
        name: In `MIXES`.
    """
    generator, types = make_generator(LIST_SEED, name), trace.types
    spread = WIDE_SPREAD if name == "other_weights" else SPREAD
    weight = trace.counts * np.exp(spread * generator.standard_normal(len(trace.counts)))
    weight = MIXES[name](weight, types)
    if name == "gpu_spec":
        types = replace(types, allowed=bind_types(trace, generator))
    drawn = generator.choice(len(weight), size=MOST_TASKS, p=weight / weight.sum())
    wanted = np.searchsorted(np.cumsum(types.demand[drawn]), trace.nodes.gpu_milli)
    return ClusterTrace(nodes=trace.nodes, types=types, tasks=drawn[: int(wanted)])


def bind_types(trace: ClusterTrace, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Bind some types to some GPU models, those with many GPUs more often.

    Args:
        trace: The cluster.
        generator: The only source of chance.
    """
    types, nodes = trace.types, trace.nodes
    share = np.bincount(nodes.model, weights=nodes.num_gpus, minlength=len(nodes.models))
    allowed = types.allowed.copy()
    bound = (generator.random(len(allowed)) < BOUND_TYPES) & (types.num_gpus > 0)
    for kind in np.flatnonzero(bound):
        size = min(MODELS_ALLOWED, len(share))
        picked = generator.choice(len(share), size=size, replace=False, p=share / share.sum())
        fits = np.isin(nodes.model, picked) & (nodes.cpu_milli >= types.cpu_milli[kind])
        fits &= nodes.memory_mib >= types.memory_mib[kind]
        if (fits & (nodes.num_gpus >= types.num_gpus[kind])).any():
            allowed[kind] = np.isin(np.arange(len(share)), picked)
    return allowed


def bound_list(scenarios: ClusterScenarios) -> tuple[float, float]:
    """Return what no rule exceeds that declines nothing up to some demand, and that demand.

    Args:
        scenarios: One list.
    """
    for share in TAKEN_SHARES:
        try:
            return compute_cluster_bound(scenarios, taken_share=share).allocation, share
        except BoundError:
            continue
    return compute_cluster_bound(scenarios).allocation, 0.0


def measure(name: str, trace: ClusterTrace, seeds: tuple[int, ...]) -> Row:
    """Place the shuffles of one list by both rules.

    Args:
        name: In `MIXES`.
        trace: The cluster and its default list.
        seeds: Of the shuffles.
    """
    mix = make_mix(trace, name)
    source = InflatedList(mix, num_tasks=MOST_TASKS)
    begun = time.process_time()
    value = ClusterValue(find_cluster_prices(mix), weights())
    seconds = {"prices": time.process_time() - begun}
    tried = source.draw(1, make_generator(TRIED_SEED, "list"))
    on_trial = [play(tried, rule).allocation_at(DEMANDS[-1]) for rule in (value, None)]
    chosen = "value" if on_trial[0] >= on_trial[1] else "fgd"
    lists = [source.draw(1, make_generator(seed, "list")) for seed in seeds]
    played = play_all(lists, {"value": value, "fgd": None}, mix.types)
    seconds |= {rule: max(spent) for rule, spent in played.seconds.items()}
    bound, bound_from = bound_list(lists[0])
    percent = played.percent
    gain = {
        at: np.asarray(percent["value"][at]) - np.asarray(percent["fgd"][at])
        for at in percent["value"]
    }
    return Row(
        mix=name,
        seeds=seeds,
        tasks=played.tasks[0],
        value=percent["value"],
        fgd=percent["fgd"],
        gain={at: _interval(values) for at, values in gain.items()},
        chosen=chosen,
        calibrated_gain={
            at: _interval(values * (chosen == "value")) for at, values in gain.items()
        },
        accepted=played.accepted,
        bound=round(100 * bound, 3),
        bound_from=bound_from,
        cpu_seconds={rule: round(spent, 2) for rule, spent in seconds.items()},
    )


def _interval(values: Floats) -> Estimate:
    return clustered_t_interval(values[None], np.arange(len(values)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print, write.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small made-up cluster, two seeds")
    parser.add_argument("--output", type=Path, default=RESULTS / "placement_mixes.json")
    options = parser.parse_args(arguments)
    trace = read_cluster(smoke=options.smoke)
    seeds = SEEDS[:2] if options.smoke else SEEDS
    rows = []
    for name in MIXES:
        row = measure(name, trace, seeds)
        rows.append(row)
        gain, at_full = row.gain["130"], (row.value["130"], row.fgd["130"])
        print(
            f"{name:14} value {np.mean(at_full[0]):.2f}, FGD {np.mean(at_full[1]):.2f}, gain "
            f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}], bound {row.bound:.2f}; "
            f"chosen {row.chosen}; CPU s {row.cpu_seconds}",
            flush=True,
        )
    write_report(
        options.output,
        {
            "command": "python -m benchmarks.placement_mixes",
            "list_seed": LIST_SEED,
            "rows": [asdict(row) for row in rows],
        },
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
