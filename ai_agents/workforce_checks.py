"""What is wrong with a request to the workforce agent, field by field."""

from __future__ import annotations

from collections.abc import Sequence

from ai_agents.base_agent import FieldProblem
from ai_agents.policy_checks import problem_of
from ai_agents.workforce_schema import WorkforceRequest
from rl.domains.workforce import WorkforceConfig


def find_problems(request: WorkforceRequest, config: WorkforceConfig) -> list[FieldProblem]:
    """Return what does not fit an agent: names, sizes, skills.

    Args:
        request: Well formed.
        config: The workforce that the agent knows.
    """
    problems = [
        *_repeated("skills[{}]", request.skills),
        *_repeated("employees[{}].name", [person.name for person in request.employees]),
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


def _repeated(where: str, names: Sequence[str]) -> list[FieldProblem]:
    return [
        problem_of(where.format(place), f"{name} is named twice")
        for place, name in enumerate(names)
        if name in names[:place]
    ]
