"""A whole list of tasks placed by one rule, fast: only stale scores are computed anew.

A score of (type of task, node) is computed when that type comes and the node has changed since the
type last came; a placement changes one node. Of equal nodes that nobody has used only the first is
scored, which is the one chosen; once it is used, the next takes over its scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

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
)
from rl.domains.cluster_experts import Expert

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
LOST = -1
NEVER = -1


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


class Room(NamedTuple):
    """The most that one more task may ask of a node, or what a task asks."""

    cpu: int
    memory: int
    part: int
    """GPU milli on one GPU; 0 where whole ones are asked for."""
    idle: int
    """Whole GPUs."""


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
        self._requests = [
            Task(
                cpu=rows["type_cpu"][kind, ...],
                memory=rows["type_memory"][kind, ...],
                gpus=rows["type_gpus"][kind, ...],
                milli=rows["type_milli"][kind, ...],
                accepted=np.True_,  # others are left out before
            )
            for kind in range(types)
        ]
        amounts = (rows[f"type_{what}"].tolist() for what in ("cpu", "memory", "gpus", "milli"))
        self._needs = [
            Room(cpu, memory, *((milli, 0) if gpus == 1 and milli < GPU_MILLI else (0, gpus)))
            for cpu, memory, gpus, milli in zip(*amounts, strict=True)
        ]
        self._accepted = accepted & rows["node_active"]
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
        devices = GPU_MILLI * (np.arange(MAX_DEVICES) < rows["node_gpus"][:, None])
        self._left = np.column_stack([rows["node_cpu"], rows["node_memory"], devices])
        self._room = [_measure_room(row) for row in self._left.tolist()]
        self._holds = np.zeros((num_nodes, MAX_DEVICES + 1), np.int32)
        self._score = np.full((types, num_nodes), -np.inf)
        self._device = np.zeros((types, num_nodes), np.int8)
        looks = np.column_stack([self._model, rows["node_active"], self._left])
        self._next_alike = {} if expert.is_random else _chain_alike(looks)
        self._changes = 0
        self._changed_at = np.zeros(num_nodes, np.int64)
        self._changed_at[list(self._next_alike.values())] = NEVER
        """After how many placements a node last changed; `NEVER` for those behind in a chain."""
        self._seen = [NEVER] * types
        """After how many a type last came."""

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
        steps_due = set(due.tolist())
        for step, kind in enumerate(self._tasks.tolist()):
            if step in steps_due:
                fragments[due == step] = self.measure_fragments()
            score = self._refresh(kind)
            chosen = int(score.argmax())
            if score[chosen] == -np.inf:
                continue
            if self._expert.is_random:
                chosen = int(generator.choice(np.flatnonzero(score == score[chosen])))
            node[step] = chosen
            device[step] = self._take(kind, chosen, generator)
        if len(self._tasks) in steps_due:
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
        amount = self._domain.measure_fragments(self.nodes, self._typical)
        return float(amount.sum() / self._typical.total)

    @property
    def nodes(self) -> Nodes:
        """What is left now."""
        return _name(self._left)

    def _refresh(self, kind: int) -> Floats:
        """Return the scores of one type, computed anew where nodes changed since it last came."""
        scores: Floats = self._score[kind]
        seen = self._seen[kind]
        self._seen[kind] = self._changes
        stale = ((self._changed_at > seen) & self._accepted[kind]).nonzero()[0]
        cpu, memory, part, idle = self._needs[kind]
        # Mostly a node or two, for which Python is quicker than `ClusterDomain.fits`.
        fitting = [
            node
            for node in stale.tolist()
            if (room := self._room[node]).cpu >= cpu
            and room.memory >= memory
            and room.part >= part
            and room.idle >= idle
        ]
        if len(fitting) < len(stale):
            scores[stale] = -np.inf
            stale = np.array(fitting, np.int64)
        if fitting:
            scores[stale], self._device[kind][stale] = self._judge(self._requests[kind], stale)
        return scores

    def _judge(self, task: Task, stale: Integers) -> tuple[NDArray[Any], NDArray[Any]]:
        """Score nodes that a task fits, and choose a GPU of each."""
        nodes = _name(self._left.take(stale, 0))
        if self._value is not None:
            return self._value.score(nodes, task, self._model.take(stale))
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
        need, left = self._needs[kind], self._left[node].tolist()
        self._changes += 1
        self._changed_at[node] = self._changes
        following = self._next_alike.pop(node, None)
        if following is not None:
            self._changed_at[following] = 0
            self._score[:, following] = self._score[:, node]
            self._device[:, following] = self._device[:, node]
        left[0] -= need.cpu
        left[1] -= need.memory
        device = LOST
        if need.part:
            device = int(self._device[kind, node])
            if self._expert.device is None:
                device = int(generator.choice(np.flatnonzero(self._left[node, 2:] >= need.part)))
            left[2 + device] -= need.part
        for _ in range(need.idle):
            left[left.index(GPU_MILLI, 2)] = 0
        if need.part or need.idle:
            self._holds[node, need.idle] += 1
        self._left[node], self._room[node] = left, _measure_room(left)
        return device


def _measure_room(left: list[int]) -> Room:
    cpu, memory, *devices = left
    return Room(cpu, memory, max(devices), devices.count(GPU_MILLI))


def _chain_alike(looks: Integers) -> dict[int, int]:
    """Return the next equal node of each; of equals any rule but chance chooses the first."""
    latest: dict[tuple[int, ...], int] = {}
    following = {}
    for node, look in enumerate(map(tuple, looks.tolist())):
        if look in latest:
            following[latest[look]] = node
        latest[look] = node
    return following


def _name(left: Integers) -> Nodes:
    """Name the columns of what nodes have left."""
    return Nodes(cpu=left[:, 0], memory=left[:, 1], devices=left[:, 2:])


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
