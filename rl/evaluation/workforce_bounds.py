"""The linear program of a roster: what nobody can beat, and a planner who trusts the forecast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array

from data.staffing_demand import StaffingScenarios
from rl.domains.workforce import WorkforceConfig, WorkforceView
from rl.domains.workforce_experts import as_action
from rl.evaluation.bounds import BoundError

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StaffingProblem:
    """A stretch of shifts in which all that happens is known."""

    demand: Numbers
    """`[time, skill]`: people."""
    can_work: Numbers
    """`[time, employee]`: 1 where somebody may be called, rest between shifts aside."""
    skills: Numbers
    """`[employee, skill]`"""
    contract_hours: Numbers
    """`[employee]`"""
    hours: Numbers
    """`[employee]`: worked already in the week of the first shift."""
    shift_of_week: int
    """Of the first shift."""


@dataclass(frozen=True, kw_only=True)
class StaffingPlan:
    """The best course of a stretch."""

    cost: float
    """Currency."""
    people: Numbers
    """`[time, skill]`: called, in parts."""


def solve_staffing(problem: StaffingProblem, config: WorkforceConfig) -> StaffingPlan:
    """Solve for the cheapest roster.

    Variables: y_{t,e,s} in [0, 1] works, u_{t,s} >= 0 people missing, o_{w,e} in [0, max_overtime]
    hours of week w beyond the contract. Minimises wage * hours + premium * o + penalty * u with one
    skill per person and shift, no two shifts in a row, hours of a week <= contract + o, and
    sum_e y + u >= demand. Relaxations: people may be split, and who comes is chosen by the plan,
    where the world sends those with the most contract hours left.

    Args:
        problem: The stretch.
        config: The roster.

    Raises:
        BoundError: The solver failed.
    """
    steps, skills = problem.demand.shape
    possible = (problem.can_work[:, :, None] > 0) & (problem.skills > 0)
    time, person, skill = np.nonzero(possible)
    employees, number = len(problem.contract_hours), np.arange(len(time))
    week = (problem.shift_of_week + np.arange(steps)) // config.shifts_per_week
    weeks = int(week[-1]) + 1
    missing = len(time) + np.arange(steps * skills)
    overtime = len(time) + steps * skills + np.arange(weeks * employees)
    hours = config.shift_hours
    cost = np.concatenate(
        [
            np.full(len(time), config.wage * hours),
            np.full(len(missing), config.understaffing_penalty * hours),
            np.full(len(overtime), config.overtime_premium * config.wage),
        ]
    )
    pairs, weekly = steps * employees, weeks * employees
    here, later = time * employees + person, (time - 1) * employees + person
    follows = time > 0
    in_week = pairs + week[time] * employees + person
    served = pairs + weekly + time * skills + skill
    entries = [
        (here, number, 1.0),
        (later[follows], number[follows], 1.0),
        (in_week, number, hours),
        (pairs + np.arange(weekly), overtime, -1.0),
        (served, number, -1.0),
        (pairs + weekly + np.arange(steps * skills), missing, -1.0),
    ]
    worked = np.zeros((weeks, employees))
    worked[0] = problem.hours
    limit = np.concatenate(
        [
            np.ones(pairs),
            (problem.contract_hours - worked).ravel(),
            -problem.demand.ravel(),
        ]
    )
    rows, columns = (np.concatenate([entry[i] for entry in entries]) for i in (0, 1))
    values = np.concatenate([np.full(len(row), value) for row, _, value in entries])
    matrix = coo_array((values, (rows, columns)), shape=(len(limit), len(cost))).tocsr()
    highest = np.concatenate(
        [
            np.ones(len(time)),
            np.full(len(missing), np.inf),
            np.full(len(overtime), config.max_overtime),
        ]
    )
    # Hours worked beyond the contract already are paid, and only the rest of overtime is open.
    paid = np.maximum(worked - problem.contract_hours, 0.0).ravel()
    bounds = np.stack([np.zeros(len(cost)), highest], axis=1)
    bounds[len(time) + len(missing) :, 0] = paid
    solved = linprog(cost, A_ub=matrix, b_ub=limit, bounds=bounds, method="highs")
    if solved.status != 0:
        raise BoundError(f"the roster was not solved: {solved.message}")
    people = np.zeros((steps, skills))
    np.add.at(people, (time, skill), solved.x[: len(time)])
    spent = config.overtime_premium * config.wage * float(paid.sum())
    return StaffingPlan(cost=float(solved.fun) - spent, people=people)


def staffing_hindsight_bound(scenarios: StaffingScenarios, config: WorkforceConfig) -> Numbers:
    """Return the least cost of every episode if all demand and absences were known.

    Args:
        scenarios: The episodes.
        config: The roster.

    Returns:
        `[episode]`, currency; minus the return that nobody can exceed.
    """
    costs = []
    for episode in range(scenarios.num_episodes):
        contract = scenarios.contract_hours[episode].astype(np.float64)
        problem = StaffingProblem(
            demand=scenarios.demand[episode].astype(np.float64),
            can_work=1.0 - scenarios.absent[episode],
            skills=scenarios.skills[episode].astype(np.float64),
            contract_hours=contract,
            hours=np.zeros_like(contract),
            shift_of_week=0,
        )
        costs.append(solve_staffing(problem, config).cost)
    return np.asarray(costs)


class RollingPlanner:
    """Calls the people of the next shift in the best roster for the forecast, again every shift.

    It plans `window` shifts, takes absences of now for now only, and staffs for the forecast plus a
    safety in roots of it.
    """

    def __init__(self, config: WorkforceConfig, *, window: int = 12, safety: float = 0.0) -> None:
        """Keep the roster.

        Args:
            config: The roster.
            window: Shifts that are planned, at most the lookahead of the view.
            safety: Roots of the forecast that are added to it.
        """
        self._config, self._safety = config, safety
        self._window = min(window, config.lookahead)

    def __call__(self, view: WorkforceView) -> NDArray[np.float32]:
        """Decide for every copy.

        Args:
            view: What is known, NumPy, `[env, ...]`.
        """
        people = np.stack([self._plan(view, copy) for copy in range(len(view.hours))])
        return as_action(people, view)

    def _plan(self, view: WorkforceView, copy: int) -> Numbers:
        steps = min(self._window, int(view.shifts_left[copy]))
        expected = np.asarray(view.forecast[copy, :steps], np.float64)
        contract = np.asarray(view.contract_hours[copy], np.float64)
        can_work = np.tile(np.where(contract > 0, 1.0, 0.0), (steps, 1))
        can_work[0] = view.can_work[copy]
        problem = StaffingProblem(
            demand=expected + self._safety * np.sqrt(expected),
            can_work=can_work,
            skills=np.asarray(view.skills[copy], np.float64),
            contract_hours=contract,
            hours=np.asarray(view.hours[copy], np.float64),
            shift_of_week=int(view.shift_of_week[copy]),
        )
        people: Numbers = solve_staffing(problem, self._config).people[0]
        return people
