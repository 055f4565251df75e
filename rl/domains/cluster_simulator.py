"""A whole list of tasks placed by one rule, fast: only stale scores are computed anew.

A score of (type of task, node) is computed when that type comes and the node has changed since the
type last came; a placement changes one node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.cluster_tasks import NO_TASK, ClusterScenarios
from data.cluster_trace import GPU_MILLI, MAX_DEVICES
from rl.domains.cluster import (
    ClusterConfig,
    ClusterDomain,
    ClusterView,
    DeviceRule,
    Nodes,
    Task,
    TypicalTasks,
    is_fraction,
)
from rl.domains.cluster_experts import Expert

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
LOST = -1


class NodeScores(Protocol):
    """What may score nodes in place of a rule, as `rl.domains.cluster_value.ClusterValue` does."""

    def score(self, nodes: Nodes, task: Task, model: Integers) -> tuple[Floats, Integers]:
        """Score nodes that a task fits, and choose a GPU of each.

        Args:
            nodes: What is left, NumPy, `[node]`.
            task: The request; `cpu`, `gpus` and `milli` hold one number each.
            model: `[node]`: GPU model.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Placements:
    """What became of a list of tasks, `[task]` each; amounts in GPU milli."""

    node: Integers
    """-1 where the task was lost."""
    device: Integers
    """GPU that a fraction went to; -1 for other tasks."""
    arrived: Integers
    """Asked for so far, this task included."""
    allocated: Integers
    """In use after the task."""
    fragments: Floats
    """`[mark]`: of the whole cluster when the marks of demand were reached."""
    capacity: int
    """Of the cluster."""

    def allocation_at(self, demand: float) -> float:
        """Return the share of the cluster's GPU in use when so much had been asked for.

        Args:
            demand: As a share of the cluster's GPU; the end of the list, if it is not reached.
        """
        within = int(np.searchsorted(self.arrived, demand * self.capacity, side="right"))
        return float(self.allocated[within - 1]) / self.capacity if within else 0.0


