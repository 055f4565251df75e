"""Request and decision of the replenishment agent, in business words and units."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ai_agents.base_agent import Decision, DecisionRequest, RequestModel

MOST_PRODUCTS = 256
MOST_DAYS = 512
MOST_PLACES = 64
LARGEST_AMOUNT = 1e9

Amount = Annotated[float, Field(ge=0, le=LARGEST_AMOUNT)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Amounts = Annotated[dict[Name, Amount], Field(max_length=MOST_PLACES)]
Arrivals = Annotated[list[Amount], Field(max_length=MOST_DAYS)]


class ProductState(RequestModel):
    """One product (SKU) on its way through all places."""

    name: Name = Field(description="The caller's name for the product; each once.")
    stock: Amounts = Field(description="Units on the shelf of each place, all of them.")
    on_the_way: Annotated[dict[Name, Arrivals], Field(max_length=MOST_PLACES)] = Field(
        default={},
        description="Units on their way to each place by the day they come in: the first entry "
        "comes today, the next one tomorrow, and so on. Nothing where a place is not named.",
    )
    recent_demand: list[Amount] = Field(
        default=[],
        max_length=MOST_DAYS,
        description="Units that customers asked for on each of the last days, newest last. The "
        "more days, the better the long-run average; none if nothing was sold yet.",
    )
    usual_sales: Annotated[float, Field(ge=1e-3, le=LARGEST_AMOUNT)] | None = Field(
        default=None,
        description="Units sold on a usual day. The agent plans in multiples of it; the trained "
        "one if absent. Not for agents that deal in whole units.",
    )
    waiting: Amount = Field(
        default=0.0,
        description="Units that customers were promised and wait for; only where they wait.",
    )
    waiting_orders: Amounts = Field(
        default={},
        description="Units that each place has ordered and its supplier has not shipped yet; only "
        "where orders wait. None where a place is not named.",
    )


class Trouble(RequestModel):
    """What goes wrong at a place today."""

    place: Name = Field(description="A place, or the source that the last place orders from.")
    shortage: Share = Field(default=0.0, description="Share of every order that it refuses.")
    capacity_loss: Share = Field(default=0.0, description="Share of its shipping it cannot do.")
    quality_loss: Share = Field(default=0.0, description="Share of what it receives, unusable.")
    delay: Annotated[int, Field(ge=0, le=MOST_DAYS)] = Field(
        default=0, description="Days that what sets out to it today comes late."
    )


class ReplenishmentRequest(DecisionRequest):
    """What lies where, what is on the way and what customers asked for, of each product."""

    products: list[ProductState] = Field(
        min_length=1,
        max_length=MOST_PRODUCTS,
        description="Products; each is planned by itself.",
    )
    trouble: list[Trouble] = Field(
        default=[],
        max_length=MOST_PLACES + 1,
        description="Disruptions of today, for all products; only where the agent knows any.",
    )
    days_left: int | None = Field(
        default=None,
        ge=1,
        description="Days until sales end, today included. Absent: sales go on, and the agent "
        "plans for the longest time it knows.",
    )


class OrderLine(BaseModel):
    """What one place orders of one product."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    place: str = Field(description="Who orders.")
    supplier: str = Field(description="From whom.")
    order: float = Field(description="Units to order today.")
    expected_shipment: float = Field(
        description="Units that set out today: of the order and of earlier ones that wait, what "
        "the supplier has, can ship and does not refuse."
    )
    arrives_in_days: int = Field(description="Days until they come in; 0 is today.")
    expected_cover_days: float | None = Field(
        description="Days of recent demand that the place and all below it hold or await "
        "afterwards; null if nothing was asked for lately."
    )
    reason: str = Field(description="Why so much, in a sentence.")


class ProductOrders(BaseModel):
    """All orders for one product."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    orders: list[OrderLine] = Field(description="One per place, from the customers upstream.")


class ExpertOrders(BaseModel):
    """What the tuned expert would have ordered."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    products: list[ProductOrders]


class ReplenishmentDecision(Decision):
    """What is ordered where."""

    products: list[ProductOrders] = Field(description="In the order of the request.")
    expert: ExpertOrders | None = Field(description="The expert's answer, if asked for.")
