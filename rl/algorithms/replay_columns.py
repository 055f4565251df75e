"""Equally long tensors of which the same rows are wanted at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor


class Columns:
    """A table whose columns differ in shape and type.

    On the CPU rows are taken through NumPy's view of the same memory, whose `take` costs less
    than `index_select`, above all where many small columns are read.
    """

    def __init__(self, tensors: Sequence[Shaped[Tensor, "row ..."]]) -> None:
        """Take tensors as columns.

        Args:
            tensors: Contiguous, without gradient; not copied.
        """
        self.tensors = tuple(tensors)
        on_cpu = all(tensor.device.type == "cpu" for tensor in self.tensors)
        self._arrays = [tensor.numpy() for tensor in self.tensors] if on_cpu else None

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.tensors[0])

    def at(self, index: Int64[Tensor, " batch"]) -> list[Tensor]:
        """Copy some rows of every column.

        Args:
            index: Which; all exist.
        """
        if self._arrays is None:
            return [tensor.index_select(0, index) for tensor in self.tensors]
        rows = index.numpy()
        return [torch.from_numpy(array.take(rows, 0, mode="clip")) for array in self._arrays]

    def resized(self, rows: int) -> Columns:
        """Return a copy of another length; new rows are zero.

        Args:
            rows: How many there are to be.
        """
        copies = [tensor.new_zeros((rows, *tensor.shape[1:])) for tensor in self.tensors]
        for new, old in zip(copies, self.tensors, strict=True):
            new[: len(old)] = old[:rows]
        return Columns(copies)

    def by_row(self, width: int) -> list[Tensor]:
        """Return views `[row, width, ...]` of the columns.

        Args:
            width: Rows that are put together.
        """
        groups = len(self) // width
        return [tensor.view(groups, width, *tensor.shape[1:]) for tensor in self.tensors]

    @property
    def num_bytes(self) -> int:
        """Bytes of one row."""
        return sum(tensor[:1].nbytes for tensor in self.tensors)
