"""Rows of bytes that hold one step each, so that a step is fetched with one look at memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Int64, Shaped, UInt8
from torch import Tensor

ALIGNMENT = 8


class Field(NamedTuple):
    """One quantity of a record."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class RecordLayout:
    """Where each field lies within a row of bytes."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        """Place the fields, widest types first, so that every one is aligned.

        Args:
            fields: By name.
        """
        self._places: list[tuple[str, Field, tuple[int, ...], int]] = []
        position = 0
        for name, field in sorted(fields.items(), key=lambda item: -item[1].dtype.itemsize):
            strides = tuple(math.prod(field.shape[i + 1 :]) for i in range(len(field.shape)))
            self._places.append((name, field, strides, position // field.dtype.itemsize))
            position += math.prod(field.shape) * field.dtype.itemsize
        self.num_bytes = -(-position // ALIGNMENT) * ALIGNMENT

    def columns(self, rows: UInt8[Tensor, "row bytes"]) -> dict[str, Tensor]:
        """Return every field of some rows, `[row, *shape]`, as views that write through.

        Args:
            rows: Contiguous, beginning at the start of their memory.
        """
        columns = {}
        for name, field, strides, start in self._places:
            size = (len(rows), *field.shape)
            stride = (self.num_bytes // field.dtype.itemsize, *strides)
            columns[name] = rows.view(field.dtype).as_strided(size, stride, start)
        return columns


def rows_at(
    table: Shaped[Tensor, "row ..."], index: Int64[Tensor, " batch"]
) -> Shaped[Tensor, "batch ..."]:
    """Copy some rows of a table.

    On the CPU through NumPy, whose `take` needs about half the time of `index_select`.

    Args:
        table: Without gradient.
        index: Which rows; all exist.
    """
    if table.device.type == "cpu":
        return torch.from_numpy(table.numpy().take(index.numpy(), axis=0, mode="clip"))
    return table.index_select(0, index)


def smallest_integer(num_choices: int) -> torch.dtype:
    """Return the narrowest integer type that holds every choice.

    Args:
        num_choices: Choices are `0 .. num_choices - 1`.
    """
    kinds = (torch.int8, torch.int16, torch.int32)
    return next(kind for kind in kinds if num_choices - 1 <= torch.iinfo(kind).max)
