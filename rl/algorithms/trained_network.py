"""A network with its optimiser, saved together, and how a squashed policy leaves for NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from rl.algorithms.networks import PolicyLayers
from rl.algorithms.normalization import ObservationNormalizer
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    module_state,
    under_prefix,
    with_prefix,
)
from rl.algorithms.stacked_networks import StackedMLP
from rl.algorithms.vector_adam import VectorAdam


class TrainedNetwork:
    """Steps a network along gradients that others computed."""

    def __init__(self, network: StackedMLP, learning_rate: float) -> None:
        """Begin with empty moments.

        Args:
            network: Already on its device.
            learning_rate: Of Adam.
        """
        self.network = network
        self._optimizer = VectorAdam(network.vector, learning_rate=learning_rate)

    def step(self, gradient: Float[Tensor, " weight"] | None = None) -> Float[Tensor, ""]:
        """Take one step and return the norm of the gradient.

        Args:
            gradient: Of the loss, for all weights; None takes what the network's `backward` wrote.
        """
        if gradient is None:
            gradient = cast("Tensor", self.network.vector.grad)
        else:
            self.network.vector.grad = gradient
        self._optimizer.step(gradient)
        norm: Tensor = torch.linalg.vector_norm(gradient)
        return norm

    def state_dict(self) -> TensorDict:
        """Return copies of weights and moments."""
        return {
            **with_prefix("network", module_state(self.network)),
            **with_prefix("optimizer", self._optimizer.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        load_module_state(self.network, under_prefix("network", state))
        self._optimizer.load_state_dict(under_prefix("optimizer", state))


@torch.no_grad()
def follow(target: StackedMLP, network: StackedMLP, tau: float) -> None:
    """Move a target network towards the one that learns.

    Args:
        target: Changed in place.
        network: Of the same shape.
        tau: Share of the distance.
    """
    target.vector.lerp_(network.vector, tau)


def export_squashed(network: StackedMLP, action_dim: int) -> PolicyLayers:
    """Return copies of the numbers that a deterministic policy with a tanh at its end needs.

    Args:
        network: Its first `action_dim` outputs go through the tanh; others are left out.
        action_dim: Continuous dimensions.
    """
    as_observed = ObservationNormalizer(network.sizes[0], clip=torch.finfo(torch.float32).max)
    exported = network.export_layers(as_observed)
    weight, bias = exported.layers[-1]
    last = (weight[:, :action_dim].copy(), bias[:action_dim].copy())
    return exported._replace(layers=[*exported.layers[:-1], last], output_activation="tanh")
