"""Between the words of a placement request and the arrays of a cluster, and back with reasons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import FieldProblem, RequestError
from ai_agents.decision_domain import Situation
from ai_agents.placement_schema import ClusterSnapshot, PlacementRequest, Pod, UnmetNeed
from ai_agents.policy_checks import problem_of, range_warning
from data.cluster_trace import GPU_MILLI, MAX_DEVICES
from rl.artifacts import ValidRange
from rl.deployment.guardrails import find_out_of_range
from rl.domains.cluster import Nodes, Task

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
WORDS = {
    "gpu_model": "a GPU model that will do",
    "gpu": "enough free GPU",
    "cpu": "enough free CPU",
    "memory": "enough free memory",
}


class Needs(NamedTuple):
    """Which nodes have what a pod needs, `[node]` each."""

    gpu_model: Flags
    gpu: Flags
    cpu: Flags
    memory: Flags


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the nodes have left, in arrays."""

    nodes: Nodes
    """Whole numbers, `[node]` and `[node, 8]`."""
    model: Integers
    """`[node]`: position among the models the agent knows."""
    num_gpus: Integers
    """`[node]`"""
    names: Sequence[str]
    """Of the nodes; may be empty."""

    def name(self, position: int) -> str:
        """Return how a node is called.

        Args:
            position: Of the node.
        """
        return self.names[position] if self.names else str(position)


@dataclass(frozen=True, kw_only=True)
class PlacementSituation(Situation):
    """A pod and a cluster, in arrays."""

    cluster: Cluster
    task: Task
    """One number each; `accepted` is `[node]`."""
    needs: Needs
    fitting: Integers
    """Positions of the nodes where the pod fits."""


class PlacementTranslator:
    """Reads requests about clusters of known GPU models."""

    def __init__(self, models: tuple[str, ...], valid: tuple[ValidRange, ...]) -> None:
        """Prepare the names.

        Args:
            models: GPU models that have prices.
            valid: The validated ranges of the card.
        """
        self._index = {name: number for number, name in enumerate(models)}
        self._valid = valid

    def read(self, request: PlacementRequest) -> PlacementSituation:
        """Match names and sizes.

        Args:
            request: Well formed, but perhaps about another cluster.

        Raises:
            RequestError: Names or sizes do not fit; each problem names its field.
        """
        problems = self._pod_problems(request.pod)
        if bool(request.nodes) == (request.snapshot is not None):
            problems.append(problem_of("nodes", "give either nodes or snapshot, and not both"))
        elif request.snapshot is not None:
            problems += self._snapshot_problems(request.snapshot)
        else:
            models = [node.model for node in request.nodes]
            problems += self._model_problems("nodes[{}].model", models)
        if problems:
            raise RequestError(problems)
        return self.situate(request.pod, self._cluster(request))

    def situate(self, pod: Pod, cluster: Cluster) -> PlacementSituation:
        """Tell where a pod fits.

        Args:
            pod: Asks for models that are known.
            cluster: The nodes.
        """
        milli = (pod.gpu_milli or GPU_MILLI) if pod.gpus else 0
        nodes, everywhere = cluster.nodes, np.ones(len(cluster.model), bool)
        known = [self._index[name] for name in pod.gpu_models]
        any_model = not pod.gpus or not known
        needs = Needs(
            gpu_model=everywhere if any_model else np.isin(cluster.model, known),
            gpu=(nodes.devices >= milli).sum(-1) >= pod.gpus if pod.gpus else everywhere,
            cpu=nodes.cpu >= pod.cpu_milli,
            memory=nodes.memory >= pod.memory_mib,
        )
        fits = needs.gpu_model & needs.gpu & needs.cpu & needs.memory
        outside = find_out_of_range(self._values(pod, milli, cluster), self._valid)
        return PlacementSituation(
            outside=outside,
            warnings=tuple(map(range_warning, outside)),
            cluster=cluster,
            task=Task(
                cpu=np.asarray([pod.cpu_milli]),
                memory=np.asarray([pod.memory_mib]),
                gpus=np.asarray([pod.gpus]),
                milli=np.asarray([milli]),
                accepted=needs.gpu_model,
            ),
            needs=needs,
            fitting=np.flatnonzero(fits),
        )

    def _pod_problems(self, pod: Pod) -> list[FieldProblem]:
        problems = self._model_problems("pod.gpu_models[{}]", pod.gpu_models)
        if pod.gpu_milli is not None and pod.gpus == 0:
            problems.append(problem_of("pod.gpu_milli", "given without gpus; leave it out"))
        if pod.gpus > 1 and pod.gpu_milli not in {None, GPU_MILLI}:
            problems.append(problem_of("pod.gpu_milli", f"{pod.gpus} GPUs are whole; leave it out"))
        return problems

    def _model_problems(self, where: str, models: Sequence[str]) -> list[FieldProblem]:
        known = ", ".join(self._index)
        return [
            problem_of(where.format(place), f"unknown GPU model; known: {known}")
            for place, name in enumerate(models)
            if name not in self._index
        ]

    def _snapshot_problems(self, snapshot: ClusterSnapshot) -> list[FieldProblem]:
        size = len(snapshot.model)
        problems = self._model_problems("snapshot.models[{}]", snapshot.models)
        for name in ("free_cpu_milli", "free_memory_mib", "free_gpu_milli", "names"):
            held = len(getattr(snapshot, name))
            if held != size and not (name == "names" and held == 0):
                problems.append(problem_of(f"snapshot.{name}", f"{held} entries; model has {size}"))
        if max(snapshot.model) >= len(snapshot.models):
            last = len(snapshot.models) - 1
            problems.append(problem_of("snapshot.model", f"positions in models end at {last}"))
        return problems

    def _cluster(self, request: PlacementRequest) -> Cluster:
        if request.snapshot is not None:
            columns = request.snapshot
            place = np.asarray([self._index[name] for name in columns.models])
            return _make_cluster(
                place[np.asarray(columns.model)],
                columns.free_cpu_milli,
                columns.free_memory_mib,
                columns.free_gpu_milli,
                names=columns.names,
            )
        rows = request.nodes
        return _make_cluster(
            np.asarray([self._index[node.model] for node in rows]),
            [node.free_cpu_milli for node in rows],
            [node.free_memory_mib for node in rows],
            [node.free_gpu_milli for node in rows],
            names=[node.name for node in rows],
        )

    def _values(self, pod: Pod, milli: int, cluster: Cluster) -> dict[str, list[float]]:
        """Return the numbers of a request by field, as the card's validated ranges name them."""
        nodes = cluster.nodes
        values: dict[str, list[float]] = {
            "pod.cpu_milli": [pod.cpu_milli],
            "pod.memory_mib": [pod.memory_mib],
            "pod.gpus": [pod.gpus],
            "nodes.free_cpu_milli": [float(nodes.cpu.max())],
            "nodes.free_memory_mib": [float(nodes.memory.max())],
            "nodes.gpus": [float(cluster.num_gpus.min()), float(cluster.num_gpus.max())],
        }
        return values | ({"pod.gpu_milli": [milli]} if pod.gpus else {})


