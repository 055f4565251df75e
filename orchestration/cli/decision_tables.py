"""Decisions for people: what an agent decided, the expert's answer beside it, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ai_agents.allocation_schema import AllocationDecision
from ai_agents.base_agent import Decision
from ai_agents.execution_schema import ExecutionDecision, ScheduleOutlook
from ai_agents.network_orders_schema import NetworkOrdersDecision
from ai_agents.node_schema import NodeDecision
from ai_agents.placement_schema import PlacementDecision
from ai_agents.portfolio_schema import PortfolioDecision
from ai_agents.replenishment_schema import ReplenishmentDecision
from ai_agents.view_schema import ViewDecision
from ai_agents.workforce_schema import WorkforceDecision
from orchestration.cli.scheduling_tables import (
    node_table,
    placement_table,
    view_table,
    workforce_table,
)
from orchestration.cli.tables import make_table

SHOWN_SLICES = 8


def decision_table(decision: Decision) -> RenderableType:
    """Draw a decision, beside the expert's answer where it was asked to compare.

    Args:
        decision: Of any agent.
    """
    draw = TABLES.get(type(decision))
    if draw is not None:
        return draw(decision)
    table = make_table("", "")
    own = decision.model_dump(mode="json", exclude=set(Decision.model_fields))
    for name, value in own.items():
        table.add_row(
            name.replace("_", " "), value if isinstance(value, str) else json.dumps(value)
        )
    return table


def _allocation_table(decision: AllocationDecision) -> Table:
    expert = decision.expert
    table = make_table(
        "service", "the agent grants", *(["the expert grants"] if expert else []), "why"
    )
    theirs = expert.services if expert else decision.services
    for ours, other in zip(decision.services, theirs, strict=True):
        grants = [_grant(ours.allocation), *([_grant(other.allocation)] if expert else [])]
        table.add_row(ours.name, *grants, Text(ours.reason, style="dim"))
    leftover = [_grant(decision.leftover), *([_grant(expert.leftover)] if expert else [])]
    table.add_row(Text("nobody", style="dim"), *leftover)
    return table


def _order_table(decision: ReplenishmentDecision) -> Table:
    expert = decision.expert
    table = make_table(
        "product",
        "place",
        "orders from",
        "units",
        *(["the expert"] if expert else []),
        "in days",
        "cover, days",
        "why",
    )
    theirs = expert.products if expert else decision.products
    for ours, other in zip(decision.products, theirs, strict=True):
        for line, their_line in zip(ours.orders, other.orders, strict=True):
            cover = line.expected_cover_days
            table.add_row(
                ours.name,
                line.place,
                line.supplier,
                f"{line.order:,.1f}",
                *([f"{their_line.order:,.1f}"] if expert else []),
                str(line.arrives_in_days),
                "" if cover is None else f"{cover:,.1f}",
                Text(line.reason, style="dim"),
            )
    return table


def _link_table(decision: NetworkOrdersDecision) -> Table:
    expert = decision.expert
    table = make_table("link", "units", *(["the expert"] if expert else []), "in periods", "why")
    theirs = expert.orders if expert else decision.orders
    for ours, other in zip(decision.orders, theirs, strict=True):
        units = [f"{ours.order:,.1f}", *([f"{other.order:,.1f}"] if expert else [])]
        table.add_row(
            ours.link, *units, str(ours.arrives_in_periods), Text(ours.reason, style="dim")
        )
    return table


def _slice_table(decision: ExecutionDecision) -> RenderableType:
    expert = decision.expert
    table = make_table("who", "sells now", "then", "cost, bp", "deviation, bp", "risk charge, bp")
    answers = [("the agent", decision.outlook)]
    if expert is not None:
        answers.append((expert.name, expert.outlook))
    for name, outlook in answers:
        table.add_row(
            name,
            f"{outlook.slices[0]:,}",
            _slices(outlook),
            f"{outlook.expected_cost_bp:,.1f}",
            f"{outlook.deviation_bp:,.1f}",
            f"{outlook.risk_charge_bp:,.1f}",
        )
    return Group(table, Text(decision.reason, style="dim"))


def _slices(outlook: ScheduleOutlook) -> str:
    later = outlook.slices[1:]
    words = " ".join(f"{one:,}" for one in later[:SHOWN_SLICES])
    more = len(later) - SHOWN_SLICES
    return f"{words} and {more} more" if more > 0 else words


def _portfolio_table(decision: PortfolioDecision) -> RenderableType:
    expert = decision.expert
    table = make_table(
        "symbol",
        "now",
        "the agent",
        *(["the expert"] if expert else []),
        "trade, shares",
        "trade, value",
        "cost",
    )
    plan = decision.portfolio
    theirs = expert.portfolio if expert else plan
    for ours, other in zip(plan.positions, theirs.positions, strict=True):
        table.add_row(
            ours.symbol,
            f"{ours.weight_now:.2%}",
            f"{ours.target_weight:.2%}",
            *([f"{other.target_weight:.2%}"] if expert else []),
            f"{ours.trade_shares:+,.2f}",
            f"{ours.trade_value:+,.2f}",
            f"{ours.cost:,.2f}",
        )
    invested = sum(one.weight_now for one in plan.positions)
    table.add_row(
        Text("cash", style="dim"),
        f"{1.0 - invested:.2%}",
        f"{plan.cash_weight:.2%}",
        *([f"{theirs.cash_weight:.2%}"] if expert else []),
    )
    words = (
        f"Wealth {decision.wealth:,.2f}; {plan.turnover:.2%} of it traded, cost {plan.cost:,.2f}."
    )
    return Group(table, Text(words, style="dim"))


def _grant(units: Mapping[str, float]) -> str:
    return "  ".join(f"{resource} {amount:.1f}" for resource, amount in units.items())


TABLES: Mapping[type[Decision], Callable[[Any], RenderableType]] = {
    AllocationDecision: _allocation_table,
    ReplenishmentDecision: _order_table,
    NetworkOrdersDecision: _link_table,
    ExecutionDecision: _slice_table,
    PortfolioDecision: _portfolio_table,
    PlacementDecision: placement_table,
    NodeDecision: node_table,
    WorkforceDecision: workforce_table,
    ViewDecision: view_table,
}
"""How a decision is drawn; others are listed field by field."""
