"""From a trained agent's plain arrays to a policy artifact; no torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from data.scenario import WorkloadScenarios
from rl.artifacts import (
    ActionSpec,
    Array,
    Layer,
    Normalizer,
    PolicyArtifact,
    PolicyCard,
    ValidRange,
)
from rl.domains.resource_allocation import COVERAGE_SIZE, AllocationConfig, AllocationDomain
from utils.config import to_json
from utils.errors import ConfigError

RESOURCE_ALLOCATION = "resource_allocation"
AllocationAction = Literal["shares", "coverage"]
"""Shares of the capacities, or coverage of needs; see `AllocationDomain`."""


class PolicyLayers(Protocol):
    """What an agent's `export_layers()` returns, as NumPy arrays."""

    @property
    def layers(self) -> Sequence[tuple[Array, Array]]:
        """Weight `[in, out]` and bias `[out]`, first to last."""
        ...

    @property
    def activation(self) -> Literal["tanh", "relu", "silu"]:
        """After every layer but the last."""
        ...

    @property
    def output_activation(self) -> Literal["identity", "tanh"]:
        """After the last layer."""
        ...

    @property
    def mean(self) -> Array:
        """Subtracted from the observation."""
        ...

    @property
    def std(self) -> Array:
        """Divides what is left."""
        ...

    @property
    def clip(self) -> float:
        """Largest magnitude let through to the first layer."""
        ...


@runtime_checkable
class ExportableAgent(Protocol):
    """Anything that can give its deterministic policy away."""

    def export_layers(self) -> PolicyLayers:
        """Return the policy as plain arrays."""
        ...


@dataclass(frozen=True, kw_only=True)
class PolicyShape:
    """What a policy of some world looks like."""

    domain: str
    config: str
    """Of the domain, as JSON text."""
    observation_size: int
    action_size: int
    meaning: str
    """What the domain makes of an action."""


def export_policy(agent: ExportableAgent, card: PolicyCard, shape: PolicyShape) -> PolicyArtifact:
    """Make an artifact whose actions are continuous, once the network is known to fit.

    Args:
        agent: The trained learner.
        card: What is known about it.
        shape: What its world needs.

    Raises:
        ConfigError: The network does not observe or act as a policy of this world does.
    """
    exported = agent.export_layers()
    sizes = exported.layers[0][0].shape[0], exported.layers[-1][0].shape[1]
    if sizes != (shape.observation_size, shape.action_size):
        raise ConfigError(
            f"the policy turns {sizes[0]} numbers into {sizes[1]}, one of this {shape.domain} "
            f"{shape.observation_size} into {shape.action_size}: export it with the config it was "
            "trained with"
        )
    squashed = exported.output_activation == "tanh"
    return PolicyArtifact(
        layers=tuple(Layer(weight, bias) for weight, bias in exported.layers),
        activation=exported.activation,
        normalizer=Normalizer(exported.mean, exported.std, exported.clip),
        action=ActionSpec(
            kind="squashed" if squashed else "continuous",
            size=shape.action_size,
            meaning=shape.meaning,
        ),
        domain=shape.domain,
        domain_config=shape.config,
        card=card,
    )


def export_allocation_planner(
    agent: ExportableAgent,
    config: AllocationConfig,
    card: PolicyCard,
    *,
    action: AllocationAction = "shares",
) -> PolicyArtifact:
    """Make the artifact of a planner of shared services.

    Args:
        agent: The trained learner.
        config: The world it was trained in.
        card: What is known about it.
        action: What its actions mean; as in the environment's options.

    Raises:
        ConfigError: The network does not observe or act as a planner of this world does.
    """
    domain = AllocationDomain(config)
    shape = PolicyShape(
        domain=RESOURCE_ALLOCATION,
        config=json.dumps(to_json(config), sort_keys=True),
        observation_size=domain.observation_size,
        action_size=planner_action_size(domain, action),
        meaning=action,
    )
    return export_policy(agent, card, shape)


def planner_action_size(domain: AllocationDomain, action: AllocationAction) -> int:
    """Return how many numbers a planner's action has.

    Args:
        domain: The world.
        action: What the numbers mean.
    """
    per_service = COVERAGE_SIZE if action == "coverage" else domain.num_resources
    return per_service * domain.num_services


def validated_ranges(
    config: AllocationConfig, scenarios: Sequence[WorkloadScenarios]
) -> tuple[ValidRange, ...]:
    """Measure between which request values scenarios lie.

    Waiting work depends on what the policy does; its range ends at the most that these scenarios
    can pile up. What is held ends at the largest capacity.

    Args:
        config: The world.
        scenarios: All sets the policy was trained or evaluated on.
    """
    ranges = []
    for index, name in enumerate(config.resources):
        capacity = _pooled([s.capacity[..., index] for s in scenarios])
        price = _pooled([s.price[..., index] for s in scenarios])
        ranges += [_range(f"capacity.{name}", capacity), _range(f"price.{name}", price)]
        held = ValidRange(field=f"services.holding.{name}", low=0.0, high=float(capacity.max()))
        ranges.append(held)
    for index, service in enumerate(config.services):
        demand = [
            np.concatenate([s.history[..., index], s.demand[..., index]], axis=1) for s in scenarios
        ]
        priority = _pooled([s.priority[..., index] for s in scenarios])
        most = max(_largest_pile(one, service.patience - 1) for one in demand)
        prefix = f"services.{service.name}"
        ranges += [
            _range(f"{prefix}.recent_demand", _pooled(demand)),
            _range(f"{prefix}.priority", priority),
            ValidRange(field=f"{prefix}.waiting", low=0.0, high=most),
        ]
    return tuple(ranges)


def _pooled(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([part.ravel() for part in parts])


def _range(field: str, values: NDArray[np.float32]) -> ValidRange:
    return ValidRange(field=field, low=float(values.min()), high=float(values.max()))


def _largest_pile(demand: NDArray[np.float32], steps: int) -> float:
    """Return the largest sum of so many consecutive steps of `[episode, time]`."""
    if steps == 0:
        return 0.0
    total = np.pad(demand.astype(np.float64).cumsum(1), ((0, 0), (1, 0)))
    return float((total[:, steps:] - total[:, :-steps]).max())
