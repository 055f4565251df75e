"""What no sequence of choices can beat on known demands, and what constant shares can expect."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack, kron, vstack

from data.traffic_demand import TrafficScenarios
from rl.domains.traffic_experts import find_static_shares
from rl.domains.traffic_shares import TrafficConfig
from rl.evaluation.bounds import BoundError

Floats = NDArray[np.float64]


def compute_static_return(scenarios: TrafficScenarios, config: TrafficConfig) -> Floats:
    """Compute the expected return of the best constant shares, `[episode]`.

    For demands uniform on [0, 1]: -T sum_i (s_i^2 - s_i + 1/2).

    Args:
        scenarios: Only which resources exist is used.
        config: Length.
    """
    active = scenarios.resource_active
    share = find_static_shares(active).astype(np.float64)
    return np.asarray(-config.num_steps * ((share**2 - share + 0.5) * active).sum(-1))


def compute_traffic_bound(scenarios: TrafficScenarios, config: TrafficConfig) -> Floats:
    """Compute a return that no sequence of choices exceeds, `[episode]`.

    Linear programme over shares s, falls f and losses e: minimise sum e subject to
    e >= |d - s|, sum_i s_i <= 1, s_t - s_{t-1} = rise - fall, sum of rises and sum of falls of a
    step at most `config.move` each. Relaxed: several shares may move in one step by parts of the
    move, and shares need not fall in proportion when another rises. A choice rises one share by at
    most the move; dividing by the sum lets the others fall by no more than that in all.

    Args:
        scenarios: The episodes.
        config: Length, move, and which shares may rise.

    Raises:
        BoundError: The solver found no optimum for an episode.
    """
    steps, slots = config.num_steps, config.num_slots
    size = steps * slots
    unit, nothing = eye_array(size, format="csr"), csr_array((size, size))
    before = kron(eye_array(steps, k=-1), eye_array(slots), format="csr")
    total = kron(eye_array(steps), np.ones((1, slots)), format="csr")
    empty = csr_array((steps, size))
    upper = vstack(
        [
            hstack([unit, nothing, nothing, -unit]),
            hstack([-unit, nothing, nothing, -unit]),
            hstack([total, empty, empty, empty]),
            hstack([empty, total, empty, empty]),
            hstack([empty, empty, total, empty]),
        ],
        format="csr",
    )
    balance = hstack([unit - before, -unit, unit, nothing], format="csr")
    objective = np.concatenate([np.zeros(3 * size), np.ones(size)])
    bounds = np.empty(scenarios.num_episodes)
    for episode in range(scenarios.num_episodes):
        active = scenarios.resource_active[episode].astype(np.float64)
        demand = scenarios.demand[episode, :steps].astype(np.float64).ravel()
        start = np.zeros(size)
        start[:slots] = active / active.sum()
        may_rise = active * ((np.arange(slots) == 0) | (config.movable == "all"))
        move = np.full(steps, config.move)
        limits = np.concatenate([demand, -demand, np.ones(steps), move, move])
        highest = np.concatenate(
            [np.tile(active, steps), np.tile(may_rise, steps), np.ones(size), np.full(size, np.inf)]
        )
        solution = linprog(
            objective,
            A_ub=upper,
            b_ub=limits,
            A_eq=balance,
            b_eq=start,
            bounds=np.stack([np.zeros(4 * size), highest], axis=1),
            method="highs",
        )
        if solution.status != 0:
            raise BoundError(f"no bound for episode {episode}: {solution.message}")
        bounds[episode] = -solution.fun
    return bounds
