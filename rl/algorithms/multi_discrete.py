"""Several choices at once: one categorical distribution per part of the action."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rl.algorithms.heads import MaskedCategorical


@dataclass(frozen=True)
class MultiCategorical:
    """Independent choices, whose logits and masks lie side by side in the order of the parts."""

    parts: tuple[MaskedCategorical, ...]

    @classmethod
    def from_logits(
        cls,
        logits: Float[Tensor, "*batch choices"],
        mask: Bool[Tensor, "*batch choices"] | None,
        num_choices: tuple[int, ...],
    ) -> MultiCategorical:
        """Normalise each part over the choices that its mask allows.

        Args:
            logits: Of all parts.
            mask: True where a choice may be taken; None where all may.
            num_choices: How many each part has.
        """
        of_part = logits.split_with_sizes(num_choices, -1)
        masks = [None] * len(of_part) if mask is None else mask.split_with_sizes(num_choices, -1)
        pairs = zip(of_part, masks, strict=True)
        return cls(tuple(MaskedCategorical.from_logits(one, allowed) for one, allowed in pairs))

    def sample(self, generator: torch.Generator) -> Int64[Tensor, "*batch part"]:
        """Draw one action per row.

        Args:
            generator: Source of chance, on the device of the distribution.
        """
        return torch.stack([part.sample(generator) for part in self.parts], -1)

    def mode(self) -> Int64[Tensor, "*batch part"]:
        """Return the likeliest choice of each part."""
        return torch.stack([part.mode() for part in self.parts], -1)

    def log_prob(self, action: Int64[Tensor, "*batch part"]) -> Float[Tensor, "*batch"]:
        """Return the log-probability of one action per row: the sum over its parts.

        Args:
            action: Index of the choice of each part.
        """
        choices = action.unbind(-1)
        pairs = zip(self.parts, choices, strict=True)
        return torch.stack([part.log_prob(choice) for part, choice in pairs]).sum(0)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Return the sum of the parts' entropies."""
        return torch.stack([part.entropy() for part in self.parts]).sum(0)

    def output_gradient(
        self,
        action: Int64[Tensor, "*batch part"],
        grad_log_prob: Float[Tensor, "*batch"],
        grad_entropy: Float[Tensor, "*batch"] | None,
    ) -> tuple[Float[Tensor, "*batch choices"], None]:
        """Return the loss's gradient at the logits of all parts.

        Args:
            action: As drawn by `sample`.
            grad_log_prob: Derivative of the loss by each row's log-probability.
            grad_entropy: Derivative by each row's entropy; None for 0.
        """
        pairs = zip(self.parts, action.unbind(-1), strict=True)
        gradients = [
            part.output_gradient(choice, grad_log_prob, grad_entropy)[0] for part, choice in pairs
        ]
        return torch.cat(gradients, -1), None
