"""Equally long tensors of which the same rows are wanted at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

_MEMORY_INFO = Path("/proc/meminfo")


def available_bytes(device: torch.device) -> int:
    """Return the memory that is free for new tensors.

    Args:
        device: Where they would lie.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if _MEMORY_INFO.exists():
        lines = (line.split() for line in _MEMORY_INFO.read_text().splitlines())
        return next(int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Field:
    """Shape and type of one entry of a column."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
        """Describe a column.

        Args:
            shape: Of one row's entry.
            dtype: Of its numbers.
        """
        self.shape = tuple(shape)
        self.dtype = dtype


class Columns:
    """A table whose columns differ in shape and type.

    On the CPU a row is one stretch of memory that NumPy copies whole, and the columns are views of
    it: reading 256 of a million rows is bound by looks at distant memory, and so there is one per
    row. On other devices every column is a tensor of its own.
    """

    def __init__(self, fields: Sequence[Field], rows: int, device: torch.device) -> None:
        """Make a table of zeros.

        Args:
            fields: Of the columns.
            rows: How many.
            device: Where it lies.
        """
        self._fields = tuple(fields)
        self._device = device
        self._layout = _layout(self._fields)
        self._on_host = device.type == "cpu"
        self._names = [f"f{i}" for i in range(len(self._fields))]
        self._packed = np.zeros(rows if self._on_host else 0, self._layout)
        if self._on_host:
            self.tensors = self._unpacked(self._packed)
        else:
            self.tensors = [
                torch.zeros((rows, *field.shape), dtype=field.dtype, device=device)
                for field in self._fields
            ]

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.tensors[0])

    @property
    def num_bytes(self) -> int:
        """Bytes of one row."""
        return self._layout.itemsize

    def at(self, index: Int64[Tensor, " batch"], count: int | None = None) -> list[Tensor]:
        """Copy some rows of the columns.

        Args:
            index: Which; beyond the last row it is that one.
            count: How many of the first columns; None means all.
        """
        if not self._on_host:
            index = index.clamp_max(len(self) - 1)
            return [tensor.index_select(0, index) for tensor in self.tensors[:count]]
        return self._unpacked(self.packed_at(index.numpy()), count)

    def packed_at(self, index: np.ndarray) -> np.ndarray:
        """Copy some rows of all columns, named f0, f1, and so on; in host memory only.

        Args:
            index: Which; beyond the last row it is that one.
        """
        return self._packed.take(index, mode="clip")

    def resized(self, rows: int) -> Columns:
        """Return a copy of another length; new rows are zero.

        Args:
            rows: How many there are to be.
        """
        copy = Columns(self._fields, rows, self._device)
        for new, old in zip(copy.tensors, self.tensors, strict=True):
            new[: len(old)] = old[:rows]
        return copy

    def by_row(self, width: int) -> list[Tensor]:
        """Return views `[row, width, ...]` of the columns.

        Args:
            width: Rows that are put together.
        """
        groups = len(self) // width
        return [tensor.view(groups, width, *tensor.shape[1:]) for tensor in self.tensors]

    def _unpacked(self, packed: np.ndarray, count: int | None = None) -> list[Tensor]:
        """Return the first columns of packed rows, as views."""
        return [torch.from_numpy(packed[name]) for name in self._names[:count]]


def _layout(fields: Sequence[Field]) -> np.dtype[np.void]:
    """Place fields in a row, the widest first, so that every one is aligned."""
    formats = [(torch.empty(0, dtype=field.dtype).numpy().dtype, field.shape) for field in fields]
    sizes = [np.dtype(one).itemsize for one in formats]
    widest = max(field.dtype.itemsize for field in fields)
    offsets, end = [0] * len(fields), 0
    for i in sorted(range(len(fields)), key=lambda i: -fields[i].dtype.itemsize):
        offsets[i], end = end, end + sizes[i]
    return np.dtype(
        {
            "names": [f"f{i}" for i in range(len(fields))],
            "formats": formats,
            "offsets": offsets,
            "itemsize": -(-end // widest) * widest,
        }
    )
