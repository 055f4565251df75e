"""From a trained seller of one order to a policy artifact; no torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from data.price_shocks import ExecutionScenarios
from data.scenario import ScenarioArrays
from rl.artifacts import PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.exporters import ExportableAgent, PolicyShape, export_policy
from rl.domains.execution import OBSERVATION_SIZE, ExecutionConfig
from utils.config import to_json
from utils.errors import ConfigError

EXECUTION = "execution"
SHARE_OF_REST = "share_of_rest"
"""The number is the share of what remains that is sold now."""


def export_seller(
    agent: ExportableAgent, card: PolicyCard, config: ExecutionConfig
) -> PolicyArtifact:
    """Make the artifact of a policy that sells one order.

    Args:
        agent: The trained learner.
        card: What is known about it.
        config: The order it was trained on.

    Raises:
        ConfigError: The network does not observe or act as a seller does.
    """
    shape = PolicyShape(
        domain=EXECUTION,
        config=json.dumps(to_json(config), sort_keys=True),
        observation_size=OBSERVATION_SIZE,
        action_size=1,
        meaning=SHARE_OF_REST,
    )
    return export_policy(agent, card, shape)


def order_ranges(
    config: ExecutionConfig, scenarios: Sequence[ScenarioArrays]
) -> tuple[ValidRange, ...]:
    """Measure how far the price came in scenarios, own sales apart and at their most.

    Args:
        config: The order.
        scenarios: What the policy was trained and evaluated on; `ExecutionScenarios` each.

    Raises:
        ConfigError: Some are of another world.
    """
    known = [one for one in scenarios if isinstance(one, ExecutionScenarios)]
    if len(known) < max(len(scenarios), 1):
        raise ConfigError("ranges of one order are measured on ExecutionScenarios only")
    moves = np.concatenate([one.shocks.astype(np.float64) for one in known])
    moves = moves * config.step_deviation
    fall = config.permanent_impact * config.shares
    changes = np.cumsum(moves, axis=1)
    return tuple(
        ValidRange(
            field=f"order.{name}",
            low=min(float(values.min()), 0.0) - fall,
            high=max(float(values.max()), 0.0),
        )
        for name, values in {"price_change": changes, "last_move": moves}.items()
    )
