"""What the rest of a node is worth at the prices of the tasks to come: a rule that places by it.

A task goes where the cluster loses least value. Prices come from a programme over the whole cluster
(`rl.evaluation.cluster_prices`); the value of one node is what its GPUs could still earn, its CPU
counted (Lagrange), less a price on idle GPU that repeated copies of common tasks could not use.
NumPy only: the simulator and the business agent run the same lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.cluster_trace import GPU_MILLI, MAX_DEVICES
from rl.domains.cluster import LARGEST_NODE_GPU, Nodes, Task, TypicalTasks
from utils.errors import ConfigError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
GRAIN = 10
"""Rests of a GPU are valued in steps of so many thousandths."""
RESTS = GPU_MILLI // GRAIN + 1
FIRST = RESTS * (MAX_DEVICES + 1)
"""Rows of the table for one model."""
GRAINS = np.arange(GPU_MILLI + 1) // GRAIN
IDLE = RESTS * (np.arange(GPU_MILLI + 1) == GPU_MILLI)
"""Rows by which a GPU with so much left moves on; read more quickly than computed."""
TAKEN = RESTS * np.arange(MAX_DEVICES + 1)[:, None] * (0, 1)
"""Rows, before and after, for whole GPUs."""
IS_AFTER = 1.0 * (np.arange(MAX_DEVICES + 1) > 0)
ROUNDING = 1e-9
"""Keeps the last bits of a sum from deciding between two whole scores."""
FEW = 40
"""So many nodes are scored one by one; of more, equal ones are scored once."""
FEATURES = ("relaxed_value", "unusable_idle")
"""What the learned layer weighs: earnings still possible, and idle GPU nobody could use."""


@dataclass(frozen=True, kw_only=True)
class ClusterPrices:
    """What typical tasks are worth, and the prices of CPU at which a node may be judged."""

    models: tuple[str, ...]
    """Names of the GPU models."""
    cpu: tuple[float, ...]
    """Milli-cores of each typical task."""
    gpus: tuple[int, ...]
    """GPUs of each; 0 without."""
    milli: tuple[int, ...]
    """Thousandths of each GPU; 1000 where several are asked for."""
    count: tuple[int, ...]
    """How often each counts."""
    allowed: tuple[tuple[bool, ...], ...]
    """For each task, on which models it may run."""
    worth: tuple[float, ...]
    """GPU milli that one more of each task is worth."""
    cpu_price: tuple[float, ...]
    """GPU milli per milli-core; the lowest value over these counts."""
    largest_cpu: float
    """Milli-cores of the largest node."""
    largest_memory: float
    """MiB of the largest node."""

    def __post_init__(self) -> None:
        """Refuse lists that do not fit one another, and numbers without sense."""
        tasks = len(self.cpu)
        for name in ("gpus", "milli", "count", "allowed", "worth"):
            if len(getattr(self, name)) != tasks or not tasks:
                raise ConfigError(f"{name} has {len(getattr(self, name))} entries, cpu {tasks}")
        if any(len(row) != len(self.models) for row in self.allowed) or not self.models:
            raise ConfigError(f"allowed must have one entry per model: {', '.join(self.models)}")
        numbers = np.asarray([*self.cpu, *self.worth, *self.cpu_price])
        if not self.cpu_price or not (np.isfinite(numbers) & (numbers >= 0)).all():
            raise ConfigError("cpu, worth and cpu_price must be finite and not negative")
        sizes = np.asarray(self.gpus), np.asarray(self.milli)
        if (sizes[0] > MAX_DEVICES).any() or min(size.min() for size in sizes) < 0:
            raise ConfigError(f"gpus must lie in 0 .. {MAX_DEVICES}, milli be at least 0")
        if ((sizes[1] > GPU_MILLI) | ((sizes[0] > 0) & (sizes[1] < 1))).any():
            raise ConfigError(f"milli must lie in 1 .. {GPU_MILLI} where GPUs are asked for")
        if min(self.count) < 0 or sum(self.count) < 1:
            raise ConfigError("count must not be negative, and must name a typical task")

    def typical(self, model: Integers) -> TypicalTasks:
        """Return the tasks that fragmentation is measured against on some nodes.

        Args:
            model: `[node]`, positions in `models`.
        """
        return TypicalTasks(
            cpu=np.asarray(self.cpu),
            gpus=np.asarray(self.gpus),
            milli=np.asarray(self.milli),
            count=np.asarray(self.count, np.float64),
            accepted=(np.asarray(self.allowed, bool) | (np.asarray(self.gpus) == 0)[:, None])[
                :, model
            ].T,
        )


class ClusterValue:
    """Scores nodes for a task by the value that is left; holds no state, threads may share it.

    What the GPUs of a node can earn at each price and how many copies of each task they have room
    for are sums: one row of a table for each GPU in use, by its rest, and one for all idle ones.
    CPU joins where prices are compared and copies counted. Most calls are for a node or two, so
    that their time is the number of array operations, not their sizes.
    """

    def __init__(self, prices: ClusterPrices, weights: NDArray[np.floating]) -> None:
        """Fill the table.

        Args:
            prices: Of the tasks to come.
            weights: `[feature]`, of `FEATURES`, in scores.

        Raises:
            ConfigError: The weights do not fit.
        """
        if weights.shape != (len(FEATURES),):
            raise ConfigError(f"the value weighs {len(FEATURES)} features, not {weights.shape}")
        self._weights = weights.astype(np.float64)
        self._cpu_price = np.asarray(prices.cpu_price)
        gpus = np.asarray(prices.gpus)
        single, several = np.flatnonzero(gpus == 1), np.flatnonzero(gpus > 1)
        order = np.concatenate([single, several])
        cpu = np.asarray(prices.cpu)[order]
        self._cpu = np.where(cpu > 0, cpu, 1.0)
        self._unlimited = np.where(cpu > 0, 0.0, np.inf)
        """Added to the CPU left: tasks without any have room on every node."""
        size = (gpus * np.asarray(prices.milli))[order]
        share = np.asarray(prices.count, np.float64)[order]
        self._usable = self._weights[1] * size * share / max(share.sum(), 1.0)
        """`[task]`: scores for the GPU that one copy makes use of, by how common the task is."""
        room = GRAIN * np.arange(RESTS)
        copies = room[:, None] // np.asarray(prices.milli)[single]
        idle = np.arange(MAX_DEVICES + 1)[:, None]
        sets = idle // gpus[several]
        tables = []
        for model in range(len(prices.models)):
            part, whole = _fill_tables(prices, model)
            rests = np.hstack([part, copies, np.zeros((RESTS, len(several)))])
            several_idle = np.hstack([whole, np.zeros((len(whole), len(single))), sets])
            several_idle += idle * rests[-1]
            rests[-1] = 0.0
            tables.append(several_idle[:, None] + rests)
        self._first = FIRST * np.arange(len(tables))
        self._table = np.concatenate(tables).reshape(-1, tables[0].shape[-1])
        """`[model, idle GPUs, rest in grains]` by `[price and task]`: of that many idle GPUs and
        one in use with that rest. The rest of an idle one is among the idle, and counts nothing."""

    def score(self, nodes: Nodes, task: Task, model: Integers) -> tuple[Floats, Integers]:
        """Score nodes and choose the GPU of each that a fraction goes to.

        Args:
            nodes: What is left, NumPy, `[node]`; the task fits all of them.
            task: The request; `cpu`, `gpus` and `milli` hold one number each.
            model: `[node]`, positions in the models of the prices.

        Returns:
            Whole scores `[node]`, higher is better, and the GPU `[node]`, the first of equals; it
            means nothing where the task is not a fraction.
        """
        if len(model) > FEW:
            first, same = _find_equals(nodes, model)
            nodes = Nodes(
                cpu=nodes.cpu[first], memory=nodes.memory[first], devices=nodes.devices[first]
            )
            score, device = self._score(nodes, task, model[first])
            return score[same], device[same]
        return self._score(nodes, task, model)

    def worth(self, nodes: Nodes, model: Integers) -> Floats:
        """Say what nodes are worth as they are, in scores; a score is the fall of it, cut to whole.

        Args:
            nodes: What is left, NumPy, `[node]`.
            model: `[node]`, positions in the models of the prices.
        """
        first = self._first.take(model)[:, None]
        idle = first + IDLE.take(nodes.devices).sum(1, keepdims=True)
        rests = self._table.take(first + GRAINS.take(nodes.devices), 0)
        sums = rests.sum(1, keepdims=True) + self._table.take(idle, 0)
        left = self._worth(sums, nodes.cpu[:, None])
        return np.asarray(left[:, 0] + self._weights[1] * nodes.devices.sum(1))

    def _score(self, nodes: Nodes, task: Task, model: Integers) -> tuple[Floats, Integers]:
        gpus, milli, cpu = task.gpus.item(), task.milli.item(), task.cpu.item()
        is_part = gpus == 1 and milli < GPU_MILLI
        devices, table, first = nodes.devices, self._table, self._first.take(model)[:, None]
        full = IDLE.take(devices)
        idle = first + full.sum(1, keepdims=True)
        rests = table.take(first + GRAINS.take(devices), 0)
        # The first state is that before the task; then those after it, by GPU for a fraction.
        if is_part:
            # Where too little is left, the row means nothing.
            after = idle - full + GRAINS.take(devices - milli)
            states = table.take(np.concatenate([idle, after], 1), 0)
            states[:, 1:] -= rests
        else:
            states = table.take(idle - TAKEN[gpus], 0)
        states += rests.sum(1, keepdims=True)
        worth = self._worth(states, nodes.cpu[:, None] - cpu * IS_AFTER[: states.shape[1]])
        taken = milli if is_part else gpus * GPU_MILLI
        gain = np.floor(worth[:, 1:] - worth[:, :1] + (ROUNDING - self._weights[1] * taken))
        if not is_part:
            return gain[:, 0], np.zeros(len(model), np.int64)
        gain[devices < milli] = -np.inf
        return gain.max(1), gain.argmax(1)

    def _worth(self, sums: Floats, cpu: NDArray[np.integer]) -> Floats:
        """Weigh the features, in scores; all that is left counts as usable.

        Args:
            sums: `[node, state, price and task]`.
            cpu: `[node, state]`: what is left.
        """
        prices, cpu = len(self._cpu_price), cpu[..., None]
        relaxed = (sums[..., :prices] + cpu * self._cpu_price).min(-1)
        room = np.floor((cpu + self._unlimited) / self._cpu)
        usable = np.minimum(sums[..., prices:], room) @ self._usable
        return np.asarray(self._weights[0] * relaxed - usable)


def _find_equals(nodes: Nodes, model: Integers) -> tuple[Integers, Integers]:
    """Return the first of each group of equal nodes, and the group of each node."""
    table = np.column_stack([model, nodes.cpu, nodes.devices]).astype(np.int64)
    rows = table.view(np.dtype((np.void, table.shape[1] * table.itemsize))).ravel()
    _, first, same = np.unique(rows, return_index=True, return_inverse=True)
    return first, same


def _fill_tables(prices: ClusterPrices, model: int) -> tuple[Floats, Floats]:
    """Return what a rest of a GPU can earn, and what several idle GPUs earn beyond that.

    Both knapsacks may take a task as often as they like.

    Returns:
        `[rest in grains, price]` and `[idle GPU, price]`.
    """
    price = np.asarray(prices.cpu_price)
    runs = np.asarray(prices.allowed, bool)[:, model]
    gpus, size = np.asarray(prices.gpus), -(-np.asarray(prices.milli) // GRAIN)
    gain = np.asarray(prices.worth)[:, None] - np.asarray(prices.cpu)[:, None] * price
    part = np.zeros((RESTS, len(price)))
    one = np.flatnonzero(runs & (gpus == 1))
    for room in range(1, len(part)):
        fitting = one[size[one] <= room]
        best = (gain[fitting] + part[room - size[fitting]]).max(0, initial=0.0)
        part[room] = np.maximum(part[room - 1], best)
    whole = np.zeros((LARGEST_NODE_GPU // GPU_MILLI + 1, len(price)))
    several = np.flatnonzero(runs & (gpus > 1))
    beyond = gain[several] - gpus[several, None] * part[-1]
    for idle in range(1, len(whole)):
        fits = gpus[several] <= idle
        best = (beyond[fits] + whole[idle - gpus[several][fits]]).max(0, initial=0.0)
        whole[idle] = np.maximum(whole[idle - 1], best)
    return part, whole
