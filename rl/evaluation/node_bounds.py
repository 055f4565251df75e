"""What nobody can beat on distributed nodes: the return of an episode known beforehand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array, eye_array, hstack, vstack

from data.node_workload import NodeScenarios
from rl.domains.nodes import NodeConfig
from rl.environments.node_allocation_environment import TIME_TOLERANCE
from rl.evaluation.bounds import BoundError

Numbers = NDArray[np.float64]
Indices = NDArray[np.intp]


def nodes_hindsight_bound(scenarios: NodeScenarios, config: NodeConfig) -> Numbers:
    """Compute the highest return, summed over nodes, of every episode with perfect foresight.

    Maximises sum_{w,t} (placement p_w + fit) x_{w,t} - failure N p_w (1 - sum_t x_{w,t}), where x
    is the part of workload w placed in step t, from its arrival to its last try, subject to
    u_{t-1} + sum_w need_w x_{w,t} <= capacity and u_t >= u_{t-1} + sum_w need_w x_{w,t} - drain.
    Relaxations: the nodes are one pool per resource; workloads may be split; every placement fits
    without waste; usage is as even as it likes, so imbalance costs nothing.

    Args:
        scenarios: The episodes.
        config: The rules.

    Returns:
        `[episode]`.

    Raises:
        BoundError: The solver found no optimum for an episode.
    """
    return np.asarray(
        [_solve(scenarios, config, episode) for episode in range(scenarios.num_episodes)]
    )


def _solve(scenarios: NodeScenarios, config: NodeConfig, episode: int) -> float:
    arrived = np.repeat(np.arange(config.max_steps), scenarios.arrivals[episode])
    if not len(arrived):
        return 0.0
    count = len(arrived)
    priority = scenarios.priority[episode, :count].astype(np.float64)
    need = scenarios.need[episode, :count].astype(np.float64)
    capacity = scenarios.capacity[episode].sum(0).astype(np.float64)
    tries = np.ones(count, np.intp)
    if config.step_seconds is not None:
        length = scenarios.deadline[episode, :count] / np.float32(config.step_seconds)
        tries = np.ceil(length - TIME_TOLERANCE).astype(np.intp)
    last = np.minimum(arrived + tries, config.max_steps)
    workload = np.repeat(np.arange(count), last - arrived)
    step = np.concatenate([np.arange(a, b) for a, b in zip(arrived, last, strict=True)])
    events, event = np.unique(step, return_inverse=True)
    fails = arrived + tries <= config.max_steps
    loss = np.where(fails, config.failure_penalty * config.num_nodes * priority, 0.0)
    gain = (config.placement_reward * priority + config.fit_reward + loss)[workload]
    once = coo_array((np.ones(len(step)), (workload, np.arange(len(step)))))
    freed = np.diff(events, append=events[-1])[:, None] * config.drain * capacity
    placed, limit = _use_of_capacity(event, need[workload], capacity, freed)
    solution = linprog(
        np.concatenate([-gain, np.zeros(placed.shape[1] - len(gain))]),
        A_ub=vstack([placed, _pad(once, placed.shape[1])]),
        b_ub=np.concatenate([limit, np.ones(count)]),
        method="highs",
    )
    if solution.status != 0:
        raise BoundError(f"no bound for episode {episode}: {solution.message}")
    return float(-solution.fun - loss.sum())


def _use_of_capacity(
    event: Indices, need: Numbers, capacity: Numbers, freed: Numbers
) -> tuple[csr_array, Numbers]:
    """Return rows over (placements, usage before each event and resource), and their limits.

    Args:
        event: `[placement]`: number of the step in which it would be placed.
        need: `[placement, resource]`.
        capacity: `[resource]`: of all nodes.
        freed: `[event, resource]`: what comes back until the next event.
    """
    size = len(freed)
    before, goes_on = eye_array(size), eye_array(size - 1, size)
    after = eye_array(size - 1, size, k=1)
    rows, limits = [], []
    for resource, total in enumerate(capacity):
        adds = csr_array((need[:, resource], (event, np.arange(len(event)))), (size, len(event)))
        holds: list[object] = [csr_array((size, size)) for _ in capacity]
        leaves: list[object] = [csr_array((size - 1, size)) for _ in capacity]
        holds[resource], leaves[resource] = before, goes_on - after
        rows += [hstack([adds, *holds]), hstack([adds[:-1], *leaves])]
        limits += [np.full(size, total), freed[:-1, resource]]
    return csr_array(vstack(rows)), np.concatenate(limits)


def _pad(rows: coo_array, width: int) -> csr_array:
    return csr_array(hstack([rows, coo_array((rows.shape[0], width - rows.shape[1]))]))