class ClusterSimulator:
    """One cluster with one list of tasks, placed by one rule from an empty cluster on."""

    def __init__(
        self,
        scenarios: ClusterScenarios,
        episode: int,
        expert: Expert,
        value: NodeScores | None = None,
    ) -> None:
        """Begin with an empty cluster.

        Args:
            scenarios: Where the cluster and its list are.
            episode: Which of them.
            expert: The rule.
            value: Scores nodes and GPUs in place of the rule; of equals the first node.
        """
        rows = {name: array[episode] for name, array in vars(scenarios).items()}
        self._expert, self._value = expert, value
        self._model = rows["node_model"].astype(np.int64)
        self._tasks = rows["arrivals"][rows["arrivals"] != NO_TASK]
        types, num_nodes = len(rows["type_cpu"]), len(rows["node_cpu"])
        self.config = ClusterConfig(
            num_nodes=num_nodes,
            num_types=types,
            num_models=rows["type_allowed"].shape[1],
            num_tasks=len(rows["arrivals"]),
            device_rule=expert.device or DeviceRule.FULLEST,
        )
        self._domain = ClusterDomain(self.config)
        needs_gpu = rows["type_gpus"] > 0
        accepted = rows["type_allowed"][:, rows["node_model"]] | ~needs_gpu[:, None]
        self._accepted = accepted & rows["node_active"]
        self._requests = [
            Task(
                cpu=rows["type_cpu"][kind, None],
                memory=rows["type_memory"][kind, None],
                gpus=rows["type_gpus"][kind, None],
                milli=rows["type_milli"][kind, None],
                accepted=self._accepted[kind],
            )
            for kind in range(types)
        ]
        common = np.flatnonzero(rows["typical"])
        self._typical = TypicalTasks(
            cpu=rows["type_cpu"][common],
            gpus=rows["type_gpus"][common],
            milli=rows["type_milli"][common],
            count=rows["typical"][common].astype(np.float64),
            accepted=accepted[common].T,
        )
        self._demand = (rows["type_gpus"] * rows["type_milli"]).astype(np.int64)
        self.capacity = GPU_MILLI * int(rows["node_gpus"].sum())
        number = np.arange(MAX_DEVICES)
        self._cpu, self._memory = rows["node_cpu"].copy(), rows["node_memory"].copy()
        self._devices = GPU_MILLI * (number < rows["node_gpus"][:, None]).astype(np.int32)
        self._holds = np.zeros((num_nodes, MAX_DEVICES + 1), np.int32)
        self._score = np.full((types, num_nodes), -np.inf)
        self._device = np.zeros((types, num_nodes), np.int8)
        self._changed: list[int] = list(range(num_nodes))
        self._seen = np.zeros(types, np.int64)

    def run(self, generator: np.random.Generator, marks: tuple[float, ...] = ()) -> Placements:
        """Place the whole list; call it once.

        Args:
            generator: For rules that draw.
            marks: Demand, as shares of the cluster's GPU, at which fragmentation is measured.
        """
        arrived = np.cumsum(self._demand[self._tasks])
        node = np.full(len(self._tasks), LOST)
        device = np.full(len(self._tasks), LOST)
        fragments = np.zeros(len(marks))
        due = np.searchsorted(arrived, np.asarray(marks) * self.capacity, side="right")
        for step, kind in enumerate(self._tasks):
            for mark in np.flatnonzero(due == step) if step in due else ():
                fragments[mark] = self.measure_fragments()
            self._refresh(kind)
            score = self._score[kind]
            chosen = int(score.argmax())
            if score[chosen] == -np.inf:
                continue
            if self._expert.is_random:
                chosen = int(generator.choice(np.flatnonzero(score == score[chosen])))
            node[step] = chosen
            device[step] = self._take(kind, chosen, generator)
        fragments[due == len(self._tasks)] = self.measure_fragments()
        return Placements(
            node=node,
            device=device,
            arrived=arrived,
            allocated=np.cumsum(np.where(node != LOST, self._demand[self._tasks], 0)),
            fragments=fragments,
            capacity=self.capacity,
        )

    def measure_fragments(self) -> float:
        """Measure the fragmentation of the whole cluster now, in GPU milli."""
        everything = slice(None)
        amount = self._domain.measure_fragments(self._nodes(everything), self._typical)
        return float(amount.sum() / self._typical.total)

    @property
    def nodes(self) -> Nodes:
        """What is left now."""
        return self._nodes(slice(None))

    def _nodes(self, chosen: slice | Integers) -> Nodes:
        return Nodes(
            cpu=self._cpu[chosen], memory=self._memory[chosen], devices=self._devices[chosen]
        )

    def _refresh(self, kind: int) -> None:
        """Compute the scores of one type where nodes have changed since it last came."""
        seen, self._seen[kind] = self._seen[kind], len(self._changed)
        if seen == len(self._changed):
            return
        stale = np.fromiter(dict.fromkeys(self._changed[seen:]), np.int64)
        request, nodes = self._requests[kind], self._nodes(stale)
        task = Task(**{**vars(request), "accepted": request.accepted[stale]})
        fits = self._domain.fits(nodes, task)
        self._score[kind, stale[~fits]] = -np.inf
        stale, nodes = stale[fits], self._nodes(stale[fits])
        if not len(stale):
            return
        score, device = self._judge(nodes, task, stale)
        self._score[kind, stale], self._device[kind, stale] = score, device

    def _judge(
        self, nodes: Nodes, task: Task, stale: Integers
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Score nodes that a task fits, and choose a GPU of each."""
        if self._value is not None:
            return self._value.score(nodes, task, self._model[stale])
        growth = np.zeros((len(stale), MAX_DEVICES))
        if self._expert.device is DeviceRule.FRAGMENTATION:
            typical = TypicalTasks(
                **{**vars(self._typical), "accepted": self._typical.accepted[stale]}
            )
            growth = self._domain.grow_fragments(nodes, task, typical) / typical.total
        device = self._domain.pick_device(nodes, task, growth)
        view = ClusterView(
            nodes=nodes,
            holds=self._holds[stale],
            task=task,
            fits=np.ones(len(stale), bool),
            growth=np.take_along_axis(growth, device[:, None], -1)[:, 0],
            fragments=np.zeros(len(stale)),
            arrived=np.zeros(()),
            allocated=np.zeros(()),
        )
        return self._expert.score(view, self.config), device

    def _take(self, kind: int, node: int, generator: np.random.Generator) -> int:
        """Place a task on one node; return the GPU that a fraction goes to."""
        request, devices = self._requests[kind], self._devices[node]
        self._changed.append(node)
        self._cpu[node] -= request.cpu[0]
        self._memory[node] -= request.memory[0]
        gpus, milli = int(request.gpus[0]), int(request.milli[0])
        if not gpus:
            return LOST
        if not is_fraction(request)[0]:
            self._holds[node, gpus] += 1
            devices[np.flatnonzero(devices == GPU_MILLI)[:gpus]] = 0
            return LOST
        self._holds[node, 0] += 1
        device = int(self._device[kind, node])
        if self._expert.device is None:
            device = int(generator.choice(np.flatnonzero(devices >= milli)))
        devices[device] -= milli
        return device


def simulate(
    scenarios: ClusterScenarios,
    expert: Expert,
    generator: np.random.Generator,
    *,
    episode: int = 0,
    marks: tuple[float, ...] = (),
    value: NodeScores | None = None,
) -> Placements:
    """Place the list of one episode by one rule.

    Args:
        scenarios: Where the cluster and its list are.
        expert: The rule.
        generator: For rules that draw.
        episode: Which of the scenarios.
        marks: Demand, as shares of the cluster's GPU, at which fragmentation is measured.
        value: Scores nodes and GPUs in place of the rule.
    """
    return ClusterSimulator(scenarios, episode, expert, value).run(generator, marks)
