"""What a picture of shared services shows."""

from __future__ import annotations

from rl.environments.base_environment import Chart

SERVICE_CHARTS = (
    Chart(title="work", metrics=("arrived_work", "served_work"), unit="units"),
    Chart(title="work waiting", metrics=("waiting_work",), unit="units"),
    Chart(title="work lost so far", metrics=("lost_work",), unit="units", is_sum=True),
    Chart(title="capacity held", metrics=("held_share",), unit="share"),
    Chart(
        title="cost of idle capacity so far",
        metrics=("holding_cost",),
        unit="value",
        is_sum=True,
    ),
)
MARKET_CHARTS = (
    Chart(title="price of a unit, mean", metrics=("unit_price",), unit="currency"),
    Chart(title="budgets left", metrics=("budget_left",), unit="currency"),
)
"""What a picture shows beside the work where services pay."""
