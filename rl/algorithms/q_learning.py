"""One optimiser step of deep Q-learning, from a batch of transitions to the target network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from rl.algorithms import td_losses
from rl.algorithms.losses import clip_norm, require_finite
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    module_state,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.q_network import QNetwork
from rl.algorithms.replay_buffer import TransitionBatch
from rl.algorithms.vector_adam import VectorAdam

STEP_METRICS = ("td_loss", "q_value", "target_q", "gradient_norm")
QUANTILES = (0.1, 0.5, 0.9)


@runtime_checkable
class QConfig(Protocol):
    """The settings of one optimiser step."""

    @property
    def learning_rate(self) -> float:
        """Of Adam."""
        ...

    @property
    def double(self) -> bool:
        """Whether the online network chooses the next action."""
        ...

    @property
    def target_update_frequency(self) -> int:
        """Optimiser steps between two updates of the target network."""
        ...

    @property
    def tau(self) -> float:
        """Share of the way that the target network then goes."""
        ...

    @property
    def max_grad_norm(self) -> float:
        """Longest gradient."""
        ...


class QStep(NamedTuple):
    """What one optimiser step tells."""

    figures: Float[Tensor, " metric"]
    """`STEP_METRICS`."""
    error: Float[Tensor, "batch agent"]
    """y - Q(a) before the step."""
    batch: TransitionBatch
    """What was learnt from."""

    def surprise(self) -> Float[Tensor, " batch"]:
        """Return the largest magnitude of the errors of each transition's live agents."""
        return self.error.abs().masked_fill(~self.batch.alive, 0.0).amax(-1)


class QLearning:
    """Improves a network by TD errors against a slower copy of itself."""

    def __init__(self, network: QNetwork, config: QConfig) -> None:
        """Copy the network.

        Args:
            network: Learns; on its device.
            config: Settings.
        """
        self.network = network
        self.target = copy.deepcopy(network)
        self.steps = 0
        self._config = config
        self._optimizer = VectorAdam(network.vector, learning_rate=config.learning_rate)

    @torch.no_grad()
    def step(self, batch: TransitionBatch) -> QStep:
        """Take one optimiser step; rows of absent agents count for nothing.

        Args:
            batch: Of transitions, weighted by importance.
        """
        share = batch.alive / batch.alive.sum().clamp_min_(1)
        weight, share = (share * batch.weight.unsqueeze(-1)).flatten(), share.flatten()
        target = self.targets(batch).flatten()
        q, trace = self.network.trace(batch.observation.flatten(0, 1))
        found = td_losses.td_loss(q, batch.action.flatten(), target, weight)
        self.network.backward(trace, found.gradient)
        gradient = cast("Tensor", self.network.vector.grad)
        norm = clip_norm(gradient, self._config.max_grad_norm)
        self._optimizer.step(gradient)
        self.steps += 1
        if self.steps % self._config.target_update_frequency == 0:
            self.target.vector.lerp_(self.network.vector, self._config.tau)
        mean_target = torch.dot(share, target)
        mean_q = mean_target - torch.dot(share, found.error)
        figures = torch.stack((found.loss, mean_q, mean_target, norm))
        return QStep(figures, found.error.view_as(batch.alive), batch)

    @torch.no_grad()
    def targets(self, batch: TransitionBatch) -> Float[Tensor, "batch agent"]:
        """Return what the values of the choices taken should have been.

        Args:
            batch: Of transitions.
        """
        judged = self.target(batch.next_observation)
        if self._config.double:
            chosen_by = self.network(batch.next_observation)
            value = td_losses.double_q_value(chosen_by, judged, batch.next_action_mask)
        else:
            value = td_losses.greedy_value(judged, batch.next_action_mask)
        return td_losses.td_target(batch.reward, batch.discount, value)

    def state_dict(self) -> TensorDict:
        """Return copies of both networks, the optimiser's moments and the count of steps."""
        return {
            **with_prefix("network", module_state(self.network)),
            **with_prefix("target", module_state(self.target)),
            **with_prefix("optimizer", self._optimizer.state_dict()),
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
        self._optimizer.load_state_dict(under_prefix("optimizer", state))
        self.steps = int(take_tensor(state, "steps"))


def step_metrics(steps: Sequence[QStep]) -> TensorDict:
    """Return what to tell of some optimiser steps, not yet read from the device.

    Args:
        steps: At least one.

    Returns:
        The means of `STEP_METRICS`, and quantiles of the last TD errors.

    Raises:
        DivergenceError: An observation, a reward or a loss was not finite.
    """
    means = torch.stack([step.figures for step in steps]).mean(0)
    if not torch.isfinite(means).all():
        _name_what_is_not_finite(steps)
    last = steps[-1]
    levels = torch.tensor(QUANTILES, device=means.device)
    alive = last.batch.alive.flatten()
    found = td_losses.quantiles(last.error.flatten(), alive, levels)
    names = [f"td_error_{round(100 * level)}" for level in QUANTILES]
    return dict(zip((*STEP_METRICS, *names), (*means.unbind(), *found.unbind()), strict=True))


def _name_what_is_not_finite(steps: Sequence[QStep]) -> None:
    """Raise the error for the first step that went wrong, by what it was given if possible."""
    for step in steps:
        batch = step.batch
        given = torch.cat((batch.observation, batch.next_observation))
        require_finite({"observation": given, "reward": batch.reward})
        require_finite(dict(zip(STEP_METRICS, step.figures, strict=True)))
