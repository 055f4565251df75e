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


@dataclass(frozen=True, kw_only=True)
class _Rests:
    """Nodes as the value sees them, `[node]` first."""

    cpu: NDArray[np.integer]
    left: NDArray[np.integer]
    """GPU milli."""
    earned: Floats
    """`[node, price]`: by the GPUs, without CPU."""
    copies: Floats
    """`[node, task]`: of one-GPU tasks that the GPUs alone have room for."""


class ClusterValue:
    """Scores nodes for a task by the value that is left; holds no state, threads may share it."""

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
        single = np.flatnonzero(np.asarray(prices.gpus) == 1)
        self._cpu = np.asarray(prices.cpu)[single]
        self._milli = np.asarray(prices.milli)[single]
        share = np.asarray(prices.count, np.float64)[single]
        self._share = share / max(share.sum(), 1.0)
        room = GRAIN * np.arange(GPU_MILLI // GRAIN + 1)
        self._copies = (room[:, None] // self._milli).astype(np.float64)
        tables = [_fill_tables(prices, model) for model in range(len(prices.models))]
        self._part = np.stack([part for part, _ in tables])
        self._whole = np.stack([whole for _, whole in tables])

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
        gpus, milli = int(np.ravel(task.gpus)[0]), int(np.ravel(task.milli)[0])
        cpu = int(np.ravel(task.cpu)[0])
        devices = nodes.devices
        idle = (devices >= GPU_MILLI).sum(-1)
        grain = devices // GRAIN
        now = _Rests(
            cpu=nodes.cpu,
            left=devices.sum(-1),
            earned=self._part[model[:, None], grain].sum(1) + self._whole[model, idle],
            copies=self._copies[grain].sum(1),
        )
        before = self._worth(now)
        first = np.zeros(len(model), np.int64)
        if gpus != 1 or milli == GPU_MILLI:
            taken = self._part[model, -1] * gpus + self._whole[model, idle]
            after = _Rests(
                cpu=now.cpu - cpu,
                left=now.left - gpus * GPU_MILLI,
                earned=now.earned - taken + self._whole[model, idle - gpus],
                copies=now.copies - gpus * self._copies[-1],
            )
            return self._floor(self._worth(after) - before), first
        node, device = np.nonzero(_distinct(devices, milli))
        rest = devices[node, device]
        of, old, new = model[node], rest // GRAIN, (rest - milli) // GRAIN
        still = idle[node] - (rest >= GPU_MILLI)
        after = _Rests(
            cpu=now.cpu[node] - cpu,
            left=now.left[node] - milli,
            earned=now.earned[node]
            + (self._part[of, new] - self._part[of, old])
            + (self._whole[of, still] - self._whole[of, idle[node]]),
            copies=now.copies[node] - self._copies[old] + self._copies[new],
        )
        score = np.full(devices.shape, -np.inf)
        score[node, device] = self._floor(self._worth(after) - before[node])
        best = score.argmax(-1)
        return score[np.arange(len(best)), best], best

    def _worth(self, rests: _Rests) -> Floats:
        """Weigh the features of nodes, in scores."""
        relaxed = (rests.earned + rests.cpu[:, None] * self._cpu_price).min(-1)
        copies = np.minimum(rests.copies, np.floor(rests.cpu[:, None] / self._cpu))
        unusable = rests.left - (copies * self._milli) @ self._share
        return np.asarray(self._weights[0] * relaxed + self._weights[1] * unusable)

    def _floor(self, gain: Floats) -> Floats:
        return np.asarray(np.floor(gain + ROUNDING))


def _distinct(devices: NDArray[np.integer], milli: int) -> NDArray[np.bool_]:
    """Tell which GPUs have room, `[node, 8]`; of equals on a node only the first."""
    equal = devices[:, :, None] == devices[:, None, :]
    earlier = np.tril(np.ones((MAX_DEVICES, MAX_DEVICES), bool), -1)
    return np.asarray((devices >= milli) & ~(equal & earlier).any(-1))


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
