"""Worlds of shared services with synthetic demand, made from a few names and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from data.scenario import BankConfig, ScenarioBank
from data.workload import SyntheticWorkload
from rl.domains.resource_allocation import AllocationConfig
from rl.domains.shared_services import IDLE_PRICE, UNITS_PER_SERVICE, shared_services
from rl.environments.base_environment import (
    AgentConfig,
    AgentRole,
    check_length,
    check_names,
)
from rl.environments.episodes import WorkloadBank
from utils.errors import ConfigError

DEFAULT_SERVICES = 4
DEFAULT_STEPS = 72


def make_synthetic_services(
    agent_configs: Sequence[AgentConfig] | None = None,
    *,
    num_services: int = DEFAULT_SERVICES,
    resource_types: Sequence[str] | None = None,
    total_resources: Mapping[str, float] | None = None,
    max_steps: int = DEFAULT_STEPS,
    seed: int = 0,
) -> tuple[AllocationConfig, WorkloadBank]:
    """Build the preset world for the given agents, and a bank of synthetic episodes.

    Args:
        agent_configs: One executor per service; None gives the services of the preset.
        num_services: How many where no agents are given.
        resource_types: Names of the resources; None gives compute and memory. Beyond two the
            needs of the services repeat.
        total_resources: Units per resource; a resource left out has 20 per service.
        max_steps: Steps of an episode.
        seed: Of the episodes.

    Raises:
        ConfigError: Agents or resources are repeated, unknown, or of a role that cannot act.
    """
    count = num_services if agent_configs is None else len(agent_configs)
    preset = shared_services(count)
    names = [service.name for service in preset.allocation.services]
    if agent_configs is not None:
        names = [agent.agent_id for agent in agent_configs]
        _check_agents(agent_configs)
    check_length(max_steps)
    chosen = preset.allocation.resources if resource_types is None else resource_types
    resources = check_names("resource_types", chosen)
    totals = dict(total_resources or {})
    if unknown := set(totals) - set(resources):
        raise ConfigError(f"no resources {sorted(unknown)}; there are {', '.join(resources)}")
    capacity = tuple(float(totals.get(name, UNITS_PER_SERVICE * count)) for name in resources)
    price = (IDLE_PRICE,) * len(resources)
    services = tuple(
        replace(
            service,
            name=name,
            usage=tuple(service.usage[k % len(service.usage)] for k in range(len(resources))),
        )
        for service, name in zip(preset.allocation.services, names, strict=True)
    )
    allocation = replace(
        preset.allocation,
        services=services,
        resources=resources,
        capacity=capacity,
        price=price,
        max_steps=max_steps,
    )
    world = replace(preset.training_world, capacity=capacity, price=price, max_steps=max_steps)
    return allocation, ScenarioBank(SyntheticWorkload(preset.synthetic, world), BankConfig(), seed)


def summarize_allocation(totals: Mapping[str, float]) -> dict[str, float]:
    """Turn the summed metrics of an episode into figures that compare between episodes.

    Args:
        totals: Sums of the metrics of every step, and `steps`.

    Returns:
        The totals, with `value` (served value plus holding cost), `served_share` and `lost_share`
        of the work that arrived, and the mean `held_share` of the capacities; `jain_index` and
        `utilization`, means over the steps; `sla_violation_rate`, work lost over work that
        arrived; `energy_kwh` and `carbon_kg`. Zero before the first step.
    """
    steps = max(totals["steps"], 1.0)
    arrived = totals.get("arrived_work", 0.0)
    figures = {
        "value": totals.get("served_value", 0.0) + totals.get("holding_cost", 0.0),
        "served_share": totals.get("served_work", 0.0) / arrived if arrived else 0.0,
        "lost_share": totals.get("lost_work", 0.0) / arrived if arrived else 0.0,
        "sla_violation_rate": totals.get("lost_work", 0.0) / arrived if arrived else 0.0,
        "held_share": totals.get("held_share", 0.0) / steps,
        "jain_index": totals.get("jain_index", 0.0) / steps,
        "utilization": totals.get("used_share", 0.0) / steps,
    }
    flows = ("steps", "served_value", "holding_cost", "arrived_work", "served_work", "lost_work")
    counted = (*flows, "energy_kwh", "carbon_kg")
    return figures | {name: totals.get(name, 0.0) for name in counted}


def _check_agents(agents: Sequence[AgentConfig]) -> None:
    names = [agent.agent_id for agent in agents]
    if len(set(names)) < len(names):
        raise ConfigError(f"agent_id must differ between agents: {names}")
    idle = [agent.agent_id for agent in agents if agent.role is not AgentRole.EXECUTOR]
    if idle:
        raise ConfigError(f"every agent asks for a service, so make {idle} executors")
