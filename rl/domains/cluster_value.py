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
    for are sums over its GPUs, plus what several idle ones have beyond that: two tables are added
    up. CPU joins where prices are compared and copies counted.
    """

    def __init__(self, prices: ClusterPrices, weights: NDArray[np.floating]) -> None:
        """Fill the tables.

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
        self._usable = size * share / max(share.sum(), 1.0)
        """`[task]`: GPU milli that one copy makes use of, by how common the task is."""
        room = GRAIN * np.arange(GPU_MILLI // GRAIN + 1)
        copies = room[:, None] // np.asarray(prices.milli)[single]
        sets = np.arange(MAX_DEVICES + 1)[:, None] // gpus[several]
        parts, wholes = [], []
        for model in range(len(prices.models)):
            part, whole = _fill_tables(prices, model)
            parts.append(np.hstack([part, copies, np.zeros((len(part), len(several)))]))
            wholes.append(np.hstack([whole, np.zeros((len(whole), len(single))), sets]))
        self._part = np.stack(parts)
        """`[model, rest in grains, price and task]`"""
        self._whole = np.stack(wholes)
        """`[model, idle GPUs, price and task]`"""

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
        idle = (nodes.devices >= GPU_MILLI).sum(1)
        sums = self._part[model[:, None], nodes.devices // GRAIN].sum(1) + self._whole[model, idle]
        left = self._worth(sums[:, None], nodes.cpu[:, None])[:, 0]
        return np.asarray(left + self._weights[1] * nodes.devices.sum(1))

    def _score(self, nodes: Nodes, task: Task, model: Integers) -> tuple[Floats, Integers]:
        gpus, milli, cpu = (int(np.ravel(one)[0]) for one in (task.gpus, task.milli, task.cpu))
        devices, of = nodes.devices, model[:, None]
        grain = devices // GRAIN
        full = devices >= GPU_MILLI
        idle = full.sum(1)[:, None]
        each = self._part[of, grain]
        alone = each.sum(1, keepdims=True)
        before = alone + self._whole[of, idle]
        left = np.stack([nodes.cpu, nodes.cpu - cpu], axis=1)
        if gpus != 1 or milli == GPU_MILLI:
            after = alone - gpus * self._part[of, -1] + self._whole[of, idle - gpus]
            worth = self._worth(np.concatenate([before, after], axis=1), left)
            gain = worth[:, 1] - worth[:, 0] + self._weights[1] * -gpus * GPU_MILLI
            return _floor(gain), np.zeros(len(model), np.int64)
        after = alone + (self._part[of, (devices - milli) // GRAIN] - each)
        after += self._whole[of, idle - full]
        worth = self._worth(np.concatenate([before, after], axis=1), left)
        gain = worth[:, 1:] - worth[:, :1] - self._weights[1] * milli
        score = np.where(devices >= milli, _floor(gain), -np.inf)
        best = score.argmax(1)
        return score[np.arange(len(best)), best], best

    def _worth(self, sums: Floats, cpu: NDArray[np.integer]) -> Floats:
        """Weigh the features, in scores; all that is left counts as usable.

        Args:
            sums: `[node, state, price and task]`; the first state is that before the task.
            cpu: `[node, 2]`: left before and after.
        """
        prices, states = len(self._cpu_price), (0, *[1] * (sums.shape[1] - 1))
        paid = (cpu[..., None] * self._cpu_price)[:, states]
        relaxed = (sums[..., :prices] + paid).min(-1)
        room = np.floor((cpu[..., None] + self._unlimited) / self._cpu)[:, states]
        usable = np.minimum(sums[..., prices:], room) @ self._usable
        return np.asarray(self._weights[0] * relaxed - self._weights[1] * usable)


def _find_equals(nodes: Nodes, model: Integers) -> tuple[Integers, Integers]:
    """Return the first of each group of equal nodes, and the group of each node."""
    table = np.column_stack([model, nodes.cpu, nodes.devices]).astype(np.int64)
    rows = table.view(np.dtype((np.void, table.shape[1] * table.itemsize))).ravel()
    _, first, same = np.unique(rows, return_index=True, return_inverse=True)
    return first, same


def _floor(gain: Floats) -> Floats:
    return np.asarray(np.floor(gain + ROUNDING))


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
    part = np.zeros((GPU_MILLI // GRAIN + 1, len(price)))
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
