"""What every answer must satisfy, whoever gives it: finite, in capacity, on known ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.artifacts import ValidRange
from rl.domains.resource_allocation import AllocationDomain

Array64 = NDArray[np.float64]
GRID_BITS = 40
"""Allocations are multiples of about capacity / 2**40, so that their sums are exact."""
SMALLEST_EXPONENT = -1000
"""A capacity below 2**-1000 is as good as none, and dividing by a finer grid would overflow."""
RANGE_TOLERANCE = 1e-5
"""Relative; ranges come from float32 arrays, requests hold decimal numbers."""


class FallbackReason(StrEnum):
    """Why the expert answered in place of the policy."""

    NOT_FINITE = "not_finite"
    """The policy's output held NaN or infinity."""
    ERROR = "error"
    """The policy failed."""
    DEADLINE = "deadline"
    """The policy was not done in time."""
    OUTSIDE_VALIDATED_RANGE = "outside_validated_range"
    """The request lies where the policy was neither trained nor evaluated."""
    CIRCUIT_OPEN = "circuit_open"
    """The policy failed so often of late that it was not asked."""
    DRIFT = "drift"
    """Requests look so different from those at first that the policy was not asked."""


@dataclass(frozen=True, kw_only=True)
class OutOfRange:
    """A request field outside the range that the policy is known for."""

    field: str
    value: float
    valid: ValidRange


def finite_rows(output: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Tell which outputs of a policy hold numbers only.

    Args:
        output: `[..., act]`, before clipping, which would make infinity look sound.

    Returns:
        `[...]`.
    """
    finite: NDArray[np.bool_] = np.isfinite(output).all(-1)
    return finite


def project_safely(
    domain: AllocationDomain, action: NDArray[np.float32], capacity: Array64
) -> Array64:
    """Turn a planner's action into an allocation that no rounding lifts above the capacity.

    Args:
        domain: Says what is feasible.
        action: `[..., service * resource]`, finite.
        capacity: `[..., resource]`, finite and not negative.

    Returns:
        `[..., service, resource]`: not negative, and summed over services, in any order, in double
        precision, at most the capacity.
    """
    allocation = domain.project(action, capacity.astype(np.float32))
    return fit_to_capacity(np.asarray(allocation, np.float64), capacity)


def fit_to_capacity(allocation: Array64, capacity: Array64) -> Array64:
    """Round down to a grid on which sums are exact, and take off what is still too much.

    Args:
        allocation: `[..., service, resource]`, finite, about within the capacity.
        capacity: `[..., resource]`, finite and not negative.

    Returns:
        `[..., service, resource]`, as `project_safely` says.
    """
    exponent = np.maximum(np.frexp(capacity)[1] - GRID_BITS, SMALLEST_EXPONENT)
    grid = np.ldexp(1.0, exponent)
    limit = np.floor(capacity / grid)
    units = np.floor(np.maximum(allocation, 0.0) / grid[..., None, :])
    ahead = np.cumsum(units, axis=-2) - units
    room = np.maximum(limit[..., None, :] - ahead, 0.0)
    fitted: Array64 = np.minimum(units, room) * grid[..., None, :]
    return fitted


def overbooked(
    domain: AllocationDomain, action: NDArray[np.float32], tolerance: float = 1e-6
) -> NDArray[np.bool_]:
    """Tell which resources the policy asked more of than there is.

    Args:
        domain: Says which dimension asks for what.
        action: `[..., service * resource]`.
        tolerance: Share of the capacity that counts as rounding.

    Returns:
        `[..., resource]`.
    """
    share = action.reshape((*action.shape[:-1], domain.num_services, domain.num_resources))
    above: NDArray[np.bool_] = share.clip(0.0, 1.0).sum(-2) > 1.0 + tolerance
    return above


def find_out_of_range(
    values: Mapping[str, Sequence[float]], valid: tuple[ValidRange, ...]
) -> tuple[OutOfRange, ...]:
    """Name the request fields that hold a value outside the validated ranges.

    Args:
        values: Numbers of the request by field, under the names that the card uses.
        valid: The ranges of the card; fields without one are not checked.

    Returns:
        One entry per field, with its worst value.
    """
    found = []
    for one in valid:
        numbers = values.get(one.field)
        if not numbers:
            continue
        low, high = min(numbers), max(numbers)
        if one.low <= low and high <= one.high:
            continue
        slack = RANGE_TOLERANCE * max(abs(one.low), abs(one.high))
        if high > one.high + slack:
            found.append(OutOfRange(field=one.field, value=high, valid=one))
        elif low < one.low - slack:
            found.append(OutOfRange(field=one.field, value=low, valid=one))
    return tuple(found)
