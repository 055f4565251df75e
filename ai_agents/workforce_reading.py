"""Requests to the workforce agent: what is wrong with one, and what it says in arrays."""

from __future__ import annotations

import numpy as np

from ai_agents.base_agent import FieldProblem
from ai_agents.policy_checks import find_repeated, problem_of
from ai_agents.workforce_schema import WorkforceRequest
from rl.domains.workforce import WorkforceConfig, WorkforceView


def find_problems(request: WorkforceRequest, config: WorkforceConfig) -> list[FieldProblem]:
    """Return what does not fit an agent: names, sizes, skills.

    Args:
        request: Well formed.
        config: The workforce that the agent knows.
    """
    problems = [
        *find_repeated("skills[{}]", request.skills),
        *find_repeated("employees[{}].name", [person.name for person in request.employees]),
    ]
    sizes = [
        ("skills", len(request.skills), config.num_skills, config.num_skills),
        ("employees", len(request.employees), 1, config.num_employees),
        ("forecast", len(request.forecast), 1, config.lookahead),
    ]
    for field, held, least, most in sizes:
        if not least <= held <= most:
            problems.append(problem_of(field, f"{held} entries; give {least} to {most}"))
    if request.shift_of_week >= config.shifts_per_week:
        last = config.shifts_per_week - 1
        problems.append(problem_of("shift_of_week", f"a week's last shift is {last}"))
    known = ", ".join(request.skills)
    for row, person in enumerate(request.employees):
        problems += [
            problem_of(f"employees[{row}].skills[{place}]", f"unknown skill; known: {known}")
            for place, name in enumerate(person.skills)
            if name not in request.skills
        ]
    for row, shift in enumerate(request.forecast):
        problems += [
            problem_of(f"forecast[{row}].{name}", f"unknown skill; known: {known}")
            for name in shift
            if name not in request.skills
        ]
    return problems


def make_view(request: WorkforceRequest, config: WorkforceConfig) -> WorkforceView:
    """Return what is known, in arrays with a batch axis of one.

    Args:
        request: About this workforce.
        config: The workforce that the agent knows.
    """
    people = request.employees
    skills = np.zeros((1, config.num_employees, config.num_skills))
    contract, hours, can_work = np.zeros((3, 1, config.num_employees))
    for row, person in enumerate(people):
        for name in person.skills:
            skills[0, row, request.skills.index(name)] = 1.0
        contract[0, row], hours[0, row] = person.contract_hours, person.hours_worked
        most = person.contract_hours + config.max_overtime
        fits = person.hours_worked + config.shift_hours <= most
        can_work[0, row] = fits and not person.is_absent and not person.worked_last_shift
    forecast = np.zeros((1, config.lookahead, config.num_skills))
    for row, shift in enumerate(request.forecast):
        forecast[0, row] = [shift.get(name, 0.0) for name in request.skills]
    return WorkforceView(
        skills=skills,
        contract_hours=contract,
        hours=hours,
        can_work=can_work,
        forecast=forecast,
        shift_of_week=np.asarray([float(request.shift_of_week)]),
        shifts_left=np.asarray([float(request.shifts_left)]),
    )
