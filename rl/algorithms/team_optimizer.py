"""A team's network that learns, and the target network that follows it."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.algorithms.mixing import weight_range
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
from rl.algorithms.replay_buffer import EpisodeBatch
from rl.algorithms.td_losses import quantiles
from rl.algorithms.team_losses import TeamLoss, mean_where, team_td_loss
from rl.algorithms.team_values import TeamNetwork

TD_ERROR_LEVELS = (0.1, 0.5, 0.9)


class TeamOptimizer:
    """Takes the steps; the target network moves to the one that learns at intervals."""

    def __init__(
        self,
        network: TeamNetwork,
        *,
        double: bool,
        learning_rate: float,
        max_grad_norm: float,
        update_frequency: int,
        tau: float,
    ) -> None:
        """Copy the network as its target, and begin with empty moments.

        Args:
            network: Learns; already on its device.
            double: Whether the online network chooses what the target judges.
            learning_rate: Of Adam.
            max_grad_norm: Longest gradient over all weights.
            update_frequency: Optimiser steps between two moves of the target.
            tau: Share of the way that it then moves; 1 copies.
        """
        self.network = network
        self.target = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.steps = 0
        self._double = double
        self._levels = torch.tensor(TD_ERROR_LEVELS, device=network.values.identity.device)
        self._max_grad_norm, self._frequency, self._tau = max_grad_norm, update_frequency, tau
        self._parameters = list(network.parameters())
        self._leaders: list[Tensor] = [one.detach() for one in self._parameters]
        self._followers: list[Tensor] = list(self.target.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, lr=learning_rate, fused=True)

    def step(self, batch: EpisodeBatch, reward: Float[Tensor, "time batch"]) -> TensorDict:
        """Take one step down the team's temporal-difference loss.

        Args:
            batch: Of a team with memory, episodes from their first step.
            reward: What the team was paid.

        Returns:
            Figures of the step, not yet read from the device.
        """
        td = team_td_loss(self.network, self.target, batch, reward, double=self._double)
        gradients = torch.autograd.grad(td.loss, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self._optimizer.step()
        self.steps += 1
        if self.steps % self._frequency == 0:
            torch._foreach_lerp_(self._followers, self._leaders, self._tau)
        return self._figures(td) | {"gradient_norm": norm}

    @torch.no_grad()
    def _figures(self, td: TeamLoss) -> TensorDict:
        figures = {"td_loss": td.loss.detach(), "q_total": mean_where(td.total, td.counts)}
        levels = quantiles(td.error.flatten(), td.counts.flatten(), self._levels)
        for level, value in zip(TD_ERROR_LEVELS, levels, strict=True):
            figures[f"td_error_{round(100 * level)}"] = value
        if td.weights is not None:
            figures["mixer_weight_min"], figures["mixer_weight_max"] = weight_range(td.weights)
        return figures

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
