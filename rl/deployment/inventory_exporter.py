"""From a trained planner of a serial chain to a policy artifact; no torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.demand import InventoryScenarios
from data.scenario import ScenarioArrays
from rl.artifacts import PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.exporters import ExportableAgent, PolicyShape, export_policy
from rl.domains.inventory import InventoryConfig, InventoryDomain
from utils.config import to_json
from utils.errors import ConfigError

SERIAL_INVENTORY = "serial_inventory"
ORDERS = "orders"
"""Every number is an order as a share of the stage's capacity."""


@dataclass(frozen=True, kw_only=True)
class ServedInventory:
    """A chain, and the base-stock levels that stand in for its policy.

    Experts that solve a program in every step are measured against, but do not serve.
    """

    chain: InventoryConfig
    base_stock_levels: tuple[float, ...]
    """One per stage: units that it and all below hold or await."""

    def __post_init__(self) -> None:
        """Refuse levels that do not fit.

        Raises:
            ConfigError: Their number is wrong, or one is negative or not finite.
        """
        levels = np.asarray(self.base_stock_levels, np.float64)
        if len(levels) != self.chain.num_stages:
            raise ConfigError(f"{len(levels)} base_stock_levels for {self.chain.num_stages} stages")
        if not np.isfinite(levels).all() or levels.min() < 0:
            raise ConfigError(f"base_stock_levels must be finite and at least 0: {levels.tolist()}")


def export_inventory_planner(
    agent: ExportableAgent, card: PolicyCard, served: ServedInventory
) -> PolicyArtifact:
    """Make the artifact of a planner that orders for all stages.

    Args:
        agent: The trained learner.
        card: What is known about it.
        served: The chain it was trained in, and who stands in.

    Raises:
        ConfigError: The network does not observe or act as a planner of this chain does.
    """
    shape = PolicyShape(
        domain=SERIAL_INVENTORY,
        config=json.dumps(to_json(served), sort_keys=True),
        observation_size=InventoryDomain(served.chain).observation_size,
        action_size=served.chain.num_stages,
        meaning=ORDERS,
    )
    return export_policy(agent, card, shape)


def inventory_ranges(
    config: InventoryConfig, scenarios: Sequence[ScenarioArrays]
) -> tuple[ValidRange, ...]:
    """Measure between which request values scenarios lie.

    What lies and waits depends on what the policy does: stock ends at what there is at first or
    what customers ask for on the whole way, goods on the way at what capacity lets through in the
    lead time, waiting customers at the demand of the way.

    Args:
        config: The chain.
        scenarios: All sets the policy was trained or evaluated on; `InventoryScenarios` each.

    Raises:
        ConfigError: Some are of another world.
    """
    known = [one for one in scenarios if isinstance(one, InventoryScenarios)]
    if len(known) < max(len(scenarios), 1):
        raise ConfigError("ranges of a serial chain are measured on InventoryScenarios only")
    lowest = min(float(one.demand.min()) for one in known)
    highest = max(float(one.demand.max()) for one in known)
    way = sum(lead + 1 for lead in config.lead_time)
    most = highest * way
    ranges = [ValidRange(field="demand", low=lowest, high=highest)]
    waits = 0.0 if config.lost_sales else most
    ranges.append(ValidRange(field="waiting", low=0.0, high=waits))
    columns = zip(config.initial_stock, config.capacity, config.lead_time, strict=True)
    for number, (stock, capacity, lead) in enumerate(columns):
        ends = {
            "stock": max(stock, most),
            "on_the_way": capacity * lead,
            "waiting_orders": waits and capacity * way,
        }
        ranges += [
            ValidRange(field=f"{kind}.stage_{number}", low=0.0, high=float(high))
            for kind, high in ends.items()
        ]
    return tuple(ranges)
