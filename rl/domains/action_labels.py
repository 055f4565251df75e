"""What each number of an action, or each choice, is for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Label = Callable[[Any], list[str]]
"""From a world's config."""


def action_labels(world: str, config: Any, size: int) -> list[str]:
    """Name the numbers or choices of an agent's action; empty where nobody named them.

    Args:
        world: In the catalogue, played with its own actions.
        config: Of the world.
        size: Numbers, or choices.
    """
    found = LABELS[world](config) if world in LABELS else []
    return found if len(found) == size else []


def _count(word: str, count: int) -> list[str]:
    return [f"{word} {number}" for number in range(1, count + 1)]


def _pairs(first: list[str], second: list[str]) -> list[str]:
    return [f"{one} · {other}" for one in first for other in second]


def _stages(config: Any) -> list[str]:
    return [f"stage {number} orders" for number in range(1, config.num_stages + 1)]


def _moves(config: Any) -> list[str]:
    moved = config.num_slots if config.movable == "all" else 1
    named = _pairs(_count("share", moved), ["lower", "raise"])
    return named + ["leave all"] * (config.num_choices - len(named))


def _services(config: Any) -> list[str]:
    return [service.name for service in config.services]


LABELS: Mapping[str, Label] = {
    "shared_services": lambda config: _pairs(_services(config), list(config.resources)),
    "service_agents": lambda config: list(config.resources),
    "service_market": lambda config: [
        *(f"share of {name}" for name in config.resources),
        *(f"bid for {name}" for name in config.resources),
    ],
    "constrained_allocation": lambda config: _pairs(
        _count("task", config.num_tasks), _count("resource", config.num_resources)
    ),
    "traffic_shares": _moves,
    "distributed_nodes": lambda config: list(config.resources),
    "distributed_nodes_deadlines": lambda config: list(config.resources),
    "cluster_scheduling": lambda config: [*_count("node", config.num_nodes), "decline"],
    "job_scheduling": lambda config: [*_count("job", config.window), "let a step pass"],
    "workforce": lambda config: _count("skill", config.num_skills),
    "capacity_planning": lambda config: _count("region", config.num_regions),
    "serial_inventory": _stages,
    "serial_inventory_lost_sales": _stages,
    "newsvendor": _stages,
    "fixed_order_cost": _stages,
    "clark_scarf": _stages,
    "execution": lambda _: ["share of the rest sold"],
    "market_making": lambda _: ["distance of the bid", "distance of the ask"],
    "trading": lambda config: _pairs(list(config.symbols), ["size", "stop", "take-profit"]),
}
"""Of worlds whose action has a fixed layout; a network's links and symbols are only numbered."""
