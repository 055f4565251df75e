"""Episodes of a GPU cluster to which tasks come one by one: the trace, inflated, and its relatives.

A smaller stage of a curriculum has fewer nodes, tasks or GPU models in arrays of the same shapes:
nodes that are switched off have no capacity and take no part, and a list that ends early is padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.cluster_trace import (
    GPU_MILLI,
    MAX_DEVICES,
    ClusterTrace,
    Flags,
    Integers,
    NodeTable,
    TaskTypes,
)
from data.scenario import ScenarioArrays, ScenarioError
from utils.errors import ConfigError

Counts = NDArray[np.int32]
Columns = dict[str, NDArray[Any]]
NO_TASK = -1
TYPICAL_SHARE = 0.95
MOST_TYPICAL = 250_000
"""Fragmentation is counted in whole numbers: this many tasks times 8000 milli fit in 31 bits."""
WEIGHT_SCALE = 2000
"""Counts of a drawn mix sum to about this many: times 8000 milli they fit in a float32."""


@dataclass(frozen=True, kw_only=True)
class ClusterScenarios(ScenarioArrays):
    """Clusters, the types of their tasks and the order in which tasks come."""

    arrivals: Counts
    """`[episode, time]`: type of the task that comes at each step; -1 after the last one."""
    node_active: Flags
    """`[episode, node]`: False where there is no such node."""
    node_cpu: Counts
    """`[episode, node]`, milli-cores."""
    node_memory: Counts
    """`[episode, node]`, MiB."""
    node_gpus: Counts
    """`[episode, node]`, 0 to 8."""
    node_model: Counts
    """`[episode, node]`: GPU model."""
    type_cpu: Counts
    """`[episode, type]`, milli-cores."""
    type_memory: Counts
    """`[episode, type]`, MiB."""
    type_gpus: Counts
    """`[episode, type]`: GPUs asked for; 0 for tasks without GPU."""
    type_milli: Counts
    """`[episode, type]`: thousandths of each GPU."""
    type_allowed: Flags
    """`[episode, type, model]`: GPU models the task may run on."""
    typical: Counts
    """`[episode, type]`: how often the type counts among the typical tasks; 0 for rare ones."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        episodes, nodes = self.node_active.shape
        types, models = self.type_allowed.shape[1:]
        for name, value in vars(self).items():
            expected = {
                "arrivals": (episodes, self.arrivals.shape[-1]),
                "type_allowed": (episodes, types, models),
            }.get(name, (episodes, nodes if name.startswith("node") else types))
            if value.shape != expected:
                raise ScenarioError(f"{name} has shape {value.shape}, not {expected}")
            if not np.issubdtype(value.dtype, np.integer) and value.dtype != bool:
                raise ScenarioError(f"{name} must hold whole numbers, not {value.dtype}")
            if value.dtype != bool and (value < (NO_TASK if name == "arrivals" else 0)).any():
                raise ScenarioError(f"{name} holds negative values")
        if (self.arrivals >= types).any():
            raise ScenarioError(f"arrivals names a type beyond the {types} there are")
        if (np.diff((self.arrivals != NO_TASK).astype(np.int8), axis=1) > 0).any():
            raise ScenarioError("arrivals goes on after a -1, which marks the end of the list")
        self._check_gpus()
        held = self.node_cpu + self.node_memory + self.node_gpus
        if (held[~self.node_active] > 0).any() or (self.node_model >= models).any():
            raise ScenarioError("a node that is switched off has capacity, or a model is unknown")
        total = self.typical.sum(1)
        if not ((total > 0) & (total <= MOST_TYPICAL)).all():
            raise ScenarioError(
                f"typical must sum to 1 .. {MOST_TYPICAL}; name a typical task, or scale them down"
            )

    def _check_gpus(self) -> None:
        if (self.node_gpus > MAX_DEVICES).any() or (self.type_gpus > MAX_DEVICES).any():
            raise ScenarioError(f"a node has, and a task asks for, at most {MAX_DEVICES} GPUs")
        if ((self.type_gpus > 1) & (self.type_milli != GPU_MILLI)).any():
            raise ScenarioError(f"a task of several GPUs takes {GPU_MILLI} of each: type_milli")
        if (self.node_gpus.sum(1) == 0).any():
            raise ScenarioError("node_gpus is 0 everywhere; GPU shares need a GPU in every episode")


def count_typical(types: TaskTypes, counts: Integers) -> Integers:
    """Find the typical tasks: the most frequent requests that make up 95 % of a list.

    Requests that differ in memory only are one, as in the published simulator; the first of their
    types stands for all.

    Args:
        types: The requests.
        counts: How often each occurs, `[type]`.

    Returns:
        `[type]`: the count of the request, 0 where it is rare or another type stands for it.
    """
    columns = [types.cpu_milli, types.num_gpus, types.gpu_milli, *types.allowed.T]
    _, first, group = np.unique(
        np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True
    )
    total = np.bincount(group.ravel(), weights=counts).astype(np.int64)
    order = np.lexsort((first, -total))
    before = np.cumsum(total[order]) - total[order]
    kept = order[before < TYPICAL_SHARE * total.sum()]
    typical = np.zeros(len(counts), np.int64)
    typical[first[kept]] = total[kept]
    return typical


