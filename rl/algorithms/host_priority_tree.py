"""The priority tree of a replay in host memory: NumPy, whose calls on small arrays cost least."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

FAN_OUT_BITS = 4
FAN_OUT = 1 << FAN_OUT_BITS
MOST_AT_TOP = 8192


class HostPriorityTree:
    """Priorities at positions, the sums of every `FAN_OUT` of them, the sums of those, and so on.

    A draw looks once into the running total of the top sums, then once into a group of every level
    below. A group is two cache lines, and few sums are left at the top: for a million priorities
    3,907. Sums are always made afresh from what they sum, so that no rounding gathers.
    """

    def __init__(self, size: int) -> None:
        """Make a tree of zeros.

        Args:
            size: Positions.
        """
        self._groups: list[np.ndarray] = []
        """Of every level, the lowest first: `[group, FAN_OUT]`."""
        nodes = size
        while nodes > MOST_AT_TOP or not self._groups:
            nodes = -(-nodes // FAN_OUT)
            self._groups.append(np.zeros((nodes, FAN_OUT)))
        self._top = np.zeros(nodes)
        """Sums of the groups of the highest level."""
        self._levels = [*(groups.reshape(-1) for groups in self._groups), self._top]
        self._running = np.zeros(nodes + 1)
        # Views for running totals, in which torch is five times as fast as NumPy.
        self._top_tensor = torch.from_numpy(self._top)
        self._running_tensor = torch.from_numpy(self._running)[1:]
        self._make_room(0)

    @property
    def priorities(self) -> Float[Tensor, " position"]:
        """All of them, as a view."""
        return torch.from_numpy(self._levels[0])

    def total(self) -> Float[Tensor, ""]:
        """Return the sum of all priorities."""
        return torch.from_numpy(self._top).sum()

    def set(self, position: Int64[Tensor, " batch"], priority: Float[Tensor, " batch"]) -> None:
        """Set priorities; of one position named twice, one of the values counts.

        Args:
            position: Whose.
            priority: Not negative; 0 is never drawn.
        """
        node = position.numpy()
        self._levels[0][node] = priority.numpy()
        for groups, sums in zip(self._groups, self._levels[1:], strict=True):
            node = node >> FAN_OUT_BITS
            # A sum along rows of 16 in half the time of `sum(1)`.
            sums[node] = np.einsum("ij->i", groups.take(node, 0, mode="clip"))

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
            self._make_room(batch_size)
        torch.cumsum(self._top_tensor, 0, out=self._running_tensor)
        # What is left lies in (0, total], so that the first sum that reaches it is not zero.
        self._below.uniform_(0.0, 1.0 / batch_size, generator=generator)
        rest = self._upper - self._below.numpy()
        rest *= self._running[-1]
        node = self._running[1:].searchsorted(rest)
        rest -= self._running[node]
        for groups in reversed(self._groups):
            groups.take(node, 0, self._group, "clip")
            torch.cumsum(self._group_tensor, 1, out=self._within_tensor)
            np.minimum(rest, self._within[:, -1], out=rest)
            child = (self._within[:, 1:] >= rest[:, None]).argmax(1)
            rest -= self._within[self._rows, child]
            node <<= FAN_OUT_BITS
            node += child
        return torch.from_numpy(node), torch.from_numpy(self._levels[0][node])

    def _make_room(self, batch_size: int) -> None:
        """Make what the draws of one batch size share."""
        self._rows = np.arange(batch_size)
        self._upper = (self._rows + 1) / max(batch_size, 1)
        """Upper ends of the shares, as fractions of the sum."""
        self._below = torch.zeros(batch_size, dtype=torch.float64)
        self._group = np.zeros((batch_size, FAN_OUT))
        """The groups looked into."""
        self._within = np.zeros((batch_size, FAN_OUT + 1))
        """Their running totals, from 0 on."""
        self._group_tensor = torch.from_numpy(self._group)
        self._within_tensor = torch.from_numpy(self._within)[:, 1:]
