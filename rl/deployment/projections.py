"""Exact projections onto what is feasible: pure, batched, safe in double precision.

"Exact" means: what comes out satisfies the constraint as NumPy adds it up along the last axis, with
no tolerance; what satisfies it already comes out as it went in, bit for bit; and projecting twice
changes nothing. Only `to_simplex` and `to_lots` promise the nearest point. `to_budget` and
`to_leverage` shrink in proportion, which keeps the mix that the policy chose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.errors import QuartermasterError

Array64 = NDArray[np.float64]
LARGEST = 1e100
"""Sums and products of amounts up to this cannot overflow."""
LARGEST_WHOLE = float(2**52)
"""Whole numbers up to this, and their neighbours, are exact in double precision."""


class ProjectionError(QuartermasterError, ValueError):
    """Amounts or limits are not finite, too large or negative where they must not be."""


def to_simplex(weights: ArrayLike, total: ArrayLike) -> Array64:
    """Return the nearest point with no negative weight and no more than the total.

    Args:
        weights: `[..., item]`, finite.
        total: `[...]`, at least 0.

    Returns:
        `[..., item]`, nearest by Euclidean distance, up to rounding.

    Raises:
        ProjectionError: A number is not finite or too large, or a total is negative.
    """
    wanted = _checked(weights, "weights")
    limit = _checked_limit(total, "total", wanted)
    kept = np.maximum(wanted, 0.0) + 0.0  # no negative zeros
    is_over = kept.sum(-1) > limit
    if not is_over.any():
        return kept
    shifted = np.maximum(kept - _water_level(kept, limit)[..., None], 0.0)
    return np.where(is_over[..., None], _shrink(shifted, shifted, limit), kept)


def to_budget(amounts: ArrayLike, prices: ArrayLike, budget: ArrayLike) -> Array64:
    """Shrink amounts in proportion until the budget pays for them; negative ones become zero.

    Rounding the result down, to whole units say, keeps it within the budget.

    Args:
        amounts: `[..., item]`, finite.
        prices: `[..., item]` or `[item]`, per unit, at least 0.
        budget: `[...]`, at least 0.

    Returns:
        `[..., item]` whose `(amounts * prices).sum(-1)` is at most the budget.

    Raises:
        ProjectionError: A number is not finite or too large, or a price or budget is negative.
    """
    wanted = _checked(amounts, "amounts")
    price = np.broadcast_to(_checked_limit(prices, "prices", None), wanted.shape)
    limit = _checked_limit(budget, "budget", wanted)
    kept = np.maximum(wanted, 0.0) + 0.0
    return _shrink(kept, kept * price, limit, price)


def to_leverage(weights: ArrayLike, gross_limit: ArrayLike) -> Array64:
    """Shrink weights in proportion until their absolute values sum to no more than the limit.

    Args:
        weights: `[..., item]`, finite; negative ones are short positions.
        gross_limit: `[...]`, at least 0.

    Returns:
        `[..., item]` whose `abs(weights).sum(-1)` is at most the limit.

    Raises:
        ProjectionError: A number is not finite or too large, or a limit is negative.
    """
    wanted = _checked(weights, "weights")
    limit = _checked_limit(gross_limit, "gross_limit", wanted)
    return _shrink(wanted, np.abs(wanted), limit)


def to_lots(amounts: ArrayLike, lot: ArrayLike, limit: ArrayLike) -> NDArray[np.int64]:
    """Return the nearest whole lots whose sum is no more than the limit.

    For a limit of each item alone, pass `amounts[..., None]` and limits `[..., item]`.

    Args:
        amounts: `[..., item]`, finite, at most 2**52; negative ones become zero.
        lot: `[...]` or one number, whole, at least 1: units per lot, the same for a row's items.
        limit: `[...]`, at least 0: units in all.

    Returns:
        `[..., item]` units, each a multiple of the lot; nearest by Euclidean distance.

    Raises:
        ProjectionError: A number is not finite or too large, a lot not whole, a limit negative.
    """
    wanted = _checked(amounts, "amounts", LARGEST_WHOLE)
    size = _checked_limit(lot, "lot", wanted)
    if (size < 1).any() or (size != np.floor(size)).any() or (size > LARGEST_WHOLE).any():
        raise ProjectionError("lot: whole numbers of at least 1, at most 2**52")
    room = np.floor(np.minimum(_checked_limit(limit, "limit", wanted), LARGEST_WHOLE) / size)
    lots = np.maximum(wanted, 0.0) / size[..., None]
    nearest = np.rint(lots)
    is_over = nearest.sum(-1) > room
    # What is nearest on the edge is the nearest point of the edge with its fractions rounded so
    # that the sum holds: the largest go up.
    edge = np.maximum(lots - _water_level(lots, room)[..., None], 0.0)
    counts = np.where(is_over[..., None], _round_to_sum(edge, room), nearest)
    return (counts * size[..., None]).astype(np.int64)


def _water_level(amounts: Array64, total: Array64) -> Array64:
    """Return what to take off every amount so that the positive rests sum to the total."""
    ordered = -np.sort(-amounts, axis=-1)
    ranks = np.arange(1, amounts.shape[-1] + 1)
    levels = (np.cumsum(ordered, axis=-1) - total[..., None]) / ranks
    last = np.maximum((ordered > levels).sum(-1, keepdims=True) - 1, 0)
    level: Array64 = np.take_along_axis(levels, last, axis=-1)[..., 0]
    return level


def _round_to_sum(amounts: Array64, total: Array64) -> Array64:
    """Round up the largest fractions, as many as the whole total has room for, the others down."""
    floors = np.floor(amounts)
    room = np.maximum(total - floors.sum(-1), 0.0)[..., None]
    fraction = amounts - floors
    rank = np.argsort(np.argsort(-fraction, axis=-1, kind="stable"), axis=-1, kind="stable")
    lifted = floors + ((rank < room) & (fraction > 0))
    # Rounding of the level may leave a floor one too high: take the surplus off from the front.
    ahead = np.cumsum(lifted, axis=-1) - lifted
    fitted: Array64 = np.minimum(lifted, np.maximum(total[..., None] - ahead, 0.0))
    return fitted


def _shrink(
    amounts: Array64, costs: Array64, limit: Array64, prices: Array64 | None = None
) -> Array64:
    """Scale rows whose costs sum to more than the limit by a factor that rounding cannot undo."""
    cost = costs.sum(-1)
    is_over = cost > limit
    slack = 1.0 - (costs.shape[-1] + 4) * np.finfo(np.float64).eps
    factor = np.divide(limit, cost, out=np.ones_like(cost), where=is_over) * slack
    scaled = amounts * np.where(is_over, factor, 1.0)[..., None]
    paid = np.abs(scaled) if prices is None else scaled * prices
    # Below the normal range rounding is no longer relative; there nothing is granted.
    is_fine = paid.sum(-1) <= limit
    return np.where(is_fine[..., None], scaled, 0.0)


def _checked(values: ArrayLike, name: str, largest: float = LARGEST) -> Array64:
    array = np.asarray(values, np.float64)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ProjectionError(f"{name}: at least one item along the last axis")
    if not (np.abs(array) <= largest).all():
        raise ProjectionError(f"{name}: finite numbers of at most {largest:g}")
    return array


def _checked_limit(values: ArrayLike, name: str, amounts: Array64 | None) -> Array64:
    array = np.asarray(values, np.float64)
    if not ((array >= 0) & (array <= LARGEST)).all():
        raise ProjectionError(f"{name}: finite numbers from 0 to {LARGEST:g}")
    return array if amounts is None else np.broadcast_to(array, amounts.shape[:-1])
