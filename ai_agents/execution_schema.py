"""Requests and decision of the execution agents, in business words and units."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ai_agents.base_agent import Decision, DecisionRequest

MOST_SHARES = 10**12
MOST_SLICES = 10_000
MOST_PRICES = 1_024

Price = Annotated[float, Field(ge=1e-6, le=1e9)]
Shares = Annotated[int, Field(ge=1, le=MOST_SHARES)]


class OrderRequest(DecisionRequest):
    """An order to sell that is partly done."""

    shares_total: Shares = Field(description="Shares of the whole order, sold ones included.")
    shares_left: Shares = Field(description="Shares that are still to be sold.")
    lot: Shares = Field(
        default=1, description="Shares are sold in multiples of it; both numbers above are such."
    )
    slices_left: Annotated[int, Field(ge=1, le=MOST_SLICES)] = Field(
        description="Slices that can still be sold, this one included; the last one sells the rest."
    )
    arrival_price: Price = Field(description="Price when the order began, per share.")
    price: Price = Field(description="Price now, per share, as it stands after own sales.")


class DeskRequest(OrderRequest):
    """An order of any share, with what is known of its market; a step is the time of one slice."""

    recent_prices: list[Price] = Field(
        min_length=2,
        max_length=MOST_PRICES,
        description="Prices one step apart, newest last, the lasting effect of own sales taken "
        "out where it is known. Of moves before the first one the long-run size is taken.",
    )
    volatility_bp: Annotated[float, Field(ge=0.01, le=1e5)] = Field(
        description="Long-run standard deviation of the price over one step, in basis points."
    )
    impact_bp: Annotated[float, Field(ge=0.01, le=1e6)] = Field(
        description="What selling the whole order evenly is expected to cost by pushing the price "
        "for a moment, in basis points of the order's value."
    )
    risk_aversion: Annotated[float, Field(ge=1e-9, le=1e3)] = Field(
        description="Basis points paid to be rid of one squared basis point of risk."
    )


class FixedOrderRequest(OrderRequest):
    """The one order whose market the agent was trained for."""

    previous_price: Price | None = Field(
        default=None, description="Price one step ago, per share; absent before the first slice."
    )


class ScheduleOutlook(BaseModel):
    """What is left of an order, if the price moves by own sales only."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    slices: list[int] = Field(description="Shares of every slice to come, the next one first.")
    expected_cost_bp: float = Field(
        description="Spread and impact of all that is left, in basis points of the whole order at "
        "the arrival price."
    )
    expected_cost: float = Field(description="The same in currency.")
    deviation_bp: float = Field(
        description="Standard deviation of what price moves add to it, in the same basis points."
    )
    deviation: float = Field(description="The same in currency.")
    risk_charge_bp: float = Field(description="Risk aversion times its square, in basis points.")


class ExpertSlice(BaseModel):
    """What the expert would have sold."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    next_slice: int = Field(description="Shares to sell now.")
    outlook: ScheduleOutlook


class ExecutionDecision(Decision):
    """How much of an order is sold now."""

    next_slice: int = Field(description="Shares to sell now, whole lots.")
    shares_after: int = Field(description="Shares left afterwards.")
    reason: str = Field(description="Why so many, in a sentence.")
    outlook: ScheduleOutlook
    expert: ExpertSlice | None = Field(description="The expert's answer, if asked for.")
