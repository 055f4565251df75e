"""The best orders over a limited number of steps, by dynamic programming over whole units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from rl.evaluation.bounds import BoundError
from rl.evaluation.stock_optima import NormalDemand

Numbers = NDArray[np.float64]
DEMAND_REACH = 4.0
"""Standard deviations of demand that are taken into account."""


@dataclass(frozen=True, kw_only=True)
class StockProblem:
    """One shelf over a few steps: order, receive at once, meet demand, pay; shortfall waits."""

    num_steps: int
    holding: float
    """Per unit left after a step; also after the last one, once more."""
    shortage: float
    """Per unit that waits after a step; also after the last one, once more."""
    unit_cost: float
    setup: float
    """Cost of an order, whatever its size."""
    demand: NormalDemand

    def __post_init__(self) -> None:
        """Refuse problems without a solution."""
        prices = (self.holding, self.shortage, self.unit_cost, self.setup)
        if self.num_steps < 1 or not all(math.isfinite(p) and p >= 0 for p in prices):
            raise BoundError(f"num_steps >= 1 and finite costs >= 0 are needed: {self}")
        if not (self.demand.mean > 0 and self.demand.deviation > 0):
            raise BoundError(f"demand needs a mean and a deviation above 0: {self.demand}")


@dataclass(frozen=True, kw_only=True)
class StockPlan:
    """What is best in every step."""

    reorder_point: tuple[int, ...]
    """Per step: order at or below this stock."""
    level: tuple[int, ...]
    """Per step: and up to this one."""
    cost: float
    """Expected, over all steps, beginning with an empty shelf."""


def solve_stock_problem(problem: StockProblem) -> StockPlan:
    """Find the best policy, which is (s, S) in every step (Scarf, 1960).

    theta_t(x) = min_{y >= x} [K 1(y > x) + c (y - x) + g(y) + E theta_{t+1}(y - D)], with g the
    expected holding and shortage cost of a step and theta after the last step h x+ + p x-.

    Args:
        problem: The shelf.
    """
    demand = problem.demand
    reach = math.ceil(DEMAND_REACH * demand.deviation)
    mean = round(demand.mean)
    asked = np.arange(mean - reach, mean + reach + 1)
    edges = np.append(asked - 0.5, asked[-1] + 0.5)
    chance = np.diff(norm.cdf(edges, demand.mean, demand.deviation))
    chance /= chance.sum()
    batch = math.sqrt(2.0 * problem.setup * demand.mean / max(problem.holding, 1e-9))
    highest = mean + 2 * reach + math.ceil(batch)
    stock = np.arange(-2 * (mean + reach), highest + 1)
    step_cost = _expected_step_cost(stock, problem)
    theta = problem.holding * np.maximum(stock, 0.0) + problem.shortage * np.maximum(-stock, 0.0)
    points, levels = [], []
    for _ in range(problem.num_steps):
        position = problem.unit_cost * stock + step_cost + _expect(theta, stock, asked, chance)
        best = int(np.argmin(position))
        orders = position > position[best] + problem.setup
        orders[best:] = False
        theta = np.where(orders, position[best] + problem.setup, position)
        theta = theta - problem.unit_cost * stock
        points.append(int(stock[orders][-1]) if orders.any() else int(stock[0]))
        levels.append(int(stock[best]))
    empty = int(np.searchsorted(stock, 0))
    return StockPlan(
        reorder_point=tuple(points[::-1]), level=tuple(levels[::-1]), cost=float(theta[empty])
    )


def _expected_step_cost(stock: NDArray[np.int64], problem: StockProblem) -> Numbers:
    """Return h E[(y - D)+] + p E[(D - y)+] for normal demand."""
    demand = problem.demand
    z = (stock - demand.mean) / demand.deviation
    short = demand.deviation * (norm.pdf(z) - z * norm.sf(z))
    return np.asarray(problem.holding * (stock - demand.mean + short) + problem.shortage * short)


def _expect(
    theta: Numbers, stock: NDArray[np.int64], asked: NDArray[np.int64], chance: Numbers
) -> Numbers:
    """Return E theta(y - D); below the grid theta goes on with its first slope."""
    left = stock[:, None] - asked
    inside = theta[np.clip(left - stock[0], 0, len(stock) - 1)]
    slope = theta[1] - theta[0]
    return np.asarray((inside + slope * np.minimum(left - stock[0], 0)) @ chance)
