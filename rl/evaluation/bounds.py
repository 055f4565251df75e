"""What nobody can beat: the value of an episode to a planner who knew all of it beforehand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array

from data.scenario import WorkloadScenarios
from rl.domains.resource_allocation import AllocationConfig
from utils.errors import QuartermasterError

Scores = NDArray[np.float64]
Indices = NDArray[np.intp]


class BoundError(QuartermasterError):
    """The linear program of an episode has no proven optimum."""


def hindsight_bound(scenarios: WorkloadScenarios, config: AllocationConfig) -> Scores:
    """Compute the highest KPI of every episode with perfect foresight.

    Maximises sum_{s,a,t} priority_s x_{s,a,t}, where x is the work of service s that arrives in
    step a and is served in step t, subject to
    a <= t < a + patience_s, sum_t x_{s,a,t} <= demand_{s,a} and
    sum_{s,a} usage_{s,r} x_{s,a,t} <= capacity_{t,r}. Who knows the future holds exactly what is
    served, so nothing is paid for idle units: the bound is tight.

    Args:
        scenarios: The episodes.
        config: Patience and usage of the services.

    Returns:
        `[episode]`.

    Raises:
        BoundError: The solver found no optimum for an episode.
    """
    steps = scenarios.demand.shape[1]
    variables = _service_windows(config, steps)
    value = -scenarios.priority[:, variables[0]].astype(np.float64)
    constraints = _constraints(config, steps, variables)
    bounds = np.empty(scenarios.num_episodes)
    for episode in range(scenarios.num_episodes):
        limits = [scenarios.capacity[episode].ravel(), scenarios.demand[episode].T.ravel()]
        solution = linprog(
            value[episode],
            A_ub=constraints,
            b_ub=np.concatenate(limits).astype(np.float64),
            method="highs-ds",
        )
        if solution.status != 0:
            raise BoundError(f"no bound for episode {episode}: {solution.message}")
        bounds[episode] = -solution.fun
    return bounds


def _service_windows(config: AllocationConfig, steps: int) -> tuple[Indices, Indices, Indices]:
    """Return service, step of arrival and step of service of every variable."""
    patience = np.asarray([service.patience for service in config.services])
    service, arrival, delay = np.indices((len(patience), steps, config.max_patience))
    possible = (delay < patience[service]) & (arrival + delay < steps)
    service, arrival, delay = service[possible], arrival[possible], delay[possible]
    return service, arrival, arrival + delay


def _constraints(
    config: AllocationConfig, steps: int, windows: tuple[Indices, Indices, Indices]
) -> csr_array:
    """Return one row per step and resource, then one per service and arrival."""
    service, arrival, served = windows
    usage = np.asarray([item.usage for item in config.services])
    num_services, num_resources = usage.shape
    variables = np.arange(len(service))
    resources = np.arange(num_resources)[:, None]
    capacity_rows = served * num_resources + resources
    arrival_rows = steps * num_resources + service * steps + arrival
    rows = np.concatenate([capacity_rows.ravel(), arrival_rows])
    columns = np.concatenate([np.tile(variables, num_resources), variables])
    values = np.concatenate([usage.T[:, service].ravel(), np.ones(len(service))])
    shape = (steps * (num_resources + num_services), len(service))
    return csr_array((values, (rows, columns)), shape=shape)
