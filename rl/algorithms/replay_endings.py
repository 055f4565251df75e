"""Where episodes ended: what was seen last, and where the next ones begin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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

    def __init__(self, finals: list[Field], ring_rows: int, device: torch.device) -> None:
        """Make an empty queue.

        Args:
            finals: Shapes of the last observations of one copy, and of its last state.
            ring_rows: Rows of the ring that the boundaries lie in.
            device: Where they are kept.
        """
        self._finals = Columns(finals, 1, device)
        self._begins = Columns([Field((), torch.int64)], 1, device)
        self.oldest = 0
        self.count = 0
        self.begun = np.zeros(ring_rows, dtype=np.int32)
        """How many episodes begin in each row; on the host."""

    def append(
        self,
        finals: tuple[Float[Tensor, "ended agent obs"], Float[Tensor, "ended state"]],
        begins: Int64[Tensor, " ended"],
        row: int,
    ) -> Int64[Tensor, " ended"]:
        """Note episodes that ended.

        Args:
            finals: What was seen last, and the last state.
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
        for column, final in zip(self._finals.tensors, finals, strict=True):
            column[slots] = final.to(torch.float32)
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

    def finals(
        self, numbers: Int64[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch agent obs"], Float[Tensor, "batch state"]]:
        """Return last observations and states.

        Args:
            numbers: Of boundaries; -1 gives some row that means nothing.
        """
        observation, state = self._finals.at(self._slots(numbers))
        return observation, state

    def host_finals(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return last observations and states, in host memory.

        Args:
            numbers: Of boundaries.
        """
        rows = self._finals.packed_at(numbers & (len(self._finals) - 1))
        return rows["f0"], rows["f1"]

    def beginnings(self, ahead: Int64[Tensor, " batch"]) -> Int64[Tensor, " batch"]:
        """Return positions where episodes begin.

        Args:
            ahead: Which, counted from the oldest.
        """
        return self._begins.at(self._slots(ahead + self.oldest))[0]

    def state_dict(self) -> TensorDict:
        """Return copies of all boundaries."""
        return {
            **{name: column.clone() for name, column in self._named(self._finals)},
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
        for name, column in self._named(finals):
            column.copy_(take_tensor(state, name, column))
        begins.tensors[0].copy_(take_tensor(state, "begins", begins.tensors[0]))
        self.oldest, self.count = take_tensor(state, "queue").tolist()
        self._finals, self._begins, self.begun = finals, begins, begun.numpy().copy()

    def _named(self, finals: Columns) -> Iterator[tuple[str, Tensor]]:
        return zip(("final_observation", "final_state"), finals.tensors, strict=True)

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
        finals, begun = self._finals.at(before), self._begins.at(before)
        size = 1 << (needed - 1).bit_length()
        self._finals, self._begins = self._finals.resized(size), self._begins.resized(size)
        after = self._slots(live)
        for columns, contents in ((self._finals, finals), (self._begins, begun)):
            for column, content in zip(columns.tensors, contents, strict=True):
                column[after] = content
