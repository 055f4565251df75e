"""From a trained planner of a network to a policy artifact, and back to orders; no torch here."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from rl.artifacts import ActionSpec, Layer, Normalizer, PolicyArtifact, PolicyCard
from rl.deployment.exporters import ExportableAgent
from rl.deployment.guardrails import finite_rows
from rl.deployment.policy_runtime import PolicyRuntime
from rl.domains.network_planner import ACTION_LIMIT, NetworkPlanner, PlannerConfig, PlannerView
from utils.config import from_json, to_json
from utils.errors import ConfigError

NETWORK_PLANNER = "network_planner"
SOFT_ORDERS = "soft_orders"
"""A softplus makes every number an order in units; see `NetworkPlanner.orders`."""


def export_network_planner(
    agent: ExportableAgent, card: PolicyCard, config: PlannerConfig
) -> PolicyArtifact:
    """Make the artifact of a planner of all orders in a network.

    Args:
        agent: The trained learner.
        card: What is known about it.
        config: The network, and what the planner knows.

    Raises:
        ConfigError: The policy does not observe or act as a planner of this network does.
    """
    exported = agent.export_layers()
    artifact = PolicyArtifact(
        layers=tuple(Layer(weight, bias) for weight, bias in exported.layers),
        activation=exported.activation,
        normalizer=Normalizer(exported.mean, exported.std, exported.clip),
        action=ActionSpec(
            kind="continuous",
            size=exported.layers[-1][0].shape[1],
            low=-ACTION_LIMIT,
            high=ACTION_LIMIT,
            meaning=SOFT_ORDERS,
        ),
        domain=NETWORK_PLANNER,
        domain_config=json.dumps(to_json(config), sort_keys=True),
        card=card,
    )
    PlannerPolicy(artifact)
    return artifact


class PlannerPolicy:
    """Turns views of a network into orders."""

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read network and policy.

        Args:
            artifact: Of domain `network_planner`.

        Raises:
            ConfigError: It is of another domain, or its parts do not fit one another.
        """
        if artifact.domain != NETWORK_PLANNER or artifact.action.meaning != SOFT_ORDERS:
            raise ConfigError(
                f"a planner of a network acts in {SOFT_ORDERS}, this artifact is of domain "
                f"{artifact.domain} and acts in {artifact.action.meaning!r}"
            )
        self.config = from_json(PlannerConfig, json.loads(artifact.domain_config))
        self.planner = NetworkPlanner(self.config)
        sizes = artifact.observation_size, artifact.action.size
        wanted = self.planner.observation_size, len(self.planner.index.flows)
        if sizes != wanted:
            raise ConfigError(
                f"the policy turns {sizes[0]} numbers into {sizes[1]}, a planner of this network "
                f"{wanted[0]} into {wanted[1]}: export it with the config it was trained with"
            )
        self._runtime = PolicyRuntime(artifact)

    def wish(self, view: PlannerView) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return what the policy would order, and whether its numbers are finite.

        Args:
            view: What is known, NumPy in single precision, with one batch axis.

        Returns:
            `[row, link]` in units, zero where not finite, and `[row]`.
        """
        output = self._runtime.output(self.planner.encode(view))
        usable = finite_rows(output)
        action = self._runtime.choose(np.where(usable[:, None], output, np.float32(-ACTION_LIMIT)))
        return self.planner.orders(action), usable

    def __call__(self, view: PlannerView) -> NDArray[np.float32]:
        """Return orders, cut to what suppliers have and can ship.

        Args:
            view: What is known, NumPy in single precision, with one batch axis.
        """
        wish, _ = self.wish(view)
        shipped: NDArray[np.float32] = self.planner.ship(wish, view.stock)
        return shipped
