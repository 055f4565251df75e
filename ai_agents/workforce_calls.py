"""Who is called to a shift: by the rule that the world has, or by name as a person says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import FieldProblem, RequestError
from ai_agents.policy_checks import problem_of
from ai_agents.wishes import StaffingWish, read_wish, refuse
from rl.domains.workforce import WorkforceView

Floats = NDArray[np.float64]


def call_people(wanted: Floats, view: WorkforceView) -> list[list[int]]:
    """Let those with the most contract hours left come first, skill by skill, one skill each.

    Args:
        wanted: `[skill]`: how many are asked for.
        view: What is known, with a batch axis of one.

    Returns:
        For each skill the people who come.
    """
    room = view.contract_hours[0] - view.hours[0]
    free = [int(person) for person in np.argsort(-room, kind="stable") if view.can_work[0, person]]
    called = []
    for skill, number in enumerate(wanted.astype(int).tolist()):
        comes = [person for person in free if view.skills[0, person, skill]][:number]
        called.append(comes)
        free = [person for person in free if person not in comes]
    return called


def read_calls(
    wish: Mapping[str, Any], names: Sequence[str], skills: Sequence[str], view: WorkforceView
) -> list[list[int]]:
    """Read whom a person calls.

    Args:
        wish: What the person sent.
        names: Of the people.
        skills: Names of the skills, in the agent's order.
        view: Who can come, with a batch axis of one.

    Returns:
        For each skill the people called, by position.

    Raises:
        RequestError: It is malformed, or somebody is called who cannot come for it.
    """
    staffing = read_wish(StaffingWish, wish).staffing
    by_skill = {one.skill: one.called for one in staffing}
    if len(by_skill) < len(staffing) or not by_skill.keys() <= set(skills):
        raise refuse("staffing", f"name each skill once, of {', '.join(skills)}")
    places = {name: place for place, name in enumerate(names)}
    problems: list[FieldProblem] = []
    taken: set[str] = set()
    for number, skill in enumerate(skills):
        for name in by_skill.get(skill, []):
            problem = _why_not(places.get(name), number, view)
            if name in taken:
                problem = "called twice"
            if problem is not None:
                problems.append(problem_of(f"staffing.{skill}.{name}", problem))
            taken.add(name)
    if problems:
        raise RequestError(problems)
    return [[places[name] for name in by_skill.get(skill, [])] for skill in skills]


def _why_not(person: int | None, skill: int, view: WorkforceView) -> str | None:
    if person is None:
        return "nobody of this name"
    if not view.skills[0, person, skill]:
        return "lacks the skill"
    if not view.can_work[0, person]:
        return "cannot come: absent, at rest, or out of hours"
    return None
