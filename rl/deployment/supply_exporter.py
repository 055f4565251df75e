"""From a trained planner of a supply chain to a policy artifact; no torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.supply_scenarios import SupplyScenarios
from rl.artifacts import PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.exporters import ExportableAgent, PolicyShape, export_policy
from rl.domains.echelon_levels import EchelonLevels
from rl.domains.supply_chain import SupplyConfig, SupplyDomain
from utils.config import to_json

SUPPLY_CHAIN = "supply_chain"
LEVELS = "levels"
"""Every number is an order-up-to level; `EchelonLevels` encodes a view and turns them to orders."""


def export_supply_planner(
    agent: ExportableAgent, card: PolicyCard, config: SupplyConfig
) -> PolicyArtifact:
    """Make the artifact of a planner that sets the levels of a chain.

    Args:
        agent: The trained learner.
        card: What is known about it.
        config: The world it was trained in.

    Raises:
        ConfigError: The network does not observe or act as a planner of this world does.
    """
    levels = EchelonLevels(SupplyDomain(config))
    shape = PolicyShape(
        domain=SUPPLY_CHAIN,
        config=json.dumps(to_json(config), sort_keys=True),
        observation_size=levels.observation_size,
        action_size=levels.domain.index.num_shelves,
        meaning=LEVELS,
    )
    return export_policy(agent, card, shape)


def supply_ranges(
    config: SupplyConfig, scenarios: Sequence[SupplyScenarios]
) -> tuple[ValidRange, ...]:
    """Measure between which request values scenarios lie.

    Stock and goods on the way depend on what the policy does; their range ends at what is there at
    first or at what these scenarios ask for in the time from the source to the shelf's buyers and
    back, whichever is more.

    Args:
        config: The world.
        scenarios: All sets the policy was trained or evaluated on.
    """
    ranges = []
    network = config.network
    reach = sum(link.lead_time + 1 for link in network.links)
    most = 0.0
    for number, market in enumerate(network.markets):
        demand = [one.demand[..., number] for one in scenarios]
        values = np.concatenate([part.ravel() for part in demand])
        most += max(_largest_stretch(part, reach) for part in demand)
        field = f"demand.{market.customer}.{market.product}"
        ranges.append(ValidRange(field=field, low=float(values.min()), high=float(values.max())))
    for shelf in network.shelves:
        high = max(most, shelf.initial_stock)
        ranges += [
            ValidRange(field=f"{kind}.{shelf.node}.{shelf.product}", low=0.0, high=high)
            for kind in ("stock", "on_the_way")
        ]
    for kind in ("shortage", "delay", "quality_loss", "capacity_loss"):
        parts = [getattr(one, kind) for one in scenarios]
        worst = max(float(part.max(initial=0.0)) for part in parts)
        ranges.append(ValidRange(field=kind, low=0.0, high=worst))
    return tuple(ranges)


def _largest_stretch(demand: NDArray[np.float32], steps: int) -> float:
    """Return the largest sum of so many consecutive steps of `[episode, time]`."""
    total = np.pad(demand.astype(np.float64).cumsum(1), ((0, 0), (1, 0)))
    steps = min(steps, demand.shape[1])
    return float((total[:, steps:] - total[:, :-steps]).max())
