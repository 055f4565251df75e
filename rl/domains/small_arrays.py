"""NumPy without the conveniences that cost more than the work on a few hundred numbers.

A decision handles arrays of that size only; the results are those of NumPy's own functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class SmallArrays:
    """The functions that a domain takes from its array namespace."""

    concatenate = staticmethod(np.concatenate)
    minimum = staticmethod(np.minimum)
    sin = staticmethod(np.sin)
    cos = staticmethod(np.cos)
    exp = staticmethod(np.exp)
    log = staticmethod(np.log)

    @staticmethod
    def clip(values: Any, low: float, high: float | None) -> Any:
        """Return values moved into a range.

        Args:
            values: An array.
            low: Its lower end.
            high: Its upper end; None for none.
        """
        above = np.maximum(values, low)
        return above if high is None else np.minimum(above, high)

    @staticmethod
    def mean(values: Any, axis: int) -> Any:
        """Return means along an axis.

        Args:
            values: An array of floating numbers.
            axis: Which.
        """
        return np.add.reduce(values, axis) / values.shape[axis]

    @staticmethod
    def broadcast_to(values: Any, shape: tuple[int, ...]) -> Any:
        """Return values repeated to a shape.

        Args:
            values: An array.
            shape: Ends with that of the array.
        """
        repeated = np.empty(shape, values.dtype)
        repeated[...] = values
        return repeated
