"""A team's network that learns, and the target network that follows it."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    load_optimizer_state,
    module_state,
    optimizer_state,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.team_values import TeamNetwork


class TeamOptimizer:
    """Steps the network along clipped gradients; the target moves to it at intervals."""

    def __init__(
        self,
        network: TeamNetwork,
        *,
        learning_rate: float,
        max_grad_norm: float,
        update_frequency: int,
        tau: float,
    ) -> None:
        """Copy the network as its target, and begin with empty moments.

        Args:
            network: Learns; already on its device.
            learning_rate: Of Adam.
            max_grad_norm: Longest gradient over all weights.
            update_frequency: Optimiser steps between two moves of the target.
            tau: Share of the way that it then moves; 1 copies.
        """
        self.network = network
        self.target = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.steps = 0
        self._max_grad_norm, self._frequency, self._tau = max_grad_norm, update_frequency, tau
        self._parameters = list(network.parameters())
        self._leaders: list[Tensor] = [one.detach() for one in self._parameters]
        self._followers: list[Tensor] = list(self.target.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, lr=learning_rate, fused=True)

    def step(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Take one step down the loss and return the length of its gradient before clipping.

        Args:
            loss: With a graph to the network.
        """
        gradients = torch.autograd.grad(loss, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self._optimizer.step()
        self.steps += 1
        if self.steps % self._frequency == 0:
            torch._foreach_lerp_(self._followers, self._leaders, self._tau)
        return norm

    def state_dict(self) -> TensorDict:
        """Return copies of both networks, the moments and the count of steps."""
        return {
            **with_prefix("network", module_state(self.network)),
            **with_prefix("target", module_state(self.target)),
            **with_prefix("optimizer", optimizer_state(self._optimizer)),
            "steps": torch.tensor(self.steps),
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
        load_optimizer_state(self._optimizer, under_prefix("optimizer", state))
        self.steps = int(take_tensor(state, "steps"))
