"""From a trained planner of a supply chain to a policy artifact; no torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.supply_scenarios import SupplyScenarios
from rl.artifacts import ActionSpec, Layer, Normalizer, PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.exporters import ExportableAgent
from rl.domains.echelon_levels import EchelonLevels
from rl.domains.supply_chain import SupplyConfig, SupplyDomain
from utils.config import to_json
from utils.errors import ConfigError

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
    exported = agent.export_layers()
    levels = EchelonLevels(SupplyDomain(config))
    expected = levels.observation_size, levels.domain.index.num_shelves
    sizes = exported.layers[0][0].shape[0], exported.layers[-1][0].shape[1]
    if sizes != expected:
        raise ConfigError(
            f"the policy turns {sizes[0]} numbers into {sizes[1]}, a planner of this world "
            f"{expected[0]} into {expected[1]}: export it with the config it was trained with"
        )
    squashed = exported.output_activation == "tanh"
    return PolicyArtifact(
        layers=tuple(Layer(weight, bias) for weight, bias in exported.layers),
        activation=exported.activation,
        normalizer=Normalizer(exported.mean, exported.std, exported.clip),
        action=ActionSpec(
            kind="squashed" if squashed else "continuous", size=expected[1], meaning=LEVELS
        ),
        domain=SUPPLY_CHAIN,
        domain_config=json.dumps(to_json(config), sort_keys=True),
        card=card,
    )


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
