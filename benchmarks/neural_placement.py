"""Does a learned neural value of nodes place better than FGD, and than the value by prices?

Run `OMP_NUM_THREADS=1 python -m benchmarks.neural_placement` with the OpenB files at hand (docs/
environments/cluster_scheduling.md says where they are to be had). A small network says what the
rest of a node is worth; a task goes where the worth falls least. It learns twice: to imitate the
value by prices, and from what nodes had left in the end. Both are played alone and added up; the
share of the second in the sum is chosen on shuffles of their own. Training sees shuffles 1000 to
1016 of the default list at 130 % demand; judged are seeds 42 to 51, all rules on the same arrivals.
Writes benchmarks/results/neural_placement.json. About three minutes of CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import RESULTS, write_report
from benchmarks.neural_node_value import NeuralValue, NodeNetwork
from benchmarks.neural_placement_learning import (
    Fates,
    fit_changes,
    fit_outcomes,
    follow,
    join_pairs,
    watch,
)
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
from data.cluster_tasks import ClusterScenarios, InflatedList
from data.cluster_trace import ClusterTrace
from rl.domains.cluster_presets import cluster_scheduling
from rl.domains.cluster_simulator import NodeScores
from rl.domains.cluster_value import ClusterValue
from rl.evaluation.cluster_prices import find_cluster_prices
from utils.seeding import make_generator

FIRST_TRAINED = 1000
SHARES = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Of the network that learned from outcomes, in the sum."""
TRIED_SHARE = 0.2
"""With this one lists of the second round are placed."""
RULES = ("fgd", "value", "imitation", "outcomes", "sum")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is learned and played."""

    seeds: tuple[int, ...] = SEEDS
    watched: int = 2
    """Lists placed by the teacher, and as many by the network, for imitation."""
    followed: int = 2
    """Lists placed by each rule of a round, for outcomes."""
    tried: int = 3
    """Lists on which the share is chosen."""
    imitation_steps: int = 10_000
    outcome_steps: int = 9_000


SMOKE = Size(seeds=SEEDS[:2], watched=1, followed=1, tried=1, imitation_steps=40, outcome_steps=40)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Both networks and how they came about."""

    imitation: NodeNetwork
    outcomes: NodeNetwork
    share: float
    tried: dict[str, float]
    """Percent of all GPUs in use on the shuffles tried, by share."""
    errors: dict[str, float]
    """Root mean squared errors of the fits, in scores."""
    shuffles: tuple[int, ...]
    """Seeds of the lists that were seen."""
    cpu_seconds: float

    def rule(self, share: float) -> NeuralValue:
        """Return the sum of both.

        Args:
            share: Of the network that learned from outcomes.
        """
        return NeuralValue([(1.0 - share, self.imitation), (share, self.outcomes)])


class Shuffles:
    """Hands out shuffles of the list, each once."""

    def __init__(self, source: InflatedList) -> None:
        """Begin with the first.

        Args:
            source: The list.
        """
        self._source = source
        self.used: list[int] = []

    def next(self, count: int) -> list[ClusterScenarios]:
        """Return some that nobody has seen.

        Args:
            count: How many.
        """
        seeds = [FIRST_TRAINED + len(self.used) + one for one in range(count)]
        self.used += seeds
        return [self._source.draw(1, make_generator(seed, "list")) for seed in seeds]


