"""The domain of a workforce, as an agent needs it: who can come, whom to call, words."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import Header, RequestError
from ai_agents.outcomes import read_amounts
from ai_agents.policy_checks import range_warning
from ai_agents.view_plans import ViewPlans, ViewSituation
from ai_agents.workforce_calls import call_people, read_calls
from ai_agents.workforce_reading import find_problems, make_view
from ai_agents.workforce_schema import (
    ExpertStaffing,
    SkillStaffing,
    WorkforceDecision,
    WorkforceRequest,
)
from rl.artifacts import PolicyArtifact
from rl.deployment.guardrails import find_out_of_range
from rl.deployment.view_policy import ViewPolicy
from rl.domains.workforce import WorkforceConfig, WorkforceView

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class WorkforceSituation(ViewSituation):
    """A roster in arrays; the last places of its view may be nobody's."""

    view: WorkforceView
    names: tuple[str, ...]
    skills: tuple[str, ...]


class _Shift(NamedTuple):
    """Who works, and what it costs."""

    staffing: list[SkillStaffing]
    overtime_hours: float
    wages: float
    short: list[str]
    """Skills for which fewer come than are asked for."""


class WorkforceDecisions(ViewPlans[WorkforceRequest, WorkforceDecision, WorkforceSituation]):
    """Who is called to the coming shift."""

    title = "Workforce agent"
    tags = ("staffing", "shifts")
    request_type = WorkforceRequest
    decision_type = WorkforceDecision

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read the world from the artifact.

        Args:
            artifact: As `export_view_policy` made it.

        Raises:
            ConfigError: The world is not known, or the network does not fit it.
        """
        self._policy = ViewPolicy(artifact)
        self.config: WorkforceConfig = self._policy.domain.config
        self._valid = artifact.card.validated_for
        self.expert_name = self._policy.expert_name

    def describe(self) -> str:
        """Say who is called, and what for."""
        config = self.config
        return (
            f"Calls up to {config.num_employees} people of {config.num_skills} skills to the next "
            f"shift of {config.shift_hours:g} hours, so that wages, overtime and the penalty for "
            "missing people are as low as can be until the plan ends."
        )

    def example_request(self) -> WorkforceRequest:
        """Return a request of the agent's own sizes, early in the week."""
        config = self.config
        skills = [f"skill-{number + 1}" for number in range(config.num_skills)]
        people = [
            {
                "name": f"person-{number + 1:02}",
                "skills": [skills[number % len(skills)]],
                "contract_hours": 40.0 if number % 2 else 24.0,
                "hours_worked": config.shift_hours * (number % 3),
                "worked_last_shift": number % 5 == 0,
            }
            for number in range(config.num_employees)
        ]
        return WorkforceRequest.model_validate(
            {
                "skills": skills,
                "employees": people,
                "forecast": [dict.fromkeys(skills, 1.0)] * config.lookahead,
                "shift_of_week": min(4, config.shifts_per_week - 1),
                "shifts_left": max(1, config.num_shifts // 2),
            }
        )

    def read(self, request: WorkforceRequest) -> WorkforceSituation:
        """Match names and sizes; find out who can come.

        Args:
            request: Well formed, but perhaps about another world.

        Raises:
            RequestError: Names or sizes do not fit; each problem names its field.
        """
        problems = find_problems(request, self.config)
        if problems:
            raise RequestError(problems)
        view = make_view(request, self.config)
        people = len(request.employees)
        values = {
            "contract_hours": view.contract_hours[0, :people].tolist(),
            "hours": view.hours[0, :people].tolist(),
            "forecast": view.forecast.ravel().tolist(),
            "shift_of_week": [float(request.shift_of_week)],
            "shifts_left": [float(request.shifts_left)],
        }
        outside = find_out_of_range(values, self._valid)
        given = len(request.forecast)
        ahead = min(self.config.lookahead, request.shifts_left)
        gap = f"forecast: {given} of {ahead} coming shifts given; the others count as without work"
        return WorkforceSituation(
            outside=outside,
            warnings=(
                *map(range_warning, outside),
                *([gap] if given < ahead else []),
            ),
            view=view,
            names=tuple(person.name for person in request.employees),
            skills=tuple(request.skills),
        )

    def decide(
        self,
        situation: WorkforceSituation,
        action: NDArray[np.float32],
        *,
        header: Header,
        expert: NDArray[np.float32] | None,
    ) -> WorkforceDecision:
        """Call people who can come, and nobody else.

        Args:
            situation: What it is about.
            action: Shares of the people with each skill, `[skill]`.
            header: What the decision says about itself.
            expert: The expert's shares, if the answer shall show them.
        """
        shift = self._staff(situation, action)
        compared = None
        if expert is not None:
            theirs = self._staff(situation, expert)
            compared = ExpertStaffing(
                name=self.expert_name, staffing=theirs.staffing, wages=theirs.wages
            )
        return WorkforceDecision(
            **header,
            staffing=shift.staffing,
            overtime_hours=shift.overtime_hours,
            wages=shift.wages,
            guardrails=[]
            if header["fallback_used"]
            else [f"people.{name}" for name in shift.short],
            expert=compared,
        )

    def amounts(self, decision: WorkforceDecision) -> Mapping[Hashable, float]:
        """Return one for everybody called, by skill.

        Args:
            decision: Of policy, expert or person.
        """
        return {(one.skill, name): 1.0 for one in decision.staffing for name in one.called}

    def realised(
        self,
        request: WorkforceRequest,
        outcome: Mapping[str, Any] | None,
        following: WorkforceRequest | None,  # noqa: ARG002
    ) -> Floats | None:
        """Return how many people were needed, `[skill]`, if it was reported.

        Args:
            request: What was asked.
            outcome: `needed`, people by skill.
            following: The agent's next request, which does not tell.
        """
        return read_amounts((outcome or {}).get("needed"), request.skills)

    def worth(
        self, situation: WorkforceSituation, decision: WorkforceDecision, came: Floats | None
    ) -> float:
        """Return minus the wages and the penalty for missing people in the shift, in currency.

        Args:
            situation: What it was about.
            decision: Of policy, expert or person.
            came: People needed; the forecast if absent.
        """
        needed = situation.view.forecast[0, 0] if came is None else came
        called = np.asarray([len(one.called) for one in decision.staffing])
        missing = float(np.maximum(needed - called, 0.0).sum())
        penalty = self.config.understaffing_penalty * self.config.shift_hours
        return -decision.wages - penalty * missing

    def override(
        self, situation: WorkforceSituation, wish: Mapping[str, Any], *, header: Header
    ) -> WorkforceDecision:
        """Word whom a person calls.

        Args:
            situation: What it is about.
            wish: `staffing`, each with `skill` and the names `called`, as in a decision.
            header: What the decision says about itself.

        Raises:
            RequestError: It is malformed, or somebody is called who cannot come for it.
        """
        called = read_calls(wish, situation.names, situation.skills, situation.view)
        shift = self._word(situation, [len(people) for people in called], called)
        return WorkforceDecision(
            **header,
            staffing=[
                one.model_copy(update={"reason": f"Decided by {header['decided_by']}."})
                for one in shift.staffing
            ],
            overtime_hours=shift.overtime_hours,
            wages=shift.wages,
            guardrails=[],
            expert=None,
        )

    def _staff(self, situation: WorkforceSituation, action: NDArray[np.float32]) -> _Shift:
        wanted = self._policy.project(action[None], situation.view)[0]
        called = call_people(wanted, situation.view)
        return self._word(situation, wanted.astype(int).tolist(), called)

    def _word(
        self, situation: WorkforceSituation, wanted: Sequence[int], called: Sequence[list[int]]
    ) -> _Shift:
        config, view = self.config, situation.view
        room = np.maximum(view.contract_hours[0] - view.hours[0], 0.0)
        works = np.asarray([person for group in called for person in group], np.int64)
        overtime = float(np.maximum(config.shift_hours - room[works], 0.0).sum())
        hours = config.shift_hours * len(works)
        expected = view.forecast[0, 0].tolist()
        staffing = [
            SkillStaffing(
                skill=skill,
                wanted_people=wanted[number],
                called=[situation.names[person] for person in called[number]],
                expected_people=expected[number],
                expected_missing=max(expected[number] - len(called[number]), 0.0),
                reason=_explain(wanted[number], len(called[number]), expected[number]),
            )
            for number, skill in enumerate(situation.skills)
        ]
        return _Shift(
            staffing=staffing,
            overtime_hours=overtime,
            wages=config.wage * (hours + config.overtime_premium * overtime),
            short=[one.skill for one in staffing if len(one.called) < one.wanted_people],
        )


def _explain(wanted: int, called: int, expected: float) -> str:
    asked = f"{expected:.1f} people are expected to be needed and {wanted} are asked for"
    if called < wanted:
        return f"{asked}, but only {called} can come."
    return f"{asked}; all come." if wanted else f"{asked}."
