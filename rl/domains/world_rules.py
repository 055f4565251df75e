"""Experts' rules of every world of the catalogue, untuned or tuned beforehand; the first is usual.

A rule turns what is known of all copies, as NumPy, into what all agents do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.domains import (
    allocation_experts,
    cluster_experts,
    execution_experts,
    portfolio_experts,
    trading_experts,
)
from rl.domains.inventory_experts import base_stock, reorder
from rl.domains.supply_experts import EXPERTS as SUPPLY_EXPERTS
from rl.domains.supply_experts import SupplyExperts
from rl.domains.view_worlds import VIEW_WORLDS

Rule = Callable[[Any], NDArray[Any]]
"""From a view to actions; a supply network's are orders in units."""
MakeRule = Callable[[Any], Rule]
"""From a world (its `config` and `options` are read) to a rule for one episode of it."""
RANDOM = "random"
NEWSVENDOR_FRACTILE = 4.0 / 5.0
"""Shortage cost over shortage and holding cost of the preset."""
BASE_STOCK_LEVELS: Mapping[str, tuple[float, ...]] = {
    "serial_inventory": (91.0, 211.0, 415.0),
    "serial_inventory_lost_sales": (93.0, 210.0, 0.0),
    "clark_scarf": (6.49, 12.02, 22.71),
}
"""As `python -m benchmarks.inventory` and benchmarks/results/stock_optima.json have them."""
REORDER_POINT, ORDER_UP_TO = 14.0, 62.0
"""Of `fixed_order_cost`, from benchmarks/results/stock_optima.json."""
USUAL: Mapping[str, str] = {
    "constrained_allocation": "greedy_cheapest",
    "traffic_shares": "look_ahead",
    "distributed_nodes": "least_used_1",
    "distributed_nodes_deadlines": "least_used_1",
    "job_scheduling": "tetris",
    "workforce": "forecast",
    "capacity_planning": "forecast_base_stock",
}
"""Of worlds with a view; elsewhere the first."""
PLAYED_BY: Mapping[str, tuple[str, ...]] = {
    "shared_services": ("resource_allocation",),
    "serial_inventory_lost_sales": ("serial_inventory", "serial_inventory_lost_sales"),
}
"""Domains of the policies that may play a world, where they are not just its own name."""


def played_by(world: str) -> tuple[str, ...]:
    """Return the domains of the agents that may decide in a world.

    Args:
        world: In the catalogue.
    """
    return PLAYED_BY.get(world, (world,))


def rules_of(world: str) -> Mapping[str, MakeRule]:
    """Return the rules that know a world, by name; none where nobody wrote one.

    Args:
        world: In the catalogue.
    """
    if world not in VIEW_WORLDS:
        return RULES.get(world, {})
    experts = VIEW_WORLDS[world].experts
    found: dict[str, MakeRule] = {
        name: partial(_from_view, world, rule) for name, rule in experts.items()
    }
    return _first(USUAL.get(world, next(iter(experts))), found)


def _from_view(name: str, rule: Any, world: Any) -> Rule:
    domain = VIEW_WORLDS[name].make_domain(world.config)
    return lambda view: np.asarray(rule(view, domain))


def _split(rule: allocation_experts.Expert, world: Any) -> Rule:
    settings = allocation_experts.ExpertParameters()
    return lambda view: rule(view, world.config, settings)


def _bid(rule: allocation_experts.Expert, world: Any) -> Rule:
    """Ask for the units that a rule gives, and bid what a unit earns."""
    split, config = _split(rule, world), world.config
    worth = np.array([one.priority / max(one.usage) for one in config.services], np.float32)
    bids = worth[:, None] / world.options.market.largest_bid

    def act(view: Any) -> NDArray[Any]:
        asked = split(view)
        shares = asked.reshape(*asked.shape[:-1], len(worth), -1)
        return np.concatenate([shares, np.broadcast_to(bids, shares.shape)], -1)

    return act


def _place(expert: cluster_experts.Expert, world: Any) -> Rule:
    return lambda view: cluster_experts.place(view, expert, world.config)


def _order_up_to(levels: tuple[float, ...], world: Any) -> Rule:
    wanted = np.asarray(levels, np.float64)
    return lambda view: base_stock(view, world.config, wanted)


def _stock_the_fractile(world: Any) -> Rule:
    level = poisson_quantile(NEWSVENDOR_FRACTILE, world.bank.source.mean)
    return _order_up_to((level,), world)


def _reorder(world: Any) -> Rule:
    low, high = np.array([REORDER_POINT]), np.array([ORDER_UP_TO])
    return lambda view: reorder(view, world.config, low, high)


def _order(name: str, world: Any) -> Rule:
    config = world.config
    rules = SupplyExperts(config, informed=config.known_horizon > 0, extra_steps=config.max_delay)
    return lambda view: rules.order(name, view)


def _trade(rule: trading_experts.Expert, world: Any) -> Rule:
    generator = np.random.default_rng(0)  # these rules draw nothing
    return lambda view: rule(view, world.config, generator)


def _with_config(rule: Any, world: Any) -> Rule:
    return lambda view: np.asarray(rule(view, world.config))


def poisson_quantile(share: float, mean: float) -> float:
    """Return the smallest whole number that Poisson demand exceeds with at most 1 - share.

    Args:
        share: In (0, 1).
        mean: Of the demand, up to some hundreds.
    """
    count, term = 0, math.exp(-mean)
    reached = term
    while reached < share:
        count += 1
        term *= mean / count
        reached += term
    return float(count)


def _first(name: str, rules: Mapping[str, MakeRule]) -> Mapping[str, MakeRule]:
    """Leave out chance, and put the usual rule first."""
    others = {one: rule for one, rule in rules.items() if one not in (name, RANDOM)}
    return {name: rules[name], **others}


_SPLITS = _first(
    "urgent_value",
    {name: partial(_split, rule) for name, rule in allocation_experts.EXPERTS.items()},
)
_SUPPLY = _first("echelon_base_stock", {name: partial(_order, name) for name in SUPPLY_EXPERTS})
RULES: Mapping[str, Mapping[str, MakeRule]] = {
    "shared_services": _SPLITS,
    "service_agents": _SPLITS,
    "service_market": _first(
        "urgent_value",
        {name: partial(_bid, rule) for name, rule in allocation_experts.EXPERTS.items()},
    ),
    "cluster_scheduling": _first(
        "fgd", {name: partial(_place, expert) for name, expert in cluster_experts.EXPERTS.items()}
    ),
    **{
        name: {"base_stock": partial(_order_up_to, levels)}
        for name, levels in BASE_STOCK_LEVELS.items()
    },
    "newsvendor": {"critical_fractile": _stock_the_fractile},
    "fixed_order_cost": {"s_S": _reorder},
    "serial_supply": _SUPPLY,
    "multi_echelon": _SUPPLY,
    "five_product": _SUPPLY,
    "execution": _first(
        "almgren_chriss",
        {name: partial(_with_config, rule) for name, rule in execution_experts.EXPERTS.items()},
    ),
    "trading": _first(
        "trend_volatility_target",
        {name: partial(_trade, rule) for name, rule in trading_experts.EXPERTS.items()},
    ),
    "portfolio": _first(
        "maximum_sharpe",
        {name: partial(_with_config, rule) for name, rule in portfolio_experts.EXPERTS.items()},
    ),
}
"""Of the worlds that are not in `VIEW_WORLDS`."""
