"""Where episodes ended: their last observations, and where the next ones begin."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rl.algorithms.replay_records import rows_at

_NUMBERS = 2**31


class Endings:
    """A queue of boundaries between episodes, oldest first; it doubles when it is full.

    A boundary keeps its number for life; its slot is the number modulo the size, a power of two.
    It leaves when the row is overwritten in which its next episode begins.
    """

    def __init__(self, final_observation: Float[Tensor, "env agent obs"], ring_rows: int) -> None:
        """Make an empty queue.

        Args:
            final_observation: For its shape and device.
            ring_rows: Rows of the ring that the boundaries lie in.
        """
        self.finals = torch.zeros_like(final_observation[:1], dtype=torch.float32)
        self.begins = torch.zeros(1, dtype=torch.int64, device=final_observation.device)
        self.oldest = 0
        self.count = 0
        self.begun = np.zeros(ring_rows, dtype=np.int32)
        """How many episodes begin in each row; on the host."""

    def append(
        self,
        final_observation: Float[Tensor, "ended agent obs"],
        begins: Int64[Tensor, " ended"],
        row: int,
    ) -> Int64[Tensor, " ended"]:
        """Note episodes that ended.

        Args:
            final_observation: What was seen last.
            begins: Positions of the first steps of the episodes that follow.
            row: Row of those positions.

        Returns:
            Numbers of the boundaries.
        """
        added = len(begins)
        self._grow(self.count + added)
        ahead = torch.arange(self.count, self.count + added, device=begins.device)
        numbers = (ahead + self.oldest) % _NUMBERS
        slots = self.slots(numbers)
        self.finals[slots] = final_observation.to(torch.float32)
        self.begins[slots] = begins
        self.count += added
        self.begun[row] += added
        return numbers

    def forget(self, row: int) -> None:
        """Drop the boundaries whose next episodes begin in a row; they are the oldest.

        Args:
            row: The row that is about to be overwritten.
        """
        dropped = int(self.begun[row])
        self.oldest = (self.oldest + dropped) % _NUMBERS
        self.count -= dropped
        self.begun[row] = 0

    def slots(self, numbers: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
        """Return where boundaries lie.

        Args:
            numbers: Of boundaries; -1 gives a slot that exists and means nothing.
        """
        return numbers & (len(self.begins) - 1)

    def final_observations(
        self, numbers: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch agent obs"]:
        """Return last observations.

        Args:
            numbers: Of boundaries; whatever stands in some slot where -1.
        """
        return rows_at(self.finals, self.slots(numbers))

    def _grow(self, needed: int) -> None:
        """Double until `needed` boundaries fit."""
        size = len(self.begins)
        if needed <= size:
            return
        doubled = 1 << (needed - 1).bit_length()
        live = torch.arange(self.count, device=self.begins.device) + self.oldest
        finals = self.finals.new_zeros((doubled, *self.finals.shape[1:]))
        begins = self.begins.new_zeros(doubled)
        finals[live & (doubled - 1)] = self.finals[live & (size - 1)]
        begins[live & (doubled - 1)] = self.begins[live & (size - 1)]
        self.finals, self.begins = finals, begins
