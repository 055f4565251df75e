"""Tasks that come one by one to the nodes of a GPU cluster: what fits, what is wasted and seen.

The same lines run in training (torch), evaluation and serving (NumPy). Amounts are milli-cores, MiB
and thousandths of a GPU; all are whole numbers, so that both give the same to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from data.cluster_trace import GPU_MILLI, MAX_DEVICES
from utils.errors import ConfigError

NODE_FEATURES, TASK_FEATURES = 9, 7
LARGEST_NODE_GPU = GPU_MILLI * MAX_DEVICES
HIGHEST_SCORE = 100.0


class DeviceRule(Enum):
    """Which GPU of a node a fraction goes to; whole GPUs are the first idle ones."""

    FULLEST = "fullest"
    """The one with least left, the first of equals."""
    FRAGMENTATION = "fragmentation"
    """The one with the highest FGD score, the first of equals."""


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Sizes of the world and rules of the game."""

    num_nodes: int = 1213
    num_types: int = 151
    num_models: int = 7
    num_tasks: int = 11_100
    """Length of an episode: one task comes at each step, until the list ends."""
    device_rule: DeviceRule = DeviceRule.FRAGMENTATION
    fragmentation_weight: float = 0.1
    """lambda: reward lost per percent of the cluster's GPUs by which fragmentation grows."""
    may_decline: bool = False
    """Whether a task that fits somewhere may be declined."""
    largest_cpu: float = 128_000.0
    """Milli-cores of the largest node; scales the observation."""
    largest_memory: float = 1_048_576.0
    """MiB of the largest node; scales the observation."""

    def __post_init__(self) -> None:
        """Refuse empty worlds."""
        if min(self.num_nodes, self.num_types, self.num_models, self.num_tasks) < 1:
            raise ConfigError(
                f"num_nodes, num_types, num_models and num_tasks must be at least 1: {self}"
            )
        weight = self.fragmentation_weight
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"fragmentation_weight must be finite and not negative, not {weight}")
        if not (self.largest_cpu > 0 and self.largest_memory > 0):
            raise ConfigError("largest_cpu and largest_memory must be above 0")

    @property
    def observation_size(self) -> int:
        """Numbers that the scheduler sees."""
        return self.num_nodes * NODE_FEATURES + TASK_FEATURES


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """What nodes have left; any leading axes, NumPy or torch."""

    cpu: Any
    """`[..., node]`, milli-cores."""
    memory: Any
    """`[..., node]`, MiB."""
    devices: Any
    """`[..., node, 8]`: thousandths left on each GPU; 0 where a node has no such GPU."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One request; all fields broadcast against `[..., node]`."""

    cpu: Any
    memory: Any
    gpus: Any
    milli: Any
    """Of each GPU; 0 without GPU."""
    accepted: Any
    """Whether the node exists and, if GPUs are asked for, its model will do."""


@dataclass(frozen=True, kw_only=True)
class TypicalTasks:
    """What fragmentation is measured against; fields broadcast against `[..., node, typical]`."""

    cpu: Any
    gpus: Any
    milli: Any
    count: Any
    """How many of the typical tasks are of this kind."""
    accepted: Any
    """Whether the node's GPU model will do."""

    @property
    def total(self) -> Any:
        """Sum of the counts; broadcasts against `[..., node]`."""
        return self.count.sum(-1)


@dataclass(frozen=True, kw_only=True)
class ClusterView:
    """What is known when a task has come."""

    nodes: Nodes
    holds: Any
    """`[..., node, 9]`: tasks on the node with a fraction (0) and with 1 .. 8 whole GPUs."""
    task: Task
    fits: Any
    """`[..., node]`: where the task can be placed."""
    growth: Any
    """`[..., node]`: GPU milli by which fragmentation would grow there; 0 where it does not fit."""
    fragments: Any
    """`[..., node]`: GPU milli that typical tasks cannot use, on average."""
    arrived: Any
    """`[...]`: GPU asked for so far, this task included, as a share of the cluster's."""
    allocated: Any
    """`[...]`: GPU in use, as a share of the cluster's."""


