"""Request and decision of the resource allocation agent, in business words and units."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ai_agents.base_agent import Decision, DecisionRequest, RequestModel

MOST_SERVICES = 256
MOST_STEPS = 512
LARGEST_AMOUNT = 1e9

Amount = Annotated[float, Field(ge=0, le=LARGEST_AMOUNT)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Amounts = Annotated[dict[Name, Amount], Field(max_length=64)]

EXAMPLE_REQUEST: dict[str, Any] = {
    "services": [
        {"name": "storefront", "waiting": [9.0], "recent_demand": [14.0, 31.0, 22.0, 27.0, 19.0]},
        {"name": "search", "waiting": [2.0, 4.0], "recent_demand": [30.0, 32.0, 29.0, 31.0, 30.0]},
        {
            "name": "settlement",
            "waiting": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 6.0, 18.0, 20.0, 16.0],
            "recent_demand": [6.0, 18.0, 20.0, 16.0, 0.1],
        },
        {"name": "telemetry", "recent_demand": [20.0, 20.0, 21.0, 20.0, 20.0]},
    ],
    "capacity": {"compute": 60.0, "memory": 80.0},
    "time_of_day": 0.6,
    "compare": True,
}


class ServiceState(RequestModel):
    """One service and the work it has."""

    name: Name = Field(description="One of the services that the agent was trained for.")
    waiting: list[Amount] = Field(
        default_factory=list,  # a default that changes would be copied slowly
        json_schema_extra={"default": []},
        max_length=MOST_STEPS,
        description="Work units by the further steps they can wait: the first entry is lost "
        "unless it is served in this step, the next one in the step after, and so on. At most as "
        "many entries as the service is patient for; missing ones are zero.",
    )
    recent_demand: list[Amount] = Field(
        min_length=1,
        max_length=MOST_STEPS,
        description="Work units that arrived in each of the last steps, newest last. At most the "
        "agent's look-back; where fewer are known, the earlier ones are taken as their mean.",
    )
    priority: Amount | None = Field(
        default=None, description="Value of one unit of served work; the trained one if absent."
    )
    holding: Amounts = Field(
        default_factory=dict,
        json_schema_extra={"default": {}},
        description="Units held now, by resource; none where a resource is not named.",
    )


class AllocationRequest(DecisionRequest):
    """Who needs what, and what there is to share in the coming step."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_REQUEST]})

    services: list[ServiceState] = Field(
        min_length=1,
        max_length=MOST_SERVICES,
        description="Every service of the agent once, in any order.",
    )
    capacity: Amounts = Field(description="Units that can be shared now, by resource; all of them.")
    price: Amounts = Field(
        default_factory=dict,
        json_schema_extra={"default": {}},
        description="Cost of one unit held idle for one step, by resource; the trained one where "
        "a resource is not named.",
    )
    time_of_day: float = Field(ge=0, lt=1, description="Share of the day that is over; 0.5 is noon")


class ServiceAllocation(BaseModel):
    """What one service gets."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    allocation: dict[str, float] = Field(description="Units granted, by resource.")
    expected_served_work: float = Field(
        description="Work units served in this step if as much arrives as on average in the last "
        "three steps."
    )
    expected_lost_work: float = Field(description="Work units lost in this step in that case.")
    reason: str = Field(description="What bounds the grant, in a sentence.")


class ExpertAnswer(BaseModel):
    """What the tuned expert would have done."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    services: list[ServiceAllocation]
    leftover: dict[str, float]
    expected_value: float


class AllocationDecision(Decision):
    """How the capacities are split."""

    services: list[ServiceAllocation] = Field(description="In the order of the request.")
    leftover: dict[str, float] = Field(description="Units granted to nobody, by resource.")
    expected_value: float = Field(
        description="Priority-weighted expected served work of this step minus the cost of idle "
        "units; a forecast for one step, which is not all that the policy aims at."
    )
    expert: ExpertAnswer | None = Field(description="The expert's answer, if asked for.")
