"""Request and decision of the portfolio agent, in business words and units."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ai_agents.base_agent import Decision, DecisionRequest, RequestModel

MOST_SYMBOLS = 256
FEWEST_PRICES, MOST_PRICES = 3, 1_024

Price = Annotated[float, Field(ge=1e-6, le=1e9)]


class Holding(RequestModel):
    """One symbol, its prices, and how much of it is held."""

    symbol: Annotated[str, Field(min_length=1, max_length=32)] = Field(
        description="The caller's name for it; each once."
    )
    prices: list[Price] = Field(
        min_length=FEWEST_PRICES,
        max_length=MOST_PRICES,
        description="Closing prices of the last days, newest last, adjusted for splits and "
        "dividends; as many of every symbol. The last one is what trades are filled at.",
    )
    shares: Annotated[float, Field(ge=-1e12, le=1e12)] = Field(
        default=0.0, description="Shares held now; negative if short, where that is allowed."
    )


class PortfolioRequest(DecisionRequest):
    """What could be held, and what is."""

    holdings: list[Holding] = Field(
        min_length=1,
        max_length=MOST_SYMBOLS,
        description="Every symbol that may be held, those not held yet included.",
    )
    cash: Annotated[float, Field(ge=-1e15, le=1e15)] = Field(
        description="Cash in currency; negative if it is borrowed."
    )
    days_left: Annotated[int, Field(ge=1)] = Field(
        description="Days on which can still be traded, today included. On the first day of a "
        "plan the whole portfolio is set up."
    )


class PositionTarget(BaseModel):
    """What becomes of one symbol."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    symbol: str
    weight_now: float = Field(description="Share of wealth it makes up now.")
    target_weight: float = Field(
        description="Share of wealth, costs paid, that it makes up afterwards."
    )
    trade_shares: float = Field(description="Shares to buy, or to sell if negative.")
    trade_value: float = Field(description="The same at the last price, in currency.")
    cost: float = Field(description="Cost of the trade, in currency.")
    reason: str = Field(description="What is done, in a sentence.")


class PortfolioPlan(BaseModel):
    """A portfolio and the trades that lead to it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    positions: list[PositionTarget] = Field(description="In the order of the request.")
    cash_weight: float = Field(description="Share of wealth in cash afterwards.")
    cash_after: float = Field(description="Cash afterwards, in currency, trades and costs paid.")
    turnover: float = Field(description="What is bought and sold, as a share of wealth.")
    cost: float = Field(description="Cost of all trades, in currency.")


class ExpertPortfolio(BaseModel):
    """What the expert would hold."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    portfolio: PortfolioPlan


class PortfolioDecision(Decision):
    """How wealth is split from now on."""

    wealth: float = Field(description="Cash and all positions at the last prices, in currency.")
    portfolio: PortfolioPlan
    expert: ExpertPortfolio | None = Field(description="The expert's answer, if asked for.")
