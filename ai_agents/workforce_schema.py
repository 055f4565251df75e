"""Request and decision of the workforce agent: people, forecasts, and who is called to a shift."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ai_agents.base_agent import Decision, DecisionRequest, RequestModel

MOST_PEOPLE = 1000
MOST_SKILLS = 32
MOST_SHIFTS = 200
HOURS_OF_A_WEEK = 168.0

Name = Annotated[str, Field(min_length=1, max_length=100)]
Hours = Annotated[float, Field(ge=0, le=HOURS_OF_A_WEEK)]
People = Annotated[float, Field(ge=0, le=10_000)]
Forecast = Annotated[dict[Name, People], Field(max_length=MOST_SKILLS)]


class Employee(RequestModel):
    """Somebody who may be called."""

    name: Name = Field(description="No two alike.")
    skills: list[Name] = Field(
        min_length=1, max_length=MOST_SKILLS, description="Those somebody has."
    )
    contract_hours: float = Field(gt=0, le=HOURS_OF_A_WEEK, description="Hours a week.")
    hours_worked: Hours = Field(default=0.0, description="Hours worked this week so far.")
    is_absent: bool = Field(default=False, description="Whether somebody cannot come.")
    worked_last_shift: bool = Field(
        default=False, description="Whether somebody was in the shift before, and must rest."
    )


class WorkforceRequest(DecisionRequest):
    """Who there is and how many are expected to be needed, before a shift."""

    skills: list[Name] = Field(
        min_length=1,
        max_length=MOST_SKILLS,
        description="Names of the skills, as many as the agent was trained for and always in the "
        "same order; people with several are called to the first that wants them.",
    )
    employees: list[Employee] = Field(
        min_length=1, max_length=MOST_PEOPLE, description="At most as many as in training."
    )
    forecast: list[Forecast] = Field(
        min_length=1,
        max_length=MOST_SHIFTS,
        description="People expected to be needed, by skill, the coming shift first; none where a "
        "skill or a later shift is not named. At most the agent's look-ahead.",
    )
    shift_of_week: int = Field(
        ge=0, le=MOST_SHIFTS, description="Shifts of this week that are over."
    )
    shifts_left: int = Field(
        ge=1, le=10_000, description="Shifts until the plan ends, this one included."
    )


class SkillStaffing(BaseModel):
    """Who is called for one skill."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    skill: str
    wanted_people: int = Field(ge=0, description="How many are asked for.")
    called: list[str] = Field(description="Who comes, those with most contract hours left first.")
    expected_people: float = Field(description="The forecast of the coming shift.")
    expected_missing: float = Field(description="What the forecast exceeds those called by.")
    reason: str = Field(description="Why so many, in a sentence.")


class ExpertStaffing(BaseModel):
    """Whom the expert would have called."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    staffing: list[SkillStaffing]
    wages: float


class WorkforceDecision(Decision):
    """Who is called to the coming shift."""

    staffing: list[SkillStaffing] = Field(description="In the order of the skills.")
    overtime_hours: float = Field(ge=0, description="Hours beyond contracts, of all together.")
    wages: float = Field(ge=0, description="Of the shift, overtime premium included; currency.")
    expert: ExpertStaffing | None = Field(description="The expert's answer, if asked for.")
