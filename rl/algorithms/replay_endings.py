"""Where episodes ended: their last observations, and where the next ones begin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rl.algorithms.policy_state import TensorDict, take_tensor
from rl.algorithms.replay_columns import Columns, Field

_NUMBERS = 2**31


class Endings:
    """A queue of boundaries between episodes, oldest first; it doubles when it is full.

    A boundary keeps its number for life; its slot is the number modulo the size, a power of two.
    It leaves when the row is overwritten in which its next episode begins.
    """

    def __init__(self, final_observation: Field, ring_rows: int, device: torch.device) -> None:
        """Make an empty queue.

        Args:
            final_observation: Shape of one.
            ring_rows: Rows of the ring that the boundaries lie in.
            device: Where they are kept.
        """
        self._finals = Columns([final_observation], 1, device)
        self._begins = Columns([Field((), torch.int64)], 1, device)
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
        slots = self._slots(numbers)
        self._finals.tensors[0][slots] = final_observation.to(torch.float32)
        self._begins.tensors[0][slots] = begins
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

    def final_observations(
        self, numbers: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch agent obs"]:
        """Return last observations.

        Args:
            numbers: Of boundaries; -1 gives some row that means nothing.
        """
        return self._finals.at(self._slots(numbers))[0]

    def host_finals(self, numbers: np.ndarray) -> np.ndarray:
        """Return last observations, in host memory.

        Args:
            numbers: Of boundaries.
        """
        return self._finals.packed_at(numbers & (len(self._finals) - 1))["f0"]

    def beginnings(self, ahead: Int64[Tensor, " batch"]) -> Int64[Tensor, " batch"]:
        """Return positions where episodes begin.

        Args:
            ahead: Which, counted from the oldest.
        """
        return self._begins.at(self._slots(ahead + self.oldest))[0]

    def state_dict(self) -> TensorDict:
        """Return copies of all boundaries."""
        return {
            "finals": self._finals.tensors[0].clone(),
            "begins": self._begins.tensors[0].clone(),
            "begun": torch.from_numpy(self.begun.copy()),
            "queue": torch.tensor([self.oldest, self.count]),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue with saved boundaries.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: A tensor is absent or has another shape or type.
        """
        begun = take_tensor(state, "begun", torch.from_numpy(self.begun))
        size = len(take_tensor(state, "begins"))
        finals, begins = self._finals.resized(size), self._begins.resized(size)
        finals.tensors[0].copy_(take_tensor(state, "finals", finals.tensors[0]))
        begins.tensors[0].copy_(take_tensor(state, "begins", begins.tensors[0]))
        self.oldest, self.count = take_tensor(state, "queue").tolist()
        self._finals, self._begins, self.begun = finals, begins, begun.numpy().copy()

    def _slots(self, numbers: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
        """Return where boundaries lie; the size is a power of two."""
        return numbers & (len(self._begins) - 1)

    def _grow(self, needed: int) -> None:
        """Double until `needed` boundaries fit; each goes to the slot of its number."""
        if needed <= len(self._begins):
            return
        begins = self._begins.tensors[0]
        live = torch.arange(self.count, device=begins.device) + self.oldest
        before = self._slots(live)
        contents = self._finals.at(before)[0], self._begins.at(before)[0]
        size = 1 << (needed - 1).bit_length()
        self._finals, self._begins = self._finals.resized(size), self._begins.resized(size)
        after = self._slots(live)
        self._finals.tensors[0][after], self._begins.tensors[0][after] = contents
