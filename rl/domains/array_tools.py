"""The few array operations that NumPy and torch spell differently, and sparse sums of columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = Sequence[tuple[int, float]]
"""Columns and what each counts."""


def _take(values: Any, index: Any) -> Any:
    return np.take(values, index, axis=-1)


def _as_index(values: Any) -> Any:
    return np.asarray(values, np.int64)


def _as_array(values: Any) -> Any:
    return np.asarray(values, np.float32)


@dataclass(frozen=True, kw_only=True)
class ArrayTools:
    """An array namespace, NumPy or torch, and its ways to make and to pick."""

    xp: Any = np
    as_array: Callable[[Any], Any] = _as_array
    """Makes floats from nested lists."""
    as_index: Callable[[Any], Any] = _as_index
    take: Callable[[Any, Any], Any] = _take
    """Picks columns of the last axis; the index may have any shape."""

    def pad(self, values: Any) -> Any:
        """Append a column of zeros, which an index of `columns` then means.

        Args:
            values: `[..., columns]`.
        """
        shape = (*values.shape[:-1], 1)
        zeros = self.xp.broadcast_to(self.as_array([0.0]), shape)
        return self.xp.concatenate([values, zeros], -1)


class SparseSum:
    """Sums of weighted columns, one per target; the order of addition is that of the columns."""

    def __init__(self, targets: Sequence[Weights], num_columns: int, tools: ArrayTools) -> None:
        """Prepare the indices.

        Args:
            targets: Columns and weights of each target.
            num_columns: Columns there are.
            tools: Of the arrays.
        """
        self._tools = tools
        self._dense = len(targets) == 1 and 2 * len(targets[0]) >= num_columns > 1
        if self._dense:
            weights = np.zeros(num_columns)
            for column, value in targets[0]:
                weights[column] += value
            self._weight = tools.as_array(weights)
            self._plain = bool((weights == 1.0).all())
            return
        index = pad_rows([[column for column, _ in one] for one in targets], num_columns)
        weight = np.zeros(index.shape)
        for row, columns in enumerate(targets):
            weight[row, : len(columns)] = [value for _, value in columns]
        self._pads = bool((index == num_columns).any())
        self._single = index.shape[1] == 1
        self._plain = bool((weight[index < num_columns] == 1.0).all())
        self._same = self._single and index[:, 0].tolist() == list(range(num_columns))
        self._index = tools.as_index(index[:, 0] if self._single else index)
        self._weight = tools.as_array(weight[:, 0] if self._single else weight)

    def __call__(self, values: Any) -> Any:
        """Return the sums.

        Args:
            values: `[..., columns]`.

        Returns:
            `[..., target]`.
        """
        if self._dense:
            weighed = values if self._plain else values * self._weight
            return weighed.sum(-1)[..., None]
        padded = self._tools.pad(values) if self._pads else values
        picked = padded if self._same else self._tools.take(padded, self._index)
        if not self._plain:
            picked = picked * self._weight
        return picked if self._single else picked.sum(-1)


def pad_rows(rows: Sequence[Sequence[int]], filler: int) -> NDArray[np.int64]:
    """Put lists of different lengths into one table.

    Args:
        rows: At least one.
        filler: Fills the rest.
    """
    width = max((len(row) for row in rows), default=0) or 1
    table = np.full((len(rows), width), filler, np.int64)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table
