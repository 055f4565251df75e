"""Request and decision of the agent that orders for a whole network of stock."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ai_agents.base_agent import Decision, DecisionRequest

MOST_PERIODS = 512
MOST_LINKS = 256
LARGEST_AMOUNT = 1e9

Amount = Annotated[float, Field(ge=0, le=LARGEST_AMOUNT)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Amounts = Annotated[list[Amount], Field(max_length=MOST_PERIODS)]


class NetworkOrdersRequest(DecisionRequest):
    """What lies and moves where in the network, and what customers ask for."""

    stock: Annotated[dict[Name, Amount], Field(max_length=MOST_LINKS)] = Field(
        description="Units on the shelf of each place, all of them."
    )
    on_the_way: Annotated[dict[Name, Amounts], Field(max_length=MOST_LINKS)] = Field(
        default={},
        description="Units on their way by link, such as `4->2`, and by the period they come in: "
        "the first entry comes in this period. Nothing where a link is not named.",
    )
    undelivered: Amount = Field(
        default=0.0, description="Units that customers asked for and did not get last period."
    )
    customers_wait: bool = Field(
        default=True, description="Whether they wait for what is not delivered, or leave."
    )
    customers_remember: bool = Field(
        default=False, description="Whether demand follows how well customers were served."
    )
    sentiment: Annotated[float, Field(gt=0, le=100)] = Field(
        default=1.0, description="By what demand is multiplied for that; 1 is neutral."
    )
    expected_demand: Amounts = Field(
        default=[],
        description="Mean demand of the coming periods at neutral sentiment, this period first, as "
        "far as the agent looks or the plan goes. Only for informed agents.",
    )
    recent_demand: Amounts = Field(
        default=[],
        description="Units that customers asked for in each period so far, newest last. Blind "
        "agents hang on it; informed ones need it for no more than the expert's sake.",
    )
    periods_left: int | None = Field(
        default=None,
        ge=1,
        description="Periods until the plan ends, this one included; the longest plan if absent.",
    )


class LinkOrder(BaseModel):
    """What is ordered on one link."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    link: str = Field(description="From whom to whom, such as `4->2`.")
    supplier: str
    buyer: str
    order: float = Field(description="Units to order now; the supplier has and can ship them.")
    arrives_in_periods: int = Field(description="Periods until they come in; 0 is this one.")
    reason: str = Field(description="Why so much, in a sentence.")


class ExpertNetworkOrders(BaseModel):
    """What the expert would have ordered."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    orders: list[LinkOrder]


class NetworkOrdersDecision(Decision):
    """What is ordered on every link."""

    orders: list[LinkOrder] = Field(description="In the order in which suppliers serve them.")
    expert: ExpertNetworkOrders | None = Field(description="The expert's answer, if asked for.")
