"""Provably best stock policies of clean instances, and what they cost: newsvendor, (s, S), serial.

Costs are per step unless said otherwise. Shortfall waits; its cost is paid for every step it waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, poisson

from rl.evaluation.bounds import BoundError

Numbers = NDArray[np.float64]
POINTS_PER_DEVIATION = 200
"""Of the grid of echelon positions, per standard deviation of a step's demand."""
NODES = 1601
"""At which the normal distribution is summed, from -8 to 8 standard deviations."""


@dataclass(frozen=True, kw_only=True)
class NewsvendorOptimum:
    """The level to order up to, and the expected cost of a step there."""

    level: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class ReorderOptimum:
    """Order up to `level` whenever the position is at or below `reorder_point`."""

    reorder_point: int
    level: int
    cost: float


@dataclass(frozen=True, kw_only=True)
class SerialOptimum:
    """Echelon base-stock levels from the customers' stage upstream, and their cost."""

    levels: tuple[float, ...]
    cost: float


@dataclass(frozen=True, kw_only=True)
class NormalDemand:
    """Independent normal demand, every step alike."""

    mean: float
    deviation: float


def newsvendor_normal(
    demand: NormalDemand, *, holding: float, shortage: float
) -> NewsvendorOptimum:
    """Solve the newsvendor's problem for normal demand.

    S = mean + sd z with Phi(z) = p / (p + h), at a cost of (p + h) sd phi(z)
    (Arrow, Harris and Marschak, 1951).

    Args:
        demand: Of the period.
        holding: Cost of a unit left over (h).
        shortage: Cost of a unit short (p).

    Raises:
        BoundError: A cost is not positive.
    """
    z = float(norm.ppf(_critical_ratio(holding, shortage)))
    return NewsvendorOptimum(
        level=demand.mean + demand.deviation * z,
        cost=float((holding + shortage) * demand.deviation * norm.pdf(z)),
    )


def newsvendor_poisson(mean: float, *, holding: float, shortage: float) -> NewsvendorOptimum:
    """Solve the newsvendor's problem for Poisson demand; the level is a whole number.

    Args:
        mean: Expected demand of the period.
        holding: Cost of a unit left over.
        shortage: Cost of a unit short.

    Raises:
        BoundError: A cost or the mean is not positive.
    """
    _check_mean(mean)
    level = int(poisson.ppf(_critical_ratio(holding, shortage), mean))
    cost = _expected_cost(np.asarray([level]), mean, holding=holding, shortage=shortage)
    return NewsvendorOptimum(level=float(level), cost=float(cost[0]))


def reorder_poisson(
    mean: float, *, holding: float, shortage: float, setup: float
) -> ReorderOptimum:
    """Find the best (s, S) policy for Poisson demand received at once.

    The algorithm of Zheng and Federgruen (1991): G is unimodal, so s rises from below the
    newsvendor's level while G(s) exceeds the cost, and S grows until G(S) does.

    Args:
        mean: Expected demand of a step.
        holding: Cost of a unit on the shelf after a step.
        shortage: Cost of a unit that waits after a step.
        setup: Cost of an order, whatever its size.

    Raises:
        BoundError: A cost or the mean is not positive, or the setup cost negative.
    """
    _critical_ratio(holding, shortage)
    _check_mean(mean)
    if not 0 <= setup < np.inf:
        raise BoundError(f"setup must be finite and not negative, not {setup}")
    span = int(np.ceil(mean + 12 * np.sqrt(mean) + np.sqrt(2 * setup * mean / holding))) + 20
    positions = np.arange(-span, 3 * span)
    cost_at = dict(
        zip(
            positions.tolist(),
            _expected_cost(positions, mean, holding=holding, shortage=shortage).tolist(),
            strict=True,
        )
    )
    renewals = _renewal_density(mean, 4 * span)

    def average(low: int, high: int) -> float:
        density = renewals[: high - low]
        costs = np.asarray([cost_at[high - j] for j in range(high - low)])
        return float((setup + density @ costs) / density.sum())

    lowest = min(cost_at, key=lambda position: cost_at[position])
    low, high = lowest - 1, lowest
    while average(low, high) > cost_at[low]:
        low -= 1
    best, cost = high, average(low, high)
    candidate = best + 1
    while cost_at[candidate] <= cost:
        if average(low, candidate) < cost:
            best = candidate
            while average(low, best) <= cost_at[low + 1]:
                low += 1
            cost = average(low, best)
        candidate += 1
    return ReorderOptimum(reorder_point=low, level=best, cost=cost)


