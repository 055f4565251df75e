"""The shared-services preset: its constants and their reasons, fixed before any training result.

Four kinds of service, matched to the four real series (data/traces.py), share compute and memory:

- `storefront` (load-balancer requests): many, noisy, cheap each; a page that takes more than two
  steps is abandoned.
- `search` (a steady fleet): worth more and as good as constant; tolerates one retry more.
- `settlement` (an on-off fleet at 0 or 90 %): the most valuable work and the most patient one, an
  hour. Value and urgency are independent in practice, so neither order alone is right.
- `telemetry` (a near-constant fleet): the least valuable, and worthless unless taken at once.

Capacities: 80 units each. On training days the mean work needs 75 of compute and 68 of memory, so
the pool is as loaded as busy clusters are; a settlement burst or a failure (two a day and resource,
an hour each, a fifth to a half of the resource) overloads it, quiet hours do not. In hindsight 96 %
of the value could be had. An idle unit costs 0.15 a step: one unit of each resource held for
nothing loses about an eighth of the value of the median unit of work.
"""

from __future__ import annotations

from dataclasses import dataclass

from data.workload import ServiceDemand, SyntheticConfig, WorldConfig
from rl.domains.resource_allocation import AllocationConfig, ServiceSpec
from utils.errors import ConfigError

KINDS = (
    ServiceSpec(name="storefront", priority=2.0, patience=2, usage=(1.0, 0.5)),
    ServiceSpec(name="search", priority=3.0, patience=3, usage=(1.0, 1.0)),
    ServiceSpec(name="settlement", priority=4.0, patience=12, usage=(1.0, 0.5)),
    ServiceSpec(name="telemetry", priority=1.0, patience=1, usage=(0.5, 1.0)),
)
DEMAND_LAWS = (
    ServiceDemand(
        mean=22.0, daily_amplitude=0.3, noise=0.75, noise_persistence=0.3, shared_noise=0.1,
        bursts_per_day=6.0, burst_steps=6.0, burst_height=25.0, burst_follows_profile=True,
    ),
    ServiceDemand(mean=30.0, daily_amplitude=0.05, noise=0.1, shared_noise=0.1),
    ServiceDemand(mean=0.1, noise=0.2, bursts_per_day=8.0, burst_steps=4.5, burst_height=65.0),
    ServiceDemand(mean=20.0, noise=0.06, noise_persistence=0.0),
)  # fmt: skip
"""Fitted by eye to the training days of the four series; a mixture of both is trained on."""
UNITS_PER_SERVICE = 20.0
MOST_SERVICES = 1_024
IDLE_PRICE = 0.15
TRAINING_JITTER = 0.2
DEMAND_JITTER = 0.2


@dataclass(frozen=True, kw_only=True)
class SharedServices:
    """The allocation world and the laws that fill it."""

    allocation: AllocationConfig
    world: WorldConfig
    """Without jitter, for evaluation."""
    training_world: WorldConfig
    synthetic: SyntheticConfig


def shared_services(num_services: int = 4) -> SharedServices:
    """Build the preset for any number of services.

    Args:
        num_services: How many; beyond four the kinds repeat, and capacities grow along.

    Raises:
        ConfigError: They are none, or too many.
    """
    if not 1 <= num_services <= MOST_SERVICES:
        raise ConfigError(f"choose 1 to {MOST_SERVICES:,} services, not {num_services}")
    kinds = len(KINDS)
    services = tuple(
        ServiceSpec(
            name=kind.name if index < kinds else f"{kind.name}_{index // kinds + 1}",
            priority=kind.priority,
            patience=kind.patience,
            usage=kind.usage,
        )
        for index in range(num_services)
        for kind in (KINDS[index % kinds],)
    )
    capacity = (UNITS_PER_SERVICE * num_services,) * 2
    price = (IDLE_PRICE, IDLE_PRICE)
    priority = tuple(service.priority for service in services)
    world = WorldConfig(priority=priority, capacity=capacity, price=price)
    training_world = WorldConfig(
        priority=priority,
        capacity=capacity,
        price=price,
        jitter=TRAINING_JITTER,
        demand_jitter=DEMAND_JITTER,
    )
    return SharedServices(
        allocation=AllocationConfig(
            services=services, resources=("compute", "memory"), capacity=capacity, price=price
        ),
        world=world,
        training_world=training_world,
        synthetic=SyntheticConfig(
            services=tuple(DEMAND_LAWS[index % kinds] for index in range(num_services))
        ),
    )