def inflate(
    tasks: Integers,
    weights: Integers,
    demand: Integers,
    *,
    limit: float,
    generator: np.random.Generator,
) -> Integers:
    """Append tasks drawn at random until the next would exceed a demand, then shuffle.

    Args:
        tasks: Types of the list to begin with, `[task]`; may be empty.
        weights: How often each type is drawn, `[type]`.
        demand: GPU milli of one task of each type, `[type]`.
        limit: GPU milli of the finished list; a list that is beyond it already stays as it is.
        generator: The only source of chance.

    Raises:
        ConfigError: No type that asks for a GPU can be drawn, so the list would never end.
    """
    if not (weights * demand).any():
        raise ConfigError("no task that asks for a GPU has a weight; the list would never end")
    chance = weights / weights.sum()
    total, parts = int(demand[tasks].sum()), [tasks]
    while total <= limit:
        drawn = generator.choice(len(weights), size=1024, p=chance)
        reached = total + np.cumsum(demand[drawn])
        fitting = int(np.searchsorted(reached, limit, side="right"))
        parts.append(drawn[:fitting])
        if fitting < len(drawn):
            break
        total = int(reached[-1])
    return generator.permutation(np.concatenate(parts))


class InflatedList:
    """A scenario source: one cluster and its list of tasks, inflated and shuffled anew."""

    def __init__(self, trace: ClusterTrace, *, num_tasks: int, demand_ratio: float = 1.3) -> None:
        """Keep cluster and list.

        Args:
            trace: The cluster and the list.
            num_tasks: Length of an episode.
            demand_ratio: GPUs asked for, as a share of those in the cluster.

        Raises:
            ConfigError: A size is out of range.
        """
        if num_tasks < 1 or not demand_ratio > 0:
            raise ConfigError("num_tasks must be at least 1 and demand_ratio above 0")
        self._trace, self._num_tasks, self._ratio = trace, num_tasks, demand_ratio
        self._typical = count_typical(trace.types, trace.counts)

    def draw(self, num_episodes: int, generator: np.random.Generator) -> ClusterScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.

        Raises:
            ConfigError: A list is longer than an episode.
        """
        trace, arrivals = self._trace, np.full((num_episodes, self._num_tasks), NO_TASK, np.int32)
        for row in arrivals:
            # Drawn uniformly from the list: each type as often as it occurs there.
            drawn = inflate(
                trace.tasks,
                trace.counts,
                trace.types.demand,
                limit=self._ratio * trace.nodes.gpu_milli,
                generator=generator,
            )
            if len(drawn) > self._num_tasks:
                raise ConfigError(
                    f"a list has {len(drawn)} tasks, an episode {self._num_tasks}; raise num_tasks"
                )
            row[: len(drawn)] = drawn
        nodes = [_pad_nodes(trace.nodes, np.arange(len(trace.nodes.model)), len(trace.nodes.model))]
        return _join(arrivals, nodes * num_episodes, trace.types, [self._typical] * num_episodes)


@dataclass(frozen=True, kw_only=True)
class RelativesConfig:
    """How far drawn worlds are from their ancestor, and how much of them is switched on."""

    num_nodes: int = 40
    num_tasks: int = 400
    demand_ratio: float = 1.3
    """GPUs asked for, as a share of those that are switched on; lists end at `active_tasks`."""
    weight_spread: float = 1.0
    """Standard deviation of the logarithm by which every type's frequency is changed."""
    kind_spread: float = 0.5
    """The same, for all tasks with several GPUs, with a fraction, and without GPU together."""
    spec_probability: float = 0.1
    """Chance that a type with GPUs is bound to some of the models."""
    active_nodes: int | None = None
    """None switches all of `num_nodes` on; fewer is an easier stage of the same shape."""
    active_tasks: int | None = None
    active_models: int | None = None
    """GPU models in the cluster, the most frequent ones first; None for all."""

    def __post_init__(self) -> None:
        """Refuse stages larger than the world, and laws that make no sense."""
        for active, size, name in (
            (self.active_nodes, self.num_nodes, "nodes"),
            (self.active_tasks, self.num_tasks, "tasks"),
        ):
            if size < 1 or (active is not None and not 1 <= active <= size):
                raise ConfigError(f"active_{name} must lie in 1 .. num_{name}={size}, not {active}")
        if self.active_models is not None and self.active_models < 1:
            raise ConfigError(f"active_models must be at least 1, not {self.active_models}")
        if not self.demand_ratio > 0 or min(self.weight_spread, self.kind_spread) < 0:
            raise ConfigError("demand_ratio must be above 0 and the spreads not negative")
        if not 0 <= self.spec_probability <= 1:
            raise ConfigError(f"spec_probability must lie in [0, 1], not {self.spec_probability}")