class ClusterDomain:
    """Feasibility, fragmentation and encoding, on NumPy or torch arrays."""

    def __init__(self, config: ClusterConfig, xp: Any = np) -> None:
        """Keep the rules.

        Args:
            config: The world.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.config = config
        self._xp = xp

    def fits(self, nodes: Nodes, task: Task) -> Any:
        """Tell where a task can be placed: CPU, memory, model, and GPUs with enough left each.

        Args:
            nodes: What is left.
            task: The request.

        Returns:
            `[..., node]`.
        """
        enough = (nodes.devices >= task.milli[..., None]).sum(-1) >= task.gpus
        return task.accepted & (nodes.cpu >= task.cpu) & (nodes.memory >= task.memory) & enough

    def measure_fragments(self, nodes: Nodes, typical: TypicalTasks) -> Any:
        """Measure fragmentation: what is left of a node's GPUs that a typical task cannot use.

        F = sum_m p_m (GPU milli on GPUs with less left than m asks for, if the node can host m;
        all that is left otherwise, and for m without GPU). Weng et al., ATC 2023.

        Args:
            nodes: What is left.
            typical: The typical tasks; p_m is count over total.

        Returns:
            `[..., node]`: p_m times total in place of p_m, so that the sum is a whole number.
        """
        enough, small = self._split(nodes.devices, typical)
        hosts = self._has_cpu(nodes.cpu, typical) & (enough.sum(-2) >= typical.gpus)
        left = nodes.devices.sum(-1)[..., None]
        return self._count(self._xp.where(hosts, small.sum(-2), left), typical)

    def grow_fragments(
        self, nodes: Nodes, task: Task, typical: TypicalTasks, *, candidates: int = MAX_DEVICES
    ) -> Any:
        """Tell by how much fragmentation would grow, for each GPU a fraction might go to.

        Args:
            nodes: What is left.
            task: The request; where it does not fit, the result means nothing.
            typical: The typical tasks.
            candidates: How many GPUs to try; in empty nodes the first stands for all.

        Returns:
            `[..., node, candidate]`, times the sum of the counts; the same for every candidate
            where the task is not a fraction.
        """
        xp = self._xp
        enough, small = self._split(nodes.devices, typical)
        spare, lost = enough.sum(-2) - typical.gpus, small.sum(-2)
        left, cpu = nodes.devices.sum(-1), nodes.cpu - task.cpu
        hosts = self._has_cpu(nodes.cpu, typical) & (spare >= 0)
        before = self._count(xp.where(hosts, lost, left[..., None]), typical)
        rest = (left - task.gpus * task.milli)[..., None]
        has_cpu = self._has_cpu(cpu, typical)
        # Whole GPUs were idle: whatever typical task, they were not among the small ones.
        hosts = has_cpu & (spare >= task.gpus[..., None])
        whole = self._count(xp.where(hosts, lost, rest), typical)
        # A fraction takes a GPU away from typical tasks that no longer find enough on it.
        after = (nodes.devices[..., :candidates] - task.milli[..., None])[..., None]
        enough, small = enough[..., :candidates, :], small[..., :candidates, :]
        still = after >= typical.milli[..., None, :]
        needed = enough & (spare == 0)[..., None, :]
        hosts = (has_cpu & (spare >= 0))[..., None, :] & (still | ~needed)
        other = lost[..., None, :] - small
        unusable = xp.where(hosts, xp.where(still, other, other + after), rest[..., None])
        part = self._count(unusable, typical, per_device=True)
        grown = xp.where(is_fraction(task)[..., None], part, whole[..., None])
        return grown - before[..., None]

    def pick_device(self, nodes: Nodes, task: Task, growth: Any) -> Any:
        """Choose the GPU of each node that a fraction would go to.

        Args:
            nodes: What is left.
            task: The request.
            growth: `[..., node, 8]`, GPU milli: see `grow_fragments`; read only by the rule
                `FRAGMENTATION`.

        Returns:
            `[..., node]`; means nothing where the task does not fit or is not a fraction.
        """
        xp, left = self._xp, nodes.devices
        enough = left >= task.milli[..., None]
        if self.config.device_rule is DeviceRule.FULLEST:
            return xp.where(enough, left, 2 * GPU_MILLI).argmin(-1)
        score = fgd_score(growth, xp)
        return xp.where(enough, score, -xp.ones_like(score)).argmax(-1)

    def take(self, nodes: Nodes, task: Task, device: Any) -> Nodes:
        """Place a task on every node given.

        Args:
            nodes: What is left.
            task: The request; fits all of them.
            device: `[..., node]`: the GPU a fraction goes to; whole GPUs are the first idle ones.
        """
        xp, devices = self._xp, nodes.devices
        idle = devices >= GPU_MILLI
        first = idle & (idle.cumsum(-1) <= task.gpus[..., None])
        number = xp.ones_like(devices).cumsum(-1) - 1
        taken = xp.where(is_fraction(task)[..., None], number == device[..., None], first)
        return Nodes(
            cpu=nodes.cpu - task.cpu,
            memory=nodes.memory - task.memory,
            devices=devices - taken * task.milli[..., None],
        )

    def encode(self, view: ClusterView) -> Any:
        """Observe every node, then the task.

        Args:
            view: What is known, of one task.

        Returns:
            `[..., 9 * node + 7]`, all in [-1, 2]. Per node: CPU and memory left as shares of the
            largest node's, GPU left as a share of eight GPUs, idle GPUs by eight, the largest rest
            on a GPU in use, fragmentation as a share of eight GPUs, whether the task fits, and,
            where it does, the scores of FGD and best fit before they are cut to whole numbers, by
            a hundred. Of the task: CPU and memory in the same shares, GPUs by eight, thousandths
            of each by 1000, share of the nodes it fits, `arrived` and `allocated`.
        """
        xp, config, nodes = self._xp, self.config, view.nodes
        left, fits = nodes.devices, 1.0 * view.fits
        partial = xp.where(left < GPU_MILLI, left, 0 * left)
        features = [
            nodes.cpu / config.largest_cpu,
            nodes.memory / config.largest_memory,
            left.sum(-1) / LARGEST_NODE_GPU,
            (left >= GPU_MILLI).sum(-1) / MAX_DEVICES,
            xp.amax(partial, -1) / GPU_MILLI,
            view.fragments / LARGEST_NODE_GPU,
            fits,
            fits / (1.0 + xp.exp(view.growth / GPU_MILLI)),
            fits * best_fit_share(view, config),
        ]
        per_node = xp.stack([xp.asarray(one, dtype=xp.float32) for one in features], -1)
        task = view.task
        request = [
            task.cpu[..., 0] / config.largest_cpu,
            task.memory[..., 0] / config.largest_memory,
            task.gpus[..., 0] / MAX_DEVICES,
            task.milli[..., 0] / GPU_MILLI,
            fits.sum(-1) / config.num_nodes,
            view.arrived,
            view.allocated,
        ]
        of_task = xp.stack([xp.asarray(one, dtype=xp.float32) for one in request], -1)
        flat = per_node.reshape((*per_node.shape[:-2], -1))
        return xp.clip(xp.concatenate([flat, of_task], -1), -1.0, 2.0)

    def _split(self, devices: Any, typical: TypicalTasks) -> tuple[Any, Any]:
        """Return, `[..., device, typical]`, whether enough is left, and what is left if not."""
        left = devices[..., None]
        enough = left >= typical.milli[..., None, :]
        return enough, left * ~enough

    def _has_cpu(self, cpu: Any, typical: TypicalTasks) -> Any:
        """Tell, `[..., typical]`, which tasks with GPU find enough CPU and the right model."""
        return typical.accepted & (typical.gpus > 0) & (cpu[..., None] >= typical.cpu)

    def _count(self, unusable: Any, typical: TypicalTasks, *, per_device: bool = False) -> Any:
        """Sum over typical tasks, by their counts: whole numbers, exact in float64."""
        count = typical.count[..., None, :] if per_device else typical.count
        return (unusable * count).sum(-1)


def is_fraction(task: Task) -> Any:
    """Tell which tasks ask for a part of one GPU.

    Args:
        task: The request.
    """
    return (task.gpus == 1) & (task.milli < GPU_MILLI)


def fgd_score(growth: Any, xp: Any = np) -> Any:
    """Score a placement by the growth of fragmentation: int(100 sigmoid(-growth / 1000)).

    Args:
        growth: GPU milli.
        xp: Array namespace, `numpy` or `torch`.
    """
    return xp.floor(HIGHEST_SCORE / (1.0 + xp.exp(growth / GPU_MILLI)))


def best_fit_share(view: ClusterView, config: ClusterConfig) -> Any:
    """Score a placement by how full it makes the node: half for CPU, half for GPU, in [0, 1].

    Args:
        view: What is known.
        config: Scale of the CPU.
    """
    cpu = (view.nodes.cpu - view.task.cpu) / config.largest_cpu
    gpu = view.nodes.devices.sum(-1) - view.task.gpus * view.task.milli
    return 1.0 - 0.5 * cpu - 0.5 * gpu / LARGEST_NODE_GPU
