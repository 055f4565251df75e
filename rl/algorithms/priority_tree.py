"""Draws in proportion to priorities (Schaul et al., 2016, arXiv:1511.05952)."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rl.algorithms.host_priority_tree import HostPriorityTree

Array = TypeVar("Array", Tensor, np.ndarray)

FAN_OUT_BITS = 6
FAN_OUT = 1 << FAN_OUT_BITS


def importance_weights(priority: Float[Array, " batch"], beta: float) -> Float[Array, " batch"]:
    """Return w_i = (N P(i))^-beta / max_j w_j, which is (p_i / min_j p_j)^-beta.

    Args:
        priority: p, positive; P is p over its sum and N how many there are, and both cancel.
        beta: 0 corrects nothing, 1 all of the bias.
    """
    weight: Array = (priority / priority.min()) ** -beta
    return weight


def priority_tree(size: int, device: torch.device) -> PriorityTree | HostPriorityTree:
    """Return a tree of zeros: NumPy's in host memory, half the time of the other, or torch's.

    Args:
        size: Positions.
        device: Where the priorities lie.
    """
    return HostPriorityTree(size) if device.type == "cpu" else PriorityTree(size, device)


class PriorityTree:
    """Priorities at positions on any device, and the sums of every `FAN_OUT` of them.

    Two levels, because a step down costs about ten small operations whatever its width: with
    64 at the lower one, a million priorities have 15,625 sums, whose running total takes 15 us.
    Sums are always made afresh from what they sum, so that no rounding gathers.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        """Make a tree of zeros.

        Args:
            size: Positions.
            device: Where the priorities lie.
        """
        nodes = -(-size // FAN_OUT)
        self._groups = torch.zeros((nodes, FAN_OUT), dtype=torch.float64, device=device)
        self._leaves = self._groups.view(-1)
        self._sums = torch.zeros(nodes, dtype=torch.float64, device=device)
        self._running = torch.zeros(nodes + 1, dtype=torch.float64, device=device)
        self._upper = torch.zeros(0, dtype=torch.float64, device=device)
        """Upper ends of the shares, as fractions of the sum; of the last batch size asked for."""

    @property
    def priorities(self) -> Float[Tensor, " position"]:
        """All of them, as a view."""
        return self._leaves

    def total(self) -> Float[Tensor, ""]:
        """Return the sum of all priorities."""
        return self._sums.sum()

    def set(self, position: Int64[Tensor, " batch"], priority: Float[Tensor, " batch"]) -> None:
        """Set priorities; of one position named twice, one of the values counts.

        Args:
            position: Whose.
            priority: Not negative; 0 is never drawn, nor is what is not finite.
        """
        # A search for what is not a number would end behind the last sum, out of bounds.
        finite = priority.nan_to_num(0.0, 0.0, 0.0)
        self._leaves[position] = finite.to(self._leaves.dtype)
        node = position >> FAN_OUT_BITS
        self._sums[node] = self._groups.index_select(0, node).sum(1)

    def draw(
        self, batch_size: int, generator: torch.Generator
    ) -> tuple[Int64[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Draw positions in proportion to their priorities, one from each equal share of the sum.

        Args:
            batch_size: How many shares.
            generator: Source of the draws.

        Returns:
            Positions in rising order, and their priorities.
        """
        if len(self._upper) != batch_size:
            shares = torch.arange(1, batch_size + 1, dtype=torch.float64, device=self._sums.device)
            self._upper = shares / batch_size
        running = torch.cumsum(self._sums, 0, out=self._running[1:])
        # Aims lie in (0, total], so that the first sum that reaches one is not zero.
        below = torch.empty_like(self._upper).uniform_(0.0, 1.0 / batch_size, generator=generator)
        aim = (self._upper - below).mul_(running[-1])
        node = torch.searchsorted(running, aim)
        within = self._groups.index_select(0, node).cumsum(1)
        rest = torch.minimum(aim.sub_(self._running.index_select(0, node)), within[:, -1])
        leaf = torch.searchsorted(within, rest.unsqueeze(1))
        position = torch.add(leaf.squeeze(1), node, alpha=FAN_OUT)
        return position, self._leaves.index_select(0, position)