class RelativeLists:
    """A scenario source: parts of a cluster with mixes of tasks that are new in every episode."""

    def __init__(self, trace: ClusterTrace, config: RelativesConfig) -> None:
        """Keep the ancestor.

        Args:
            trace: Where nodes and types come from.
            config: How far the worlds are from it.
        """
        self._trace, self._config = trace, config
        frequency = np.bincount(trace.nodes.model, minlength=len(trace.nodes.models))
        kept = np.argsort(-frequency, kind="stable")[: config.active_models]
        self._models = kept
        self._candidates = np.flatnonzero(np.isin(trace.nodes.model, kept))

    def draw(self, num_episodes: int, generator: np.random.Generator) -> ClusterScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.

        Raises:
            ConfigError: No task that asks for a GPU fits a drawn cluster.
        """
        config, types = self._config, self._trace.types
        arrivals = np.full((num_episodes, config.num_tasks), NO_TASK, np.int32)
        nodes, typical, allowed = [], [], []
        length = config.active_tasks or config.num_tasks
        for row in arrivals:
            chosen = generator.choice(
                self._candidates,
                size=config.active_nodes or config.num_nodes,
                replace=len(self._candidates) < config.num_nodes,
            )
            nodes.append(_pad_nodes(self._trace.nodes, np.sort(chosen), config.num_nodes))
            allowed.append(self._draw_specs(generator))
            weights = self._draw_weights(nodes[-1], allowed[-1], generator)
            demand = types.demand
            limit = config.demand_ratio * 1000 * int(nodes[-1]["node_gpus"].sum())
            none = np.zeros(0, np.int64)
            drawn = inflate(none, weights, demand, limit=limit, generator=generator)[:length]
            row[: len(drawn)] = drawn
            typical.append(count_typical(types, weights))
        joined = _join(arrivals, nodes, types, typical)
        return ClusterScenarios(**{**vars(joined), "type_allowed": np.stack(allowed)})

    def _draw_specs(self, generator: np.random.Generator) -> Flags:
        """Bind some types to some of the models that are there."""
        types = self._trace.types
        bound = generator.random(len(types.num_gpus)) < self._config.spec_probability
        some = generator.random(types.allowed.shape) < 0.5
        some[np.arange(len(some)), generator.choice(self._models, len(some))] = True
        bound &= types.num_gpus > 0
        return np.asarray(np.where(bound[:, None], types.allowed & some, types.allowed))

    def _draw_weights(
        self, nodes: Columns, allowed: Flags, generator: np.random.Generator
    ) -> Integers:
        """Change frequencies; types that no node can take, even empty, are left out."""
        config, types = self._config, self._trace.types
        kinds = [types.num_gpus > 1, (types.gpu_milli > 0) & (types.gpu_milli < 1000)]
        kinds.append(types.num_gpus == 0)
        shift = config.weight_spread * generator.standard_normal(len(types.num_gpus))
        for kind, amount in zip(kinds, generator.standard_normal(len(kinds)), strict=True):
            shift += config.kind_spread * amount * kind
        fits = (
            (nodes["node_cpu"] >= types.cpu_milli[:, None])
            & (nodes["node_memory"] >= types.memory_mib[:, None])
            & (nodes["node_gpus"] >= types.num_gpus[:, None])
            & (allowed[:, nodes["node_model"]] | (types.num_gpus == 0)[:, None])
            & nodes["node_active"]
        ).any(1)
        weights = self._trace.counts * np.exp(shift) * fits
        scaled = np.round(WEIGHT_SCALE * weights / max(weights.sum(), 1e-9))
        return np.asarray(scaled, np.int64)


def _pad_nodes(nodes: NodeTable, chosen: Integers, size: int) -> Columns:
    """Return the chosen nodes, then nodes that are switched off."""

    def pad(values: Integers) -> Counts:
        return np.asarray(np.pad(values[chosen], (0, size - len(chosen))), np.int32)

    return {
        "node_active": np.arange(size) < len(chosen),
        "node_cpu": pad(nodes.cpu_milli),
        "node_memory": pad(nodes.memory_mib),
        "node_gpus": pad(nodes.num_gpus),
        "node_model": pad(nodes.model),
    }


def _join(
    arrivals: Counts, nodes: list[Columns], types: TaskTypes, typical: list[Integers]
) -> ClusterScenarios:
    episodes = len(arrivals)

    def repeat(values: Integers) -> Counts:
        return np.tile(values.astype(np.int32), (episodes, 1))

    return ClusterScenarios(
        arrivals=arrivals,
        **{name: np.stack([one[name] for one in nodes]) for name in nodes[0]},
        type_cpu=repeat(types.cpu_milli),
        type_memory=repeat(types.memory_mib),
        type_gpus=repeat(types.num_gpus),
        type_milli=repeat(types.gpu_milli),
        type_allowed=np.tile(types.allowed, (episodes, 1, 1)),
        typical=np.stack(typical).astype(np.int32),
    )
