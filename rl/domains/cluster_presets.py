"""Clusters to schedule: the whole trace, and a small one whose tasks are always mixed anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from data.cluster_tasks import InflatedList, RelativeLists, RelativesConfig
from data.cluster_trace import ClusterTrace
from rl.domains.cluster import ClusterConfig

TASKS_OF_THE_TRACE = 11_100
"""The list at 130 % has 10,829 tasks on average, with a standard deviation of 46."""

Source = TypeVar("Source", InflatedList, RelativeLists)


@dataclass(frozen=True, kw_only=True)
class ClusterPreset(Generic[Source]):
    """The rules and the laws of chance of one preset."""

    config: ClusterConfig
    source: Source


def cluster_scheduling(
    trace: ClusterTrace, *, demand_ratio: float = 1.3, num_tasks: int = TASKS_OF_THE_TRACE
) -> ClusterPreset[InflatedList]:
    """Return the whole cluster of a trace and its list, inflated to 130 % of the GPUs.

    Args:
        trace: The cluster and the list.
        demand_ratio: GPUs asked for, as a share of those in the cluster.
        num_tasks: Length of an episode, at least that of every list.

    Raises:
        ConfigError: A number is out of range.
    """
    source = InflatedList(trace, num_tasks=num_tasks, demand_ratio=demand_ratio)
    return ClusterPreset(config=_size(trace, len(trace.nodes.model), num_tasks), source=source)


def small_cluster(
    trace: ClusterTrace, relatives: RelativesConfig | None = None
) -> ClusterPreset[RelativeLists]:
    """Return a part of a cluster, for learning: every episode draws other nodes and tasks.

    Args:
        trace: Where nodes and types of tasks come from.
        relatives: Sizes, spread and what is switched on; 40 nodes and 400 tasks if left out.
    """
    drawn = relatives or RelativesConfig()
    config = _size(trace, drawn.num_nodes, drawn.num_tasks)
    return ClusterPreset(config=config, source=RelativeLists(trace, drawn))


def _size(trace: ClusterTrace, num_nodes: int, num_tasks: int) -> ClusterConfig:
    types, models = trace.types.allowed.shape
    return ClusterConfig(
        num_nodes=num_nodes, num_types=types, num_models=models, num_tasks=num_tasks
    )