def taken_gpus(situation: PlacementSituation, node: int, device: int) -> list[int]:
    """Return the GPUs of a node that the pod gets.

    Args:
        situation: The pod fits the node.
        node: Its position.
        device: The GPU that a fraction goes to; whole GPUs are the first idle ones.
    """
    gpus, milli = int(situation.task.gpus[0]), int(situation.task.milli[0])
    if gpus == 1 and milli < GPU_MILLI:
        return [device]
    idle = np.flatnonzero(situation.cluster.nodes.devices[node] >= GPU_MILLI)
    return [int(one) for one in idle[:gpus]]


def broken_needs(situation: PlacementSituation, node: int, device: int) -> list[str]:
    """Name what the pod would lack on a node and GPU; empty where it fits.

    Args:
        situation: Pod and cluster.
        node: Position of the node.
        device: The GPU that a fraction would go to.
    """
    lacking = [name for name, met in situation.needs._asdict().items() if not met[node]]
    milli = int(situation.task.milli[0])
    is_fraction = int(situation.task.gpus[0]) == 1 and milli < GPU_MILLI
    rests = situation.cluster.nodes.devices[node]
    if (
        is_fraction
        and "gpu" not in lacking
        and not (0 <= device < MAX_DEVICES and rests[device] >= milli)
    ):
        lacking.append("gpu")
    return lacking


def count_unmet(needs: Needs) -> list[UnmetNeed]:
    """Count the nodes that lack something, the commonest lack first.

    Args:
        needs: Of the pod.
    """
    counted = [(name, int((~met).sum())) for name, met in needs._asdict().items()]
    ranked = sorted(counted, key=lambda one: -one[1])
    return [UnmetNeed(need=name, nodes=number) for name, number in ranked if number]


def _make_cluster(
    model: Integers,
    cpu: Sequence[int],
    memory: Sequence[int],
    rests: Sequence[Sequence[int]],
    *,
    names: Sequence[str],
) -> Cluster:
    num_gpus = np.fromiter(map(len, rests), np.int64, len(rests))
    devices = np.zeros((len(rests), MAX_DEVICES), np.int64)
    flat = itertools.chain.from_iterable(rests)
    devices[np.arange(MAX_DEVICES) < num_gpus[:, None]] = np.fromiter(flat, np.int64)
    return Cluster(
        nodes=Nodes(
            cpu=np.asarray(cpu, np.int64), memory=np.asarray(memory, np.int64), devices=devices
        ),
        model=model,
        num_gpus=num_gpus,
        names=names,
    )
