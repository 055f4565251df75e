"""From weights to the trades that lead to them, in words and money."""

from __future__ import annotations

import numpy as np

from ai_agents.portfolio_reading import Array64, PortfolioSituation
from ai_agents.portfolio_schema import PortfolioPlan, PositionTarget
from rl.domains.portfolio import PortfolioDomain

NO_TRADE = 1e-6
"""Changes of a weight below this are rounding."""


def word_plan(
    domain: PortfolioDomain, target: Array64, situation: PortfolioSituation
) -> PortfolioPlan:
    """Say which trades lead to weights, and what they cost.

    Args:
        domain: Knows the cost of trading.
        target: `[symbol]`: share of wealth, costs paid.
        situation: What is held.
    """
    count, wealth = len(situation.symbols), situation.wealth
    held = situation.weights[:count]
    kept = float(domain.compute_kept_share(held, target))
    moved = target * kept - held
    cost = domain.config.cost * np.abs(moved) * wealth
    equal = 1.0 / count
    rows = zip(
        situation.symbols,
        held.tolist(),
        target.tolist(),
        moved.tolist(),
        cost.tolist(),
        situation.prices.tolist(),
        strict=True,
    )
    cash = 1.0 - float(target.sum())
    return PortfolioPlan(
        positions=[
            PositionTarget(
                symbol=symbol,
                weight_now=now,
                target_weight=weight,
                trade_shares=change * wealth / price,
                trade_value=change * wealth,
                cost=paid,
                reason=_reason(now, weight, change, equal),
            )
            for symbol, now, weight, change, paid, price in rows
        ],
        cash_weight=cash,
        cash_after=cash * kept * wealth,
        turnover=float(np.abs(moved).sum()),
        cost=float(cost.sum()),
    )


def _reason(now: float, target: float, change: float, equal: float) -> str:
    if abs(target - now) < NO_TRADE:
        return f"Kept at {now:.2%} of wealth; an equal share is {equal:.2%}."
    word = "Bought" if change > 0 else "Sold"  # costs shrink wealth: a share may rise by selling
    return f"{word} from {now:.2%} to {target:.2%} of wealth; an equal share is {equal:.2%}."
