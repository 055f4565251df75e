"""What the scenarios of a cluster say, in the shapes that a step of all copies needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from data.cluster_tasks import NO_TASK, ClusterScenarios
from data.cluster_trace import GPU_MILLI, MAX_DEVICES
from data.scenario import ScenarioBank
from rl.domains.cluster import ClusterConfig, TypicalTasks
from utils.errors import ConfigError

ClusterBank = ScenarioBank[ClusterScenarios]


@dataclass(frozen=True, kw_only=True)
class ClusterRows:
    """What the scenarios of the current episodes say, in the shapes that a step needs."""

    cpu: Tensor
    """`[env, type]`; so are the next three."""
    memory: Tensor
    gpus: Tensor
    milli: Tensor
    accepted: Tensor
    """`[env, type, node]`"""
    typical: TypicalTasks
    """`[env, 1, typical]`; accepted is `[env, node, typical]`."""
    typical_allowed: Tensor
    """`[env, typical, model]`"""
    arrived: Tensor
    """`[env, time]`, GPU milli asked for up to and including each step."""
    cpu_capacity: Tensor
    """`[env]`"""
    gpu_capacity: Tensor
    """`[env]`, milli."""
    total: Tensor
    """`[env]`: sum of the counts of typical tasks."""


def read_rows(rows: Mapping[str, Tensor]) -> ClusterRows:
    """Read the scenarios of the current episodes.

    Args:
        rows: Every array of `ClusterScenarios`, `[env, ...]`.
    """
    cpu, gpus = rows["type_cpu"].float(), rows["type_gpus"].float()
    milli = rows["type_milli"].float()
    of_node = rows["node_model"].long()[:, None].expand(-1, cpu.shape[1], -1)
    accepted = rows["type_allowed"].gather(2, of_node) | (gpus == 0)[..., None]
    accepted = accepted & rows["node_active"][:, None]
    counts = rows["typical"]
    size, most = int((counts > 0).sum(1).max()), int(counts.sum(1).max())
    # Sums of whole numbers below 2^24 are exact in float32, and twice as fast.
    exact = torch.float32 if most * GPU_MILLI * MAX_DEVICES < 2**24 else torch.float64
    common = counts.argsort(dim=1, descending=True, stable=True)[:, :size]
    across = common[..., None].expand(-1, -1, accepted.shape[2])
    typical = TypicalTasks(
        cpu=cpu.gather(1, common)[:, None],
        gpus=gpus.gather(1, common)[:, None],
        milli=milli.gather(1, common)[:, None],
        count=counts.gather(1, common).to(exact)[:, None],
        accepted=accepted.gather(1, across).transpose(1, 2),
    )
    models = int(rows["type_allowed"].shape[2])
    kind = rows["arrivals"].long()
    demand = (gpus * milli).gather(1, kind.clamp(min=0)) * (kind != NO_TASK)
    return ClusterRows(
        cpu=cpu,
        memory=rows["type_memory"].float(),
        gpus=gpus,
        milli=milli,
        accepted=accepted,
        typical=typical,
        typical_allowed=rows["type_allowed"].gather(1, common[..., None].expand(-1, -1, models)),
        arrived=demand.double().cumsum(1).float(),
        cpu_capacity=rows["node_cpu"].sum(1).float(),
        gpu_capacity=GPU_MILLI * rows["node_gpus"].sum(1).float(),
        total=counts.sum(1).double(),
    )


def rows_at(values: Tensor, node: Tensor) -> Tensor:
    """Return what belongs to the chosen nodes, `[env, 1, ...]`.

    Args:
        values: `[env, node, ...]`.
        node: `[env, 1]`.
    """
    return values.gather(1, node[..., None].expand(-1, -1, values.shape[2]))


def put_at(values: Tensor, node: Tensor, rows: Tensor) -> Tensor:
    """Return a copy with other values for the chosen nodes.

    Args:
        values: `[env, node, ...]`.
        node: `[env, 1]`.
        rows: `[env, 1, ...]`.
    """
    return values.scatter(1, node[..., None].expand(-1, -1, values.shape[2]), rows)


def at_node(typical: TypicalTasks, node: Tensor) -> TypicalTasks:
    """Return the typical tasks as the chosen nodes see them.

    Args:
        typical: As all nodes do.
        node: `[env, 1]`.
    """
    return TypicalTasks(**{**vars(typical), "accepted": rows_at(typical.accepted, node)})


def check_bank(bank: ClusterBank, config: ClusterConfig) -> None:
    """Refuse a bank whose episodes do not fit the world.

    Args:
        bank: The episodes.
        config: The world.

    Raises:
        ConfigError: Tasks, nodes, types or models differ in number.
    """
    scenarios = bank.scenarios
    names = ("tasks", "nodes", "types", "models")
    held = (
        scenarios.arrivals.shape[1],
        scenarios.node_cpu.shape[1],
        *scenarios.type_allowed.shape[1:],
    )
    wanted = (config.num_tasks, config.num_nodes, config.num_types, config.num_models)
    if held != wanted:
        raise ConfigError(
            f"the bank holds {names} = {held}, the world has {wanted}; take both from one preset"
        )
