"""A network that learns, and the slower copy of it that learning aims at."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    load_optimizer_state,
    module_state,
    optimizer_state,
    under_prefix,
    with_prefix,
)

Network = TypeVar("Network", bound=nn.Module)


class Tracked(Generic[Network]):
    """A network whose gradients are written by hand, its optimiser and its target."""

    def __init__(self, network: Network, *, learning_rate: float) -> None:
        """Begin with a target that equals the network.

        Args:
            network: Learns.
            learning_rate: Of Adam.
        """
        self.network = network.requires_grad_(requires_grad=False)
        self.target = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.weights: list[Tensor] = list(self.network.parameters())
        self._target_weights: list[Tensor] = list(self.target.parameters())
        self.optimizer = torch.optim.Adam(self.weights, lr=learning_rate, fused=True)

    def gradient_norm(self) -> Float[Tensor, ""]:
        """Return the length of the present gradient."""
        return nn.utils.get_total_norm([w.grad for w in self.weights if w.grad is not None])

    @torch.no_grad()
    def step(self) -> None:
        """Go one step along the present gradient."""
        self.optimizer.step()

    @torch.no_grad()
    def follow(self, tau: float) -> None:
        """Move the target towards the network.

        Args:
            tau: Share of the way.
        """
        torch._foreach_lerp_(self._target_weights, self.weights, tau)

    def state_dict(self) -> TensorDict:
        """Return copies of network, target and moments."""
        return {
            **with_prefix("network", module_state(self.network)),
            **with_prefix("target", module_state(self.target)),
            **with_prefix("optimizer", optimizer_state(self.optimizer)),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        load_module_state(self.network, under_prefix("network", state))
        load_module_state(self.target, under_prefix("target", state))
        load_optimizer_state(self.optimizer, under_prefix("optimizer", state))
