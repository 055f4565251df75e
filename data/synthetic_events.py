"""What agents do in a synthetic market, and what came of it by the prices of that market."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from data.market_timeline import ANNUAL_VOLATILITY, CONDITIONS, SYMBOLS, MarketTimeline, step_time
from data.synthetic_records import EVENT_TYPES, AgentRecord, TradingEvent

LOOK_BACK = 12
"""Steps whose move an agent follows: one hour."""
HOLDING = 12
"""Steps after which a trade is closed and a judgement is checked."""
COMMISSION = 0.0005
"""Share of the traded value, on opening and on closing."""
TRADES = ("buy", "sell", "execution")
CHANCES = {
    "coordinating": (0.10, 0.10, 0.10, 0.60, 0.10),
    "processing": (0.20, 0.20, 0.05, 0.05, 0.50),
    "analysis": (0.10, 0.10, 0.60, 0.15, 0.05),
    "integration": (0.30, 0.30, 0.10, 0.10, 0.20),
}
"""Per type of agent: chance of each of `EVENT_TYPES`."""


def make_events(
    agents: Sequence[AgentRecord],
    num_events: int,
    timeline: MarketTimeline,
    *,
    start: datetime,
    generator: np.random.Generator,
) -> list[TradingEvent]:
    """Draw who acts when and on what; the rest follows from the market.

    An agent follows the move of the last hour and, with its error probability, goes against it; a
    buy or a sell keeps its side. Confidence is the share of normal moves that are smaller than the
    one seen, mixed with the accuracy of the agent. A trade (buy, sell, execution) is closed after
    an hour: its profit is the move times the quantity, less commission, and its outcome success if
    that is above zero. An analysis or decision trades nothing and succeeds if its side was right.

    Args:
        agents: Who can act.
        num_events: How many, at least 0.
        timeline: With `HOLDING` steps beyond the last event.
        start: Time of its first step.
        generator: The only source of chance.
    """
    last = len(timeline.price) - timeline.first - HOLDING
    steps = np.sort(generator.integers(last, size=num_events))
    who = generator.integers(len(agents), size=num_events)
    symbols = generator.integers(len(SYMBOLS), size=num_events)
    chances = generator.random((num_events, 3))
    events = [
        _make_event(agents[agent], timeline, (int(step), int(symbol)), chance)
        for agent, step, symbol, chance in zip(who, steps, symbols, chances, strict=True)
    ]
    for number, (event, step) in enumerate(zip(events, steps, strict=True)):
        event["id"] = f"event_{number:05d}"
        event["timestamp"] = step_time(start, int(step))
    return events


def _make_event(
    agent: AgentRecord, timeline: MarketTimeline, place: tuple[int, int], draws: np.ndarray
) -> TradingEvent:
    """Return an event without id and time."""
    step, symbol = place
    row = timeline.first + step
    price, later = timeline.price[row, symbol], timeline.price[row + HOLDING, symbol]
    moved = price / timeline.price[row - LOOK_BACK, symbol] - 1
    position = np.searchsorted(np.cumsum(CHANCES[agent["type"]]), draws[0], side="right")
    kind = EVENT_TYPES[min(int(position), len(EVENT_TYPES) - 1)]
    follows = draws[1] >= agent["errorProbability"]
    side = kind if kind in {"buy", "sell"} else ("buy" if (moved >= 0) == follows else "sell")
    sign = 1 if side == "buy" else -1
    quantity = (1 + int(draws[2] * 100)) if kind in TRADES else 0
    gain = sign * (later - price)
    profit = quantity * (gain - COMMISSION * (price + later)) if quantity else 0.0
    condition = CONDITIONS[timeline.condition[row]]
    volatility = condition.volatility * ANNUAL_VOLATILITY
    surprise = _share_of_smaller(timeline, row, symbol, moved)
    agrees = "with" if (sign > 0) == (moved >= 0) else "against"
    return {
        "id": "",
        "timestamp": "",
        "type": kind,
        "agentId": agent["id"],
        "symbol": SYMBOLS[symbol],
        "side": side,
        "quantity": quantity,
        "price": round(float(price), 4),
        "confidence": round(agent["accuracy"] * (0.5 + 0.5 * surprise), 4),
        "reasoning": (
            f"{SYMBOLS[symbol]} moved {moved:+.2%} in the last hour in a {condition.name} market; "
            f"{side} {agrees} the move"
        ),
        "outcome": "success" if (profit if quantity else gain) > 0 else "failure",
        "profit": round(float(profit), 4),
        "marketCondition": condition.name,
        "volatility": round(volatility, 4),
    }


def _share_of_smaller(timeline: MarketTimeline, row: int, symbol: int, moved: float) -> float:
    """Return the chance that a normal move of the past's deviation is smaller than the one seen."""
    past = np.diff(np.log(timeline.price[row - 2 * LOOK_BACK : row + 1, symbol]))
    deviation = float(past.std()) * math.sqrt(LOOK_BACK)
    return math.erf(abs(math.log1p(moved)) / (deviation * math.sqrt(2))) if deviation > 0 else 0.0
