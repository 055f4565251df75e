"""What benchmarks of placing by value share: the cluster, lists placed by rules, comparisons."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.cluster_tasks import NO_TASK, ClusterScenarios
from data.cluster_trace import ClusterTrace, TaskTypes, load_cluster_trace, make_cluster_trace
from data.traces import locate_traces
from rl.domains.cluster import Nodes, Task
from rl.domains.cluster_experts import EXPERTS
from rl.domains.cluster_simulator import LOST, NodeScores, Placements, simulate
from rl.evaluation.statistics import clustered_t_interval
from utils.seeding import make_generator

SEEDS = tuple(range(42, 52))
DEMANDS = (1.0, 1.1, 1.3)
CLASSES = ("no GPU", "part of a GPU", "one GPU", "several GPUs")
STEP, UNUSABLE = 13.3, 0.09
"""GPU milli in a score, and the part of it that a milli nobody could use costs."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Mean difference over seeds with its 95 % interval, in percent of all GPUs."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Played:
    """What rules made of the same lists, by rule."""

    percent: dict[str, dict[str, list[float]]]
    """GPU in use, of all, by demand in percent; one number per list."""
    accepted: dict[str, dict[str, float]]
    """By class, the share of tasks placed."""
    seconds: dict[str, list[float]]
    """CPU, one number per list."""
    tasks: tuple[int, ...]
    """Of each list."""


class Timed:
    """Scores as another does, and notes how long each scoring of stale nodes takes."""

    def __init__(self, scores: NodeScores) -> None:
        """Begin with no notes.

        Args:
            scores: The other.
        """
        self._scores = scores
        self.seconds: list[float] = []

    def score(
        self, nodes: Nodes, task: Task, model: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Score, and note.

        Args:
            nodes: As in `NodeScores`.
            task: As there.
            model: As there.
        """
        begun = time.process_time_ns()
        found = self._scores.score(nodes, task, model)
        self.seconds.append(1e-9 * (time.process_time_ns() - begun))
        return found


def read_cluster(*, smoke: bool) -> ClusterTrace:
    """Read the OpenB cluster and its default list.

    Args:
        smoke: Take a small made-up cluster instead.

    Raises:
        SystemExit: The trace is not here.
    """
    if smoke:
        return make_cluster_trace(num_nodes=40, num_types=20)
    folder = locate_traces()
    if folder is None:
        raise SystemExit(
            "the OpenB files are not here; see docs/environments/cluster_scheduling.md"
        )
    return load_cluster_trace(folder)


def weights() -> NDArray[np.float32]:
    """Return what the value weighs its features with."""
    return np.asarray([1.0 / STEP, -UNUSABLE / STEP], np.float32)


def play(scenarios: ClusterScenarios, scores: NodeScores | None, episode: int = 0) -> Placements:
    """Place one list.

    Args:
        scenarios: Where it is.
        scores: None for FGD.
        episode: Which.
    """
    generator = make_generator(episode, "rule")
    return simulate(scenarios, EXPERTS["fgd"], generator, episode=episode, value=scores)


def play_all(
    lists: Sequence[ClusterScenarios], rules: Mapping[str, NodeScores | None], types: TaskTypes
) -> Played:
    """Place every list by every rule.

    Args:
        lists: One episode each.
        rules: By name; None for FGD.
        types: The requests.
    """
    placed: dict[str, list[Placements]] = {rule: [] for rule in rules}
    seconds: dict[str, list[float]] = {rule: [] for rule in rules}
    for scenarios in lists:
        for rule, scores in rules.items():
            begun = time.process_time()
            placed[rule].append(play(scenarios, scores))
            seconds[rule].append(time.process_time() - begun)
    tasks = [one.arrivals[0][one.arrivals[0] != NO_TASK] for one in lists]
    return Played(
        percent={
            rule: {
                f"{100 * at:.0f}": [round(100 * one.allocation_at(at), 3) for one in found]
                for at in DEMANDS
            }
            for rule, found in placed.items()
        },
        accepted={rule: _share_placed(found, tasks, types) for rule, found in placed.items()},
        seconds=seconds,
        tasks=tuple(map(len, tasks)),
    )


def sort_classes(types: TaskTypes) -> dict[str, NDArray[np.bool_]]:
    """Tell which types belong to which class.

    Args:
        types: The requests.
    """
    one = types.num_gpus == 1
    part = one & (types.gpu_milli < types.gpu_milli.max())
    masks = (types.num_gpus == 0, part, one & ~part, types.num_gpus > 1)
    return dict(zip(CLASSES, masks, strict=True))


def _share_placed(
    placed: Sequence[Placements], tasks: Sequence[NDArray[np.int32]], types: TaskTypes
) -> dict[str, float]:
    kinds, nodes = np.concatenate(tasks), np.concatenate([one.node for one in placed])
    shares = {}
    for label, mask in sort_classes(types).items():
        asked = mask[kinds]
        got = int((nodes[asked] != LOST).sum())
        shares[label] = round(got / max(1, int(asked.sum())), 4)
    return shares


def compare(found: ArrayLike, other: ArrayLike) -> Gain:
    """Compare two rules seed by seed.

    Args:
        found: Percent of all GPUs, by seed.
        other: The same, or one number for all.
    """
    difference = np.asarray(found) - np.asarray(other)
    interval = clustered_t_interval(difference[None], np.arange(len(difference)))
    ends = (round(one, 3) for one in (interval.mean, interval.low, interval.high))
    return Gain(**dict(zip(("mean", "low", "high"), ends, strict=True)))
