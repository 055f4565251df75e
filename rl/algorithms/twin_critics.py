"""Two critics and their targets, as one stack of two; shared by SAC and TD3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.actor_critic_losses import squared_td_loss, weighted_mean
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    module_state,
    under_prefix,
    with_prefix,
)
from rl.algorithms.replay_buffer import TransitionBatch
from rl.algorithms.stacked_networks import StackedMLP
from rl.algorithms.td_losses import quantiles
from rl.algorithms.trained_network import TrainedNetwork, follow

TD_ERROR_QUANTILES = {"td_error_q50": 0.5, "td_error_q90": 0.9, "td_error_q99": 0.99}
"""Of the size of the first critic's errors, by metric."""


class Rows(NamedTuple):
    """Transitions of all agents, one agent a row."""

    observation: Float[Tensor, "batch obs"]
    mask: Bool[Tensor, "batch act"]
    action: Float[Tensor, "batch act"]
    reward: Float[Tensor, " batch"]
    discount: Float[Tensor, " batch"]
    """Zero where the episode terminated, else gamma, truncation included."""
    next_observation: Float[Tensor, "batch obs"]
    next_mask: Bool[Tensor, "batch act"]
    weight: Float[Tensor, " batch"]
    """Zero where the agent was absent."""


def as_rows(batch: TransitionBatch) -> Rows:
    """Put the agents of a batch below one another.

    Args:
        batch: As sampled, `[batch, agent, ...]`.
    """
    return Rows(
        observation=batch.observation.flatten(0, 1),
        mask=batch.action_mask.flatten(0, 1),
        action=batch.action.flatten(0, 1),
        reward=batch.reward.flatten(),
        discount=batch.discount.flatten(),
        next_observation=batch.next_observation.flatten(0, 1),
        next_mask=batch.next_action_mask.flatten(0, 1),
        weight=(batch.weight.unsqueeze(-1) * batch.alive).flatten(),
    )


class TwinCritics:
    """Estimates of the return of an action, twice, so that their minimum is not too hopeful.

    Their weights never require a gradient: `learn` computes it by hand, and a policy that is
    improved through `value` does not pay for it.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        *,
        learning_rate: float,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        """Draw the initial weights; the targets begin equal.

        Args:
            sizes: Length of observation and action together, then of every hidden layer.
            learning_rate: Of the critics.
            generator: Source of the initial weights, on the CPU.
            device: Where they live.
        """
        network = StackedMLP((*sizes, 1), stack=2, init="uniform", generator=generator)
        network.to(device).requires_grad_(requires_grad=False)
        self.target = network.copy().requires_grad_(requires_grad=False)
        self._trained = TrainedNetwork(network, learning_rate)
        self._first = _first_member(network)
        self._levels = torch.tensor(list(TD_ERROR_QUANTILES.values()), device=device)

    @property
    def network(self) -> StackedMLP:
        """Both critics; its `vector.grad` is that of the last step of `learn`."""
        return self._trained.network

    def value(
        self, observation: Float[Tensor, "batch obs"], action: Float[Tensor, "batch act"]
    ) -> Float[Tensor, "2 batch"]:
        """Return both estimates, with the gradient of the action if it has one.

        Args:
            observation: As the environment gave it.
            action: What is judged.
        """
        return _evaluate(self.network, observation, action)

    def first_value(
        self, observation: Float[Tensor, "batch obs"], action: Float[Tensor, "batch act"]
    ) -> Float[Tensor, " batch"]:
        """Return the first critic's estimate alone, at half the cost of both.

        Args:
            observation: As the environment gave it.
            action: What is judged.
        """
        return _evaluate(self._first, observation, action)[0]

    @torch.no_grad()
    def target_value(
        self, observation: Float[Tensor, "batch obs"], action: Float[Tensor, "batch act"]
    ) -> Float[Tensor, "2 batch"]:
        """Return the estimates of both targets.

        Args:
            observation: As the environment gave it.
            action: What is judged.
        """
        return _evaluate(self.target, observation, action)

    @torch.no_grad()
    def learn(self, rows: Rows, target: Float[Tensor, " batch"]) -> TensorDict:
        """Take one step of both critics towards the same target.

        Args:
            rows: Whose actions are judged.
            target: What the estimates should be.

        Returns:
            Metrics of the estimates before the step.
        """
        network, weight = self.network, rows.weight
        trace = network.trace(_pair(network, rows.observation, rows.action))
        q_value = trace.output.squeeze(-1)
        error = q_value - target
        share = weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
        network.backward(trace, (error * share).unsqueeze(-1))
        spread = quantiles(error[0].abs(), weight > 0, self._levels)
        return {
            "critic_loss": squared_td_loss(q_value, target, weight),
            "q_value": weighted_mean(q_value, weight).mean(),
            "critic_gradient_norm": self._trained.step(),
            **dict(zip(TD_ERROR_QUANTILES, spread, strict=True)),
        }

    def follow(self, tau: float) -> None:
        """Move the targets towards the critics.

        Args:
            tau: Share of the distance.
        """
        follow(self.target, self.network, tau)

    def state_dict(self) -> TensorDict:
        """Return copies of critics, moments and targets."""
        return {
            **with_prefix("online", self._trained.state_dict()),
            **with_prefix("target", module_state(self.target)),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self._trained.load_state_dict(under_prefix("online", state))
        load_module_state(self.target, under_prefix("target", state))


def _pair(network: StackedMLP, observation: Tensor, action: Tensor) -> Tensor:
    return torch.cat((observation, action), -1).expand(network.stack, -1, -1)


def _evaluate(network: StackedMLP, observation: Tensor, action: Tensor) -> Tensor:
    output: Tensor = network(_pair(network, observation, action))
    return output.squeeze(-1)


def _first_member(network: StackedMLP) -> StackedMLP:
    """Return the first perceptron of a stack, alone, on the same memory."""
    first = StackedMLP(network.sizes, activation=network.activation, generator=torch.Generator())
    first.weights = tuple(weight[:1] for weight in network.weights)
    first.biases = tuple(bias[:1] for bias in network.biases)
    return first.requires_grad_(requires_grad=False)
