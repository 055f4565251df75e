"""What nobody can beat in a serial chain, and the planner who takes the mean for certain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, diags_array, eye_array, hstack, vstack

from data.demand import InventoryScenarios
from rl.domains.inventory import InventoryConfig, InventoryView
from rl.evaluation.bounds import BoundError

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class InventoryPlan:
    """The best course of one episode, or of what is left of it."""

    profit: float
    """Discounted from the step in which the plan begins."""
    orders: Numbers
    """`[time, stage]`: units."""


class InventoryProgram:
    """The linear program of a chain over a number of steps in which all demand is known.

    Variables, per step t: r_{t,i} shipped to stage i, s_t sold, x_{t,i} on the shelf afterwards,
    u_t customers' units not delivered; all >= 0.
    Maximises sum_t discount^t (price s_t - source_cost r_{t,last} - penalty_0 u_t - h x_t) with
    x_t = x_{t-1} + (r_{t - lead} and what was on the way) - (s_t or what was shipped on),
    s_t + u_t = demand_t (+ u_{t-1} where demand waits), r_{t,i} <= x_{t-1,i+1}, r <= capacity.
    Relaxations: units may be split, and customers may be made to wait though there is stock.
    Payments between stages cancel. Orders that cannot be shipped are never worth their penalty, so
    they are left out, and in a lost-sales chain none wait.
    """

    def __init__(self, config: InventoryConfig, num_steps: int) -> None:
        """Build all that does not depend on the episode.

        Args:
            config: The chain.
            num_steps: Steps that are left.
        """
        self._config, self._steps = config, num_steps
        stages = config.num_stages
        later = {k: csr_array(np.eye(num_steps, k=-k)) for k in {1, *config.lead_time}}
        same = eye_array(num_steps)
        none = csr_array((num_steps, num_steps))
        balance, room = [], []
        for i in range(stages):
            shipped = [none] * stages
            shipped[i] = -later[config.lead_time[i]]
            if i:
                shipped[i - 1] = shipped[i - 1] + same
            shelf = [none] * stages
            shelf[i] = same - later[1]
            balance.append([*shipped, none if i else same, *shelf, none])
            if i:
                taken, left = [none] * stages, [none] * stages
                taken[i - 1], left[i] = same, -later[1]
                room.append([*taken, none, *left, none])
        waits = same if config.lost_sales else same - later[1]
        served = [*[none] * stages, same, *[none] * stages, waits]
        self._equal = csr_array(vstack([hstack(row) for row in [*balance, served]]))
        self._at_most = csr_array(vstack([hstack(row) for row in room])) if room else None
        self._worth = self._value(diags_array(config.discount ** np.arange(num_steps)))
        most = np.repeat([*config.capacity, *[np.inf] * (stages + 2)], num_steps)
        self._ranges = np.stack([np.zeros(len(most)), most], axis=1)

    def _value(self, discount: diags_array) -> Numbers:
        config, ones = self._config, np.ones(self._steps)
        per_step = [0.0] * config.num_stages
        per_step[-1] = config.replenishment_cost[-1]
        per_step += [-config.price, *config.holding_cost, config.penalty[0]]
        return np.concatenate([cost * (discount @ ones) for cost in per_step])

    def solve(
        self, *, stock: Numbers, in_transit: Numbers, waiting: float, demand: Numbers
    ) -> InventoryPlan:
        """Find the best plan from a situation.

        Args:
            stock: `[stage]`.
            in_transit: `[stage, slot]`: units received in so many further steps.
            waiting: Customers' units that wait.
            demand: `[time]`: units in every step that is left.

        Raises:
            BoundError: The solver found no optimum.
        """
        stages, steps = self._config.num_stages, self._steps
        known = np.zeros((stages, steps))
        slots = min(steps, in_transit.shape[1])
        known[:, :slots] = in_transit[:, :slots]
        known[:, 0] += stock
        asked = demand.astype(np.float64)
        asked[0] += waiting
        first = np.zeros((stages - 1, steps))
        first[:, 0] = stock[1:]
        solution = linprog(
            self._worth,
            A_eq=self._equal,
            b_eq=np.concatenate([known.ravel(), asked]),
            A_ub=self._at_most,
            b_ub=None if self._at_most is None else first.ravel(),
            bounds=self._ranges,
            method="highs-ds",
        )
        if solution.status != 0:
            raise BoundError(f"no plan for the chain: {solution.message}")
        shipped = solution.x[: stages * steps].reshape(stages, steps)
        return InventoryPlan(profit=-solution.fun, orders=shipped.T)


def inventory_hindsight_bound(scenarios: InventoryScenarios, config: InventoryConfig) -> Numbers:
    """Compute the highest profit of every episode with perfect foresight.

    Args:
        scenarios: The episodes.
        config: The chain.

    Returns:
        `[episode]`.

    Raises:
        BoundError: The solver found no optimum for an episode.
    """
    program = InventoryProgram(config, config.max_steps)
    stock = np.asarray(config.initial_stock)
    nothing = np.zeros((config.num_stages, config.num_slots))
    plans = (
        program.solve(stock=stock, in_transit=nothing, waiting=0.0, demand=demand)
        for demand in scenarios.demand
    )
    return np.asarray([plan.profit for plan in plans])


class ShrinkingHorizonPlanner:
    """In every step plans what is left as if demand were its mean, and places the first orders."""

    def __init__(self, config: InventoryConfig, mean_demand: float) -> None:
        """Build one program per number of steps left.

        Args:
            config: The chain.
            mean_demand: Units per step.
        """
        self._config, self._mean = config, mean_demand
        self._programs = [InventoryProgram(config, left) for left in range(1, config.max_steps + 1)]

    def __call__(self, view: InventoryView) -> NDArray[np.float32]:
        """Return orders as shares of the capacities.

        Args:
            view: What is known, NumPy, with one batch axis.

        Raises:
            BoundError: The solver found no plan.
        """
        left = round(float(view.time_left[0]) * self._config.max_steps)
        program, demand = self._programs[left - 1], np.full(left, self._mean)
        orders = [
            program.solve(stock=stock, in_transit=way, waiting=float(unmet[0]), demand=demand)
            for stock, way, unmet in zip(view.stock, view.in_transit, view.unmet, strict=True)
        ]
        units = np.stack([plan.orders[0] for plan in orders])
        if self._config.whole_units:
            units = np.round(units)
        shares: NDArray[np.float32] = (units / np.asarray(self._config.capacity)).astype(np.float32)
        return shares
