"""The worth of entropy in soft actor-critic, fixed or learnt, with its optimiser."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.actor_critic_losses import target_entropy, temperature_loss
from rl.algorithms.policy_state import (
    TensorDict,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.vector_adam import VectorAdam


class Temperature:
    """Follows an entropy per action dimension, or stays where it was put."""

    def __init__(
        self,
        fixed: float | None,
        *,
        learning_rate: float,
        per_dimension: float,
        action_range: tuple[float, float],
        device: torch.device,
    ) -> None:
        """Begin with the fixed value, or with 1.

        Args:
            fixed: In units of reward per nat; None learns it.
            learning_rate: Of its logarithm.
            per_dimension: Entropy aimed at, as `target_entropy` takes it.
            action_range: Smallest and largest action.
            device: Where it lives.
        """
        self._is_learnt = fixed is None
        self._per_dimension = per_dimension
        self._range = action_range
        first = 1.0 if fixed is None else float(fixed)
        self._log = torch.tensor(first, device=device).log_().requires_grad_()
        self._optimizer = VectorAdam(self._log, learning_rate=learning_rate)

    @property
    def value(self) -> Float[Tensor, ""]:
        """Worth of one nat, in units of reward; a constant."""
        return self._log.detach().exp()

    def adjust(
        self,
        log_prob: Float[Tensor, " batch"],
        mask: Bool[Tensor, "batch act"],
        weight: Float[Tensor, " batch"],
    ) -> None:
        """Take one step towards the entropy aimed at, if the temperature is learnt.

        Args:
            log_prob: Of actions drawn from the policy.
            mask: True where a dimension is in use.
            weight: Of each row.
        """
        if not self._is_learnt:
            return
        low, high = self._range
        dimensions = mask.sum(-1).to(log_prob.dtype)
        goal = target_entropy(dimensions, per_dimension=self._per_dimension, low=low, high=high)
        loss = temperature_loss(self._log, log_prob, goal, weight)
        (gradient,) = torch.autograd.grad(loss, self._log)
        self._optimizer.step(gradient)

    def state_dict(self) -> TensorDict:
        """Return copies of the logarithm and its moments."""
        moments = with_prefix("optimizer", self._optimizer.state_dict())
        return {"log": self._log.detach().clone(), **moments}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self._log.copy_(take_tensor(state, "log", self._log))
        self._optimizer.load_state_dict(under_prefix("optimizer", state))