def learn(trace: ClusterTrace, teacher: ClusterValue, size: Size, seed: int) -> Learned:
    """Learn both networks and choose the share.

    Args:
        trace: The cluster and the list.
        teacher: The value by prices.
        size: How much.
        seed: Of first weights and batches.
    """
    begun = time.process_time()
    torch.manual_seed(seed)
    generator = make_generator(seed, "neural")
    shuffles = Shuffles(cluster_scheduling(trace).source)
    models = len(trace.nodes.models)
    imitation, outcomes = NodeNetwork(models), NodeNetwork(models)
    errors = {}
    pairs = watch(shuffles.next(size.watched), teacher, teacher, generator)
    errors["imitation, 1"] = fit_changes(imitation, pairs, size.imitation_steps // 2, generator)
    alone = NeuralValue([(1.0, imitation)])
    own = watch(shuffles.next(size.watched), alone, teacher, generator)
    pairs = join_pairs([pairs, own])
    errors["imitation, 2"] = fit_changes(imitation, pairs, size.imitation_steps, generator)
    alone = NeuralValue([(1.0, imitation)])
    fates: list[Fates] = []
    for number in (1, 2):
        actors: list[NodeScores | None] = [None, teacher, alone]
        if number == 2:
            blended = NeuralValue([(1.0 - TRIED_SHARE, imitation), (TRIED_SHARE, outcomes)])
            actors = [blended, NeuralValue([(1.0, outcomes)])]
        for actor in actors:
            lists = shuffles.next(size.followed)
            fates += [follow(scenarios, play(scenarios, actor)) for scenarios in lists]
        error = fit_outcomes(outcomes, fates, size.outcome_steps, generator)
        errors[f"outcomes, {number}"] = error
    lists, tried = shuffles.next(size.tried), {}
    for share in SHARES:
        rule = NeuralValue([(1.0 - share, imitation), (share, outcomes)])
        found = [100 * play(scenarios, rule).allocation_at(DEMANDS[-1]) for scenarios in lists]
        tried[str(share)] = round(float(np.mean(found)), 3)
    return Learned(
        imitation=imitation,
        outcomes=outcomes,
        share=float(max(tried, key=lambda name: tried[name])),
        tried=tried,
        errors={name: round(error, 3) for name, error in errors.items()},
        shuffles=tuple(shuffles.used),
        cpu_seconds=round(time.process_time() - begun, 1),
    )


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found; GPU in use in percent of all at 130 % demand."""

    seeds: tuple[int, ...]
    share: float
    tried: dict[str, float]
    errors: dict[str, float]
    training_shuffles: tuple[int, ...]
    training_cpu_seconds: float
    percent: dict[str, list[float]]
    """By rule, one number per seed."""
    gain_over_fgd: dict[str, Gain]
    gain_over_value: dict[str, Gain]
    decision_us: dict[str, dict[str, float]]
    """By rule: CPU of a scoring of stale nodes, and of a whole decision on average."""


def judge(trace: ClusterTrace, teacher: ClusterValue, learned: Learned, size: Size) -> Report:
    """Place the lists of all seeds by every rule.

    Args:
        trace: The cluster and the list.
        teacher: The value by prices.
        learned: The networks.
        size: How much.
    """
    rules: dict[str, Timed | None] = {
        "fgd": None,
        "value": Timed(teacher),
        "imitation": Timed(NeuralValue([(1.0, learned.imitation)])),
        "outcomes": Timed(NeuralValue([(1.0, learned.outcomes)])),
        "sum": Timed(learned.rule(learned.share)),
    }
    source = cluster_scheduling(trace).source
    lists = [source.draw(1, make_generator(seed, "list")) for seed in size.seeds]
    played = play_all(lists, rules, trace.types)
    percent = {name: played.percent[name]["130"] for name in RULES}
    tasks = sum(played.tasks)
    times = {name: {"mean": 1e6 * sum(spent) / tasks} for name, spent in played.seconds.items()}
    for name, scores in rules.items():
        for label, level in (("score_p50", 0.5), ("score_p99", 0.99)) if scores else ():
            times[name][label] = 1e6 * float(np.quantile(scores.seconds, level))
    return Report(
        seeds=size.seeds,
        share=learned.share,
        tried=learned.tried,
        errors=learned.errors,
        training_shuffles=learned.shuffles,
        training_cpu_seconds=learned.cpu_seconds,
        percent=percent,
        gain_over_fgd={name: compare(percent[name], percent["fgd"]) for name in RULES[1:]},
        gain_over_value={name: compare(percent[name], percent["value"]) for name in RULES[2:]},
        decision_us={
            name: {label: round(one, 1) for label, one in found.items()}
            for name, found in times.items()
        },
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Learn, play, print, write.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small made-up cluster, two seeds")
    parser.add_argument("--seed", type=int, default=0, help="of first weights and batches")
    parser.add_argument("--output", type=Path, default=RESULTS / "neural_placement.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    trace, size = read_cluster(smoke=options.smoke), SMOKE if options.smoke else Size()
    teacher = ClusterValue(find_cluster_prices(trace), weights())
    learned = learn(trace, teacher, size, options.seed)
    print(f"learned in {learned.cpu_seconds} CPU s, errors {learned.errors}")
    print(f"share of outcomes {learned.share}, of {learned.tried}", flush=True)
    report = judge(trace, teacher, learned, size)
    for name in RULES:
        print(
            f"{name:10} {np.mean(report.percent[name]):.2f} %; over FGD "
            f"{report.gain_over_fgd.get(name)}, over value {report.gain_over_value.get(name)}, "
            f"us {report.decision_us[name]}"
        )
    write_report(
        options.output,
        {
            "command": "python -m benchmarks.neural_placement",
            "training_seed": options.seed,
            **asdict(report),
        },
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
