"""What runs mean for the business: figures of their worlds, under the names that people use.

A world has some of them; `docs/environments` says which figures each reports. All are means over
the steps and copies of the last update, while the policy still explores.
"""

from __future__ import annotations

from deploy.grafana.panel import Panel, share_of, world_figure


def _panel(title: str, about: str, unit: str, series: dict[str, str]) -> Panel:
    return Panel(title=title, about=about, unit=unit, series=series, may_be_empty=True)


def _variance(name: str) -> str:
    squares, mean = world_figure(f"{name}_squared"), world_figure(name)
    return f"({squares} - ignoring(figure) {mean} ^ 2)"


BUSINESS = (
    _panel(
        "SLA violations",
        "Share of the work, workloads or people needed that was not served in time.",
        "percentunit",
        {
            "{{run}} work": share_of("lost_work", "arrived_work"),
            "{{run}} workloads": share_of("failed_workloads", "total_workloads"),
            "{{run}} people": share_of("missing_people", "demand_people"),
        },
    ),
    _panel(
        "Utilisation",
        "Share of what there is that is in use, or held.",
        "percentunit",
        {
            "{{run}} {{figure}}": world_figure(
                "used_share|held_share|utilisation|[cg]pu_utilisation|avg_utilization|"
                "resource_utilization"
            )
        },
    ),
    _panel(
        "Fairness",
        "Jain's index: 1 where all get the same part of what they need.",
        "percentunit",
        {"{{run}} {{figure}}": world_figure("jain_index|fairness")},
    ),
    _panel(
        "Fill rate",
        "Share of the demand that was delivered at once.",
        "percentunit",
        {"{{run}}": share_of("sold_units", "demand")},
    ),
    _panel(
        "Bullwhip",
        "Variance of all orders over that of all demand; above 1 the chain amplifies.",
        "short",
        {"{{run}}": f"{_variance('ordered_units')} / ({_variance('demand')} > 0)"},
    ),
    _panel(
        "Costs",
        "A step, in the world's currency or share of wealth; below zero where they are terms of "
        "the reward.",
        "short",
        {"{{run}} {{figure}}": world_figure("holding_cost|total_cost|cost_share|costs|shortfall")},
    ),
    _panel(
        "Energy (kWh)",
        "Of the units held, a step; of worlds that count it.",
        "short",
        {"{{run}}": world_figure("energy_kwh")},
    ),
    _panel(
        "Carbon (kg)",
        "Of that energy, at the hour's intensity.",
        "short",
        {"{{run}}": world_figure("carbon_kg")},
    ),
    _panel(
        "Drawdown",
        "Share of the peak of wealth that is lost.",
        "percentunit",
        {"{{run}}": world_figure("drawdown")},
    ),
    _panel(
        "Turnover",
        "Traded a step, as a share of wealth or in currency.",
        "short",
        {"{{run}}": world_figure("turnover")},
    ),
    _panel(
        "Constraint violations",
        "By how much the action wanted more than there is, squared.",
        "short",
        {"{{run}}": world_figure("constraint_violations")},
    ),
)
