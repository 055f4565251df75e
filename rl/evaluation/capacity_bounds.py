"""What no planner of capacity can beat: the best plan when all demand is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, eye_array, hstack

from data.capacity_demand import CapacityScenarios
from rl.domains.capacity_planning import CapacityConfig
from rl.evaluation.bounds import BoundError

Numbers = NDArray[np.float64]


def capacity_hindsight_bound(
    scenarios: CapacityScenarios, config: CapacityConfig, *, integral: bool = False
) -> Numbers:
    """Return the least cost of every episode if all demand were known.

    Regions do not touch each other, so each is solved by itself. Variables per step t: b_t built,
    d_t removed (both at most max_lumps), z_t in [0, 1] whether anything is built, c_t standing,
    u_t unmet; b_t <= max_lumps z_t, c_t = c_{t-1} + b_{t-lead} - d_t, u_t >= demand_t - l c_t.
    Minimises sum build_cost b + step_cost z + removal_cost d + idle_cost (l c - demand + u)
    + unmet_penalty u. Relaxations: demand is known; lumps may be split, and a step in which little
    is built pays a part of the step cost.

    Args:
        scenarios: The episodes.
        config: The world.
        integral: Whole lumps and step costs: the optimum with known demand, for small cases.

    Returns:
        `[episode]`, currency; minus the return that nobody can exceed.

    Raises:
        BoundError: The solver failed.
    """
    steps = config.max_steps
    same, ones = eye_array(steps), np.ones(steps)
    none = csr_array((steps, steps))
    late = csr_array(np.eye(steps, k=-config.lead_time))
    before = csr_array(np.eye(steps, k=-1))
    balance = hstack([-late, same, none, same - before, none])
    building = hstack([same, none, -config.max_lumps * same, none, none])
    serving = hstack([none, none, none, config.lump_units * same, same])
    prices = (
        config.build_cost,
        config.removal_cost,
        config.step_cost,
        config.idle_cost * config.lump_units,
        config.idle_cost + config.unmet_penalty,
    )
    cost = np.concatenate([price * ones for price in prices])
    most = (config.max_lumps, config.max_lumps, 1.0, np.inf, np.inf)
    highest = np.concatenate([one * ones for one in most])
    whole = np.repeat([1, 1, 1, 1, 0], steps) * int(integral)
    totals = np.zeros(scenarios.num_episodes)
    for episode, region in np.argwhere(scenarios.active > 0):
        demand = scenarios.demand[episode, :, region].astype(np.float64)
        start = np.zeros(steps)
        start[0] = scenarios.initial_lumps[episode, region]
        solved = milp(
            cost,
            integrality=whole,
            bounds=Bounds(np.zeros(len(cost)), highest),
            constraints=[
                LinearConstraint(balance.tocsr(), start, start),
                LinearConstraint(building.tocsr(), -np.inf, 0.0),
                LinearConstraint(serving.tocsr(), demand, np.inf),
            ],
        )
        if solved.status != 0:
            raise BoundError(f"region {region} of episode {episode}: {solved.message}")
        best = solved.mip_dual_bound if integral else solved.fun
        totals[episode] += float(best) - config.idle_cost * float(demand.sum())
    return totals