def serial_normal(
    demand: NormalDemand,
    *,
    echelon_holding: tuple[float, ...],
    lead_time: tuple[int, ...],
    shortage: float,
) -> SerialOptimum:
    """Find the best echelon base-stock levels of a serial chain (Clark and Scarf, 1960).

    With stages counted from the customers, c_0(x) = (p + sum h) max(-x, 0) and
    C_j(y) = E[h_j (y - D_j) + c_{j-1}(y - D_j)], D_j the demand over the lead time of stage j;
    S_j minimises C_j, c_j(x) = C_j(min(x, S_j)) (Chen and Zheng, 1994). The last C_j(S_j) is the
    cost. Solved on a grid, expectations by the trapezium rule.

    Args:
        demand: Of one step.
        echelon_holding: Cost per step of a unit anywhere from the stage down to the customers;
            from the customers' stage upstream.
        lead_time: Steps, at least 1: what is ordered before the demand of a step is there after it
            with lead time 1.
        shortage: Cost of a customer's unit that waits.

    Raises:
        BoundError: A size is not positive, or the lists differ in length.
    """
    if len(echelon_holding) != len(lead_time) or not lead_time or min(lead_time) < 1:
        raise BoundError("give one echelon holding cost and one lead time >= 1 per stage")
    if min(*echelon_holding, shortage, demand.deviation) <= 0:
        raise BoundError("holding costs, shortage cost and deviation must be above 0")
    total, step = sum(lead_time), demand.deviation / POINTS_PER_DEVIATION
    reach = 9.0 * demand.deviation * np.sqrt(total)
    grid = np.arange(-reach - demand.mean * total, demand.mean * total + reach, step)
    following: Callable[[Numbers], Numbers] = _waiting_cost(shortage + sum(echelon_holding))
    levels, costs = [], grid
    nodes = np.linspace(-8.0, 8.0, NODES)
    weight = norm.pdf(nodes) / norm.pdf(nodes).sum()
    for holding, lead in zip(echelon_holding, lead_time, strict=True):
        spread = demand.deviation * np.sqrt(lead)
        costs = np.zeros_like(grid)
        for node, share in zip(nodes, weight, strict=True):
            left = grid - (lead * demand.mean + spread * node)
            costs += share * (holding * left + following(left))
        best = int(np.argmin(costs))
        levels.append(float(grid[best]))
        following = _cut_at(grid, costs, best)
    return SerialOptimum(levels=tuple(levels), cost=float(costs.min()))


def _check_mean(mean: float) -> None:
    if not 0 < mean < np.inf:
        raise BoundError(f"mean demand must be finite and above 0, not {mean}")


def _critical_ratio(holding: float, shortage: float) -> float:
    if not (holding > 0 and shortage > 0):
        raise BoundError(f"holding and shortage cost must be above 0, not {holding}, {shortage}")
    return shortage / (holding + shortage)


def _expected_cost(
    positions: NDArray[np.int64], mean: float, *, holding: float, shortage: float
) -> Numbers:
    """Return h E[(y - D)+] + p E[(D - y)+] for Poisson demand."""
    below = poisson.cdf(positions, mean), poisson.cdf(positions - 1, mean)
    left_over = np.where(positions > 0, positions * below[0] - mean * below[1], 0.0)
    return np.asarray(holding * left_over + shortage * (left_over - positions + mean))


def _renewal_density(mean: float, length: int) -> Numbers:
    """Return how often the demand since the last order passes through 0, 1, 2, ..."""
    chance = poisson.pmf(np.arange(length), mean)
    density = np.zeros(length)
    density[0] = 1.0 / (1.0 - chance[0])
    for total in range(1, length):
        density[total] = chance[1 : total + 1] @ density[total - 1 :: -1][:total] / (1 - chance[0])
    return density


def _waiting_cost(rate: float) -> Callable[[Numbers], Numbers]:
    return lambda left: rate * np.maximum(-left, 0.0)


def _cut_at(grid: Numbers, costs: Numbers, best: int) -> Callable[[Numbers], Numbers]:
    """Return C(min(x, S)), continued below the grid with its first slope."""
    slope = (costs[1] - costs[0]) / (grid[1] - grid[0])

    def cost(left: Numbers) -> Numbers:
        inside = np.interp(np.minimum(left, grid[best]), grid, costs)
        return np.asarray(inside + slope * np.minimum(left - grid[0], 0.0))

    return cost
