"""The figures of one PPO update, kept as rows until its end: nothing is averaged in between."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rl.algorithms.policy_state import TensorDict
from rl.algorithms.ppo_gradient import LossRows

STEP_METRICS = (
    *("policy_loss", "value_loss", "entropy_loss"),
    *("kl_divergence", "clipfrac", "gradient_norm"),
)


class UpdateHistory:
    """What every minibatch of an update came to."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rows: list[LossRows] = []
        self._shares: list[Tensor] = []
        self._norms: list[Tensor] = []

    def __len__(self) -> int:
        """Count the minibatches."""
        return len(self._rows)

    def add(
        self, rows: LossRows, share: Float[Tensor, "stack row"], norm: Float[Tensor, ""]
    ) -> None:
        """Keep one minibatch.

        Args:
            rows: Its figures.
            share: Weight of each row.
            norm: Of the gradient, before it was clipped.
        """
        self._rows.append(rows)
        self._shares.append(share)
        self._norms.append(norm)

    def divergence(self, last: int) -> Float[Tensor, ""]:
        """Estimate KL(old || new) over the last minibatches by E[(r - 1) - log r].

        Args:
            last: How many.
        """
        log_ratio = torch.stack([rows.log_ratio for rows in self._rows[-last:]])
        return self._mean(log_ratio.exp() - 1.0 - log_ratio, last)

    def means(self, epsilon: float) -> TensorDict:
        """Return the `STEP_METRICS`, averaged over minibatches and sets of weights with live rows.

        Args:
            epsilon: Half the width of the interval of ratios that are not counted as clipped.
        """
        surrogate, square, entropy, log_ratio = (
            torch.stack(column) for column in zip(*self._rows, strict=True)
        )
        clipped = ((log_ratio.exp() - 1.0).abs() > epsilon).float()
        return {
            "policy_loss": -self._mean(surrogate, len(self)),
            "value_loss": self._mean(square, len(self)),
            "entropy_loss": -self._mean(entropy, len(self)),
            "kl_divergence": self.divergence(len(self)),
            "clipfrac": self._mean(clipped, len(self)),
            "gradient_norm": torch.stack(self._norms).mean(),
        }

    def _mean(self, quantity: Float[Tensor, "minibatch stack row"], last: int) -> Tensor:
        share = torch.stack(self._shares[-last:])
        live = share.sum().clamp_min(torch.finfo(share.dtype).tiny)
        return (share * quantity).sum() / live
