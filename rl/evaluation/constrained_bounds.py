"""The best allocation of a constrained episode: with hard limits, and with the soft penalty.

Nothing changes within an episode, so the best allocation of one step is best in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from data.task_demand import TaskScenarios
from rl.domains.constrained_allocation import ConstrainedConfig
from rl.evaluation.bounds import BoundError

Floats = NDArray[np.float64]
GAP = 1e-9
MOST_CUTS = 60


@dataclass(frozen=True, kw_only=True)
class ConstrainedOptimum:
    """What nobody can beat, `[episode]` each, whole episodes."""

    hard: Floats
    """Highest return of an allocation within what is available."""
    soft: Floats
    """Highest return of any allocation: a little more than available may pay."""
    violation: Floats
    """Squared units beyond what is available, in the optimum of `soft`."""


@dataclass(frozen=True, kw_only=True)
class _Program:
    """A linear program over units `[task, resource]`, demand met `[task]`, excess and penalty."""

    gain: Floats
    rows: Floats
    limits: Floats
    highest: Floats
    resources: int


def compute_constrained_optimum(
    scenarios: TaskScenarios, config: ConstrainedConfig
) -> ConstrainedOptimum:
    """Compute the best allocation of every episode.

    Maximises sum_k p_k m_k / K - c' sum_{kr} cost_r a_kr - V sum_r v_r^2 subject to
    m_k <= 1, m_k demand_k <= sum_r a_kr, sum_k a_kr <= availability_r + v_r and
    0 <= a <= the most a task can take; with v = 0 for the hard limits. The square is bounded from
    below by tangents, added where the last solution needs them, until the objective with the true
    square is within 1e-9: the linear program stays an upper bound throughout.

    Args:
        scenarios: The episodes.
        config: Weights and length.

    Raises:
        BoundError: The solver found no optimum for an episode.
    """
    results = np.empty((3, scenarios.num_episodes))
    for episode in range(scenarios.num_episodes):
        program = _state_program(scenarios, config, episode)
        results[0, episode] = _solve(program, hard=True)[0]
        results[1:, episode] = _solve_soft(program, config.constraint_violation_penalty)
    hard, soft, violation = results * config.episode_length
    scale = config.reward_scale
    return ConstrainedOptimum(hard=scale * hard, soft=scale * soft, violation=violation)


def _state_program(scenarios: TaskScenarios, config: ConstrainedConfig, episode: int) -> _Program:
    tasks, resources = config.num_tasks, config.num_resources
    cost, priority, available, demand = (
        np.asarray(getattr(scenarios, name)[episode], np.float64)
        for name in ("cost", "priority", "availability", "demand")
    )
    active = scenarios.task_active[episode].astype(np.float64)
    exists = np.outer(active, scenarios.resource_active[episode])
    units = tasks * resources
    gain = np.concatenate(
        [np.tile(-config.cost_penalty * cost, tasks), priority / active.sum(), np.zeros(resources)]
    )
    rows = np.zeros((tasks + resources, units + tasks + resources))
    for task in range(tasks):
        rows[task, task * resources : (task + 1) * resources] = -1.0
        rows[task, units + task] = demand[task]
    for resource in range(resources):
        rows[tasks + resource, resource:units:resources] = 1.0
        rows[tasks + resource, units + tasks + resource] = -1.0
    limits = np.concatenate([np.zeros(tasks), available])
    most = config.max_allocation_per_resource * exists.ravel()
    excess = np.full(resources, tasks * config.max_allocation_per_resource)
    highest = np.concatenate([most, active, excess])
    return _Program(gain=gain, rows=rows, limits=limits, highest=highest, resources=resources)


def _solve(
    program: _Program, *, hard: bool = False, cuts: Floats | None = None, penalty: float = 0.0
) -> tuple[float, Floats]:
    """Return the optimum and the excess; cuts `[cut, resource]` are points of tangency."""
    resources, width = program.resources, program.rows.shape[1]
    points = np.zeros((0, resources)) if cuts is None else cuts
    rows = np.zeros((len(points) * resources, width + resources))
    for number, (cut, resource) in enumerate(np.ndindex(points.shape)):
        rows[number, width - resources + resource] = 2.0 * points[cut, resource]
        rows[number, width + resource] = -1.0
    base = np.hstack([program.rows, np.zeros((len(program.rows), resources))])
    highest = program.highest.copy()
    if hard:
        highest[width - resources :] = 0.0
    solution = linprog(
        -np.concatenate([program.gain, np.full(resources, -penalty)]),
        A_ub=np.vstack([base, rows]),
        b_ub=np.concatenate([program.limits, np.square(points).ravel()]),
        bounds=[(0.0, top) for top in highest] + [(0.0, None)] * resources,
        method="highs-ds",
    )
    if solution.status != 0:
        raise BoundError(f"no optimal allocation: {solution.message}")
    return -float(solution.fun), np.asarray(solution.x[width - resources : width])


def _solve_soft(program: _Program, penalty: float) -> tuple[float, float]:
    """Return the optimum with the soft penalty, and the squared excess in it."""
    cuts = np.linspace(0.0, 0.1, 11)[:, None].repeat(program.resources, 1)
    for _ in range(MOST_CUTS):
        bound, excess = _solve(program, cuts=cuts, penalty=penalty)
        under = np.maximum(2.0 * cuts * excess - np.square(cuts), 0.0).max(0)
        if penalty * float((np.square(excess) - under).sum()) <= GAP:
            return bound, float(np.square(excess).sum())
        cuts = np.vstack([cuts, excess])
    raise BoundError(f"the soft penalty needs more than {MOST_CUTS} tangents")
