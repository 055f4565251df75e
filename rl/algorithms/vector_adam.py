"""Adam of one vector, at the price of its arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from rl.algorithms.policy_state import TensorDict, take_tensor

MOMENTS = ("0.step", "0.exp_avg", "0.exp_avg_sq")
"""Names in the saved state: those of torch's optimiser for its only parameter."""


class VectorAdam:
    """Adam (arXiv:1412.6980) by the kernel of `torch.optim.Adam(fused=True)`, bit for bit.

    What torch's class does around the kernel at every step takes ten times as long as the kernel
    does for a small network.
    """

    def __init__(
        self, vector: Float[Tensor, "*shape"], *, learning_rate: float, epsilon: float = 1e-8
    ) -> None:
        """Begin with empty moments.

        Args:
            vector: Changed by every step; on its device.
            learning_rate: Of every step until it is set anew.
            epsilon: Added to the root of the second moment.
        """
        self.learning_rate = learning_rate
        self._epsilon = epsilon
        self._vector = vector
        self._moments = [torch.zeros_like(vector.detach()) for _ in range(2)]
        self._steps = torch.zeros((), device=vector.device)

    @torch.no_grad()
    def step(self, gradient: Float[Tensor, "*shape"]) -> None:
        """Take one step.

        Args:
            gradient: Of the loss.
        """
        self._steps += 1.0
        first, second = self._moments
        torch._fused_adam_(
            [self._vector],
            [gradient],
            [first],
            [second],
            [],
            [self._steps],
            lr=self.learning_rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> TensorDict:
        """Return copies of the count of steps and of both moments."""
        kept = (self._steps, *self._moments)
        return {name: tensor.clone() for name, tensor in zip(MOMENTS, kept, strict=True)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        for name, tensor in zip(MOMENTS, (self._steps, *self._moments), strict=True):
            tensor.copy_(take_tensor(state, name, tensor))
