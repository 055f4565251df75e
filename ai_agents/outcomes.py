"""What came after a decision: read from a reported outcome, or seen in the next request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 1e15
"""More than that is a slip of whoever told it, and would make regret infinite."""


def read_amounts(told: Any, names: Collection[str]) -> NDArray[np.float64] | None:
    """Return amounts by name as an array, in the order of the names.

    Args:
        told: Part of an outcome: whatever somebody reported.
        names: Each must be there.

    Returns:
        `[name]`; None unless all are numbers from 0 to `LARGEST`.
    """
    if not (isinstance(told, Mapping) and all(_is_amount(told.get(name)) for name in names)):
        return None
    return np.asarray([float(told[name]) for name in names])


def continues(before: Sequence[float], after: Sequence[float]) -> bool:
    """Whether a history is an earlier one and one step more.

    Args:
        before: Oldest first.
        after: Perhaps with its beginning forgotten.
    """
    shared = min(len(before), len(after) - 1)
    return shared >= 1 and list(after[-1 - shared : -1]) == list(before[-shared:])


def _is_amount(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value <= LARGEST
