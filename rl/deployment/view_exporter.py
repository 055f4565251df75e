"""From a policy trained in any world with a view to an artifact; no torch here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from rl.artifacts import ActionSpec, Layer, Normalizer, PolicyArtifact, PolicyCard
from rl.deployment.exporters import ExportableAgent
from rl.domains.view_worlds import VIEW_WORLDS
from utils.config import from_json, to_json
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ViewField:
    """One array of a view."""

    name: str
    shape: tuple[int, ...]
    """Without the batch."""
    kind: Literal["number", "whole"]


@dataclass(frozen=True, kw_only=True)
class ViewWorldConfig:
    """What an artifact says of its world."""

    world: str
    """Its config, as JSON text."""
    fields: tuple[ViewField, ...]

    def make_domain(self, name: str) -> Any:
        """Build the world's domain, NumPy.

        Args:
            name: Of the world, in `VIEW_WORLDS`.
        """
        known = VIEW_WORLDS[name]
        return known.make_domain(from_json(known.config, json.loads(self.world)))


@dataclass(frozen=True, kw_only=True)
class ViewActions:
    """What a policy's numbers mean in its world."""

    is_choice: bool
    size: int
    low: float = 0.0
    high: float = 1.0


def export_view_policy(
    agent: ExportableAgent,
    card: PolicyCard,
    *,
    name: str,
    config: ViewWorldConfig,
    actions: ViewActions,
) -> PolicyArtifact:
    """Make the artifact of a policy that observes one encoded view.

    Args:
        agent: The trained learner.
        card: What is known about it.
        name: Of the world, in `VIEW_WORLDS`.
        config: Its config and the shapes of its view.
        actions: What the numbers mean.

    Raises:
        ConfigError: The world has no view, or the network does not act as it is played there.
    """
    if name not in VIEW_WORLDS:
        raise ConfigError(f"{name} is no world with a view; known: {', '.join(VIEW_WORLDS)}")
    exported = agent.export_layers()
    given = exported.layers[-1][0].shape[1]
    if given != actions.size:
        raise ConfigError(
            f"the policy gives {given} numbers, {name} is played with {actions.size}: export it "
            "with the config it was trained with"
        )
    squashed = exported.output_activation == "tanh"
    amounts: Literal["squashed", "continuous"] = "squashed" if squashed else "continuous"
    return PolicyArtifact(
        layers=tuple(Layer(weight, bias) for weight, bias in exported.layers),
        activation=exported.activation,
        normalizer=Normalizer(exported.mean, exported.std, exported.clip),
        action=ActionSpec(
            kind="discrete" if actions.is_choice else amounts,
            size=actions.size,
            low=actions.low,
            high=actions.high,
            meaning=VIEW_WORLDS[name].decision,
        ),
        domain=name,
        domain_config=json.dumps(to_json(config), sort_keys=True),
        card=card,
    )
