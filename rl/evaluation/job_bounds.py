"""What no schedule can beat: lower bounds on the slowdown of jobs, and the optimum of small cases.

All totals are sums over jobs of (end - arrival) / length; in `BatchedJobScheduling` minus the
return of an episode in which all jobs end. Whoever schedules here knows all arrivals beforehand and
sees every waiting job, so windows, horizons and ignorance only add to these figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from data.job_arrivals import JobScenarios
from rl.evaluation.bounds import BoundError

Totals = NDArray[np.float64]


def area_bound(scenarios: JobScenarios) -> Totals:
    """Bound the total slowdown by the work each resource can do, jobs split at will.

    A job of length p and need n that runs without a break ends at its mean busy time plus p / 2. On
    one resource of capacity K the mean busy times are freed of all but: work n p is done after the
    arrival, at most K in a step. Then sum of M_j / p_j is least when the free capacity always goes
    to the job with the highest 1 / (p^2 n), that is, preemptive shortest-first with weights
    (Goemans, Improved approximation algorithms for scheduling with release dates, SODA 1997). The
    largest bound of all resources counts, and every job slows down by 1 at least.

    Args:
        scenarios: The episodes.

    Returns:
        `[episode]`.
    """
    length = scenarios.length.astype(np.float64)
    bound: Totals = (length > 0).sum(1).astype(np.float64)
    for resource in range(scenarios.need.shape[2]):
        need = scenarios.need[..., resource].astype(np.float64)
        capacity = scenarios.capacity[:, resource].astype(np.float64)
        bound = np.maximum(bound, _resource_bound(length, need, capacity))
    return bound


def time_indexed_bound(scenarios: JobScenarios, episode: int, *, integral: bool) -> float:
    """Solve for the least total slowdown of one episode, with one variable per job and start.

    min sum x_{j,s} (s + p_j - r_j) / p_j with sum_s x_{j,s} = 1 and, for every step and resource,
    the needs of the jobs that run within the capacity.

    Args:
        scenarios: The episodes.
        episode: Which of them.
        integral: True gives the optimum, in time that grows fast with the jobs (10 are fine); False
            lets a job start in parts, a bound between the area bound and the optimum.

    Raises:
        BoundError: The solver failed.
    """
    length = scenarios.length[episode].astype(int)
    arrival = np.flatnonzero(length)
    if not len(arrival):
        return 0.0
    length, need = length[arrival], scenarios.need[episode][arrival].astype(np.float64)
    steps = int(arrival[-1] + length.sum())
    job = np.repeat(np.arange(len(arrival)), steps - length - arrival + 1)
    first = np.concatenate(
        [np.arange(r, steps - p + 1) for r, p in zip(arrival, length, strict=True)]
    )
    cost = (first + length[job] - arrival[job]) / length[job]
    variable = np.repeat(np.arange(len(job)), length[job])
    within = np.arange(len(variable)) - np.repeat(np.cumsum(length[job]) - length[job], length[job])
    once = coo_array((np.ones(len(job)), (job, np.arange(len(job)))))
    constraints = [LinearConstraint(once.tocsr(), 1.0, 1.0)]
    for resource in np.flatnonzero(scenarios.capacity[episode]):
        where = (first[variable] + within, variable)
        used = coo_array((need[job[variable], resource], where), shape=(steps, len(job)))
        room = float(scenarios.capacity[episode, resource])
        constraints.append(LinearConstraint(used.tocsr(), -np.inf, room))
    solved = milp(
        cost,
        integrality=np.full(len(job), int(integral)),
        bounds=Bounds(0.0, 1.0),
        constraints=constraints,
    )
    if solved.status != 0:
        raise BoundError(f"episode {episode} was not solved: {solved.message}")
    return float(solved.mip_dual_bound if integral else solved.fun)


def _resource_bound(length: Totals, need: Totals, capacity: Totals) -> Totals:
    """Serve one resource by 1 / (p^2 n); jobs that do not need it slow down by 1."""
    work = length * need
    uses = work > 0
    key = np.where(uses, -1.0 / np.maximum(length * work, 1.0), np.inf)
    order = key.argsort(axis=1, kind="stable")
    left = np.take_along_axis(work, order, 1)
    weight = 1.0 / np.maximum(np.take_along_axis(length * work, order, 1), 1.0)
    steps = length.shape[1] + int(np.ceil((work.sum(1) / np.maximum(capacity, 1.0)).max()))
    total: Totals = np.where(length > 0, 1.0, 0.0).sum(1)
    arrival = np.arange(length.shape[1])
    total += np.where(uses, -arrival / np.maximum(length, 1.0) - 0.5, 0.0).sum(1)
    for step in range(steps):
        open_work = np.where(order <= step, left, 0.0)
        ahead = open_work.cumsum(1) - open_work
        done = np.clip(capacity[:, None] - ahead, 0.0, open_work)
        total += (step + 0.5) * (weight * done).sum(1)
        left = left - done
    return total
