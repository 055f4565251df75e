"""From a trained desk's plain arrays to a policy artifact; no torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.desk_orders import DeskScenarios
from data.scenario import ScenarioArrays
from rl.artifacts import PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.exporters import ExportableAgent, PolicyShape, export_policy
from rl.domains.order_desks import OBSERVATION_SIZE, OrderDesksConfig
from utils.config import to_json
from utils.errors import ConfigError

ORDER_DESKS = "order_desks"


def export_desk(
    agent: ExportableAgent, config: OrderDesksConfig, card: PolicyCard
) -> PolicyArtifact:
    """Make the artifact of one desk; all desks share it.

    Args:
        agent: The trained learner.
        config: The orders it was trained on.
        card: What is known about it.

    Raises:
        ConfigError: The network does not observe or act as a desk does.
    """
    shape = PolicyShape(
        domain=ORDER_DESKS,
        config=json.dumps(to_json(config), sort_keys=True),
        observation_size=OBSERVATION_SIZE,
        action_size=1,
        meaning="pace",
    )
    return export_policy(agent, card, shape)


def desk_ranges(scenarios: Sequence[ScenarioArrays]) -> tuple[ValidRange, ...]:
    """Measure between which request values scenarios lie.

    Args:
        scenarios: What the policy was trained and evaluated on; `DeskScenarios` each.

    Raises:
        ConfigError: Some are of another world.
    """
    orders = [one for one in scenarios if isinstance(one, DeskScenarios)]
    if len(orders) < max(len(scenarios), 1):
        raise ConfigError("ranges of a desk's request are measured on DeskScenarios only")
    moves = [np.concatenate([one.history, one.shock], axis=1) for one in orders]
    terms = ("volatility", "impact", "risk_aversion")
    pooled = {name: [getattr(one, name) for one in orders] for name in terms}
    changes = [_price_changes(one) for one in orders]
    return tuple(
        ValidRange(
            field=f"order.{name}",
            low=float(min(part.min() for part in parts)),
            high=float(max(part.max() for part in parts)),
        )
        for name, parts in {"moves": moves, "price_change": changes, **pooled}.items()
    )


def _price_changes(orders: DeskScenarios) -> NDArray[Any]:
    """Return how far prices go in deviations of a horizon, pushed by own sales at most, or not."""
    root = np.sqrt(orders.shock.shape[1])
    alone = np.cumsum(orders.shock, axis=1) / root
    pushed = alone - (orders.impact / (orders.volatility * root))[:, None]
    return np.concatenate([alone, pushed], axis=1)
