"""Every world, and which of its sizes people may choose: bounds, and what its preset has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from data.capacity_demand import CapacityDemandConfig
from data.cluster_tasks import RelativesConfig
from data.job_arrivals import JobConfig
from data.market_config import SyntheticMarketConfig
from data.staffing_demand import StaffingConfig
from rl.domains.capacity_planning import CapacityConfig
from rl.domains.constrained_allocation import ConstrainedConfig
from rl.domains.execution import ExecutionConfig
from rl.domains.inventory import inv_management
from rl.domains.inventory_presets import clark_scarf, fixed_order_cost, newsvendor
from rl.domains.market_making import avellaneda_stoikov
from rl.domains.nodes import NodeConfig
from rl.domains.portfolio import PortfolioConfig
from rl.domains.shared_services import shared_services
from rl.domains.supply_presets import FAMILIES, serial
from rl.domains.trading_config import TradingConfig
from rl.domains.traffic_shares import TrafficConfig
from utils.errors import ConfigError

WORLDS: Mapping[str, str] = {
    "shared_services": "how one planner splits capacities among services",
    "service_agents": "how much of each capacity every service asks for",
    "service_market": "what every service bids for the capacities, with a budget",
    "constrained_allocation": "how much of each resource every task gets",
    "traffic_shares": "which share of a link to move",
    "distributed_nodes": "how much of its free capacity each node offers",
    "distributed_nodes_deadlines": (
        "how much each node offers, where workloads are tried until their deadline"
    ),
    "cluster_scheduling": "which node takes this GPU job",
    "job_scheduling": "which waiting job starts now (DeepRM)",
    "workforce": "how many people of each skill work this shift",
    "capacity_planning": "when to add or remove capacity that takes time to build",
    "serial_inventory": "how much each stage of a chain orders, unmet demand waits (OR-Gym v0)",
    "serial_inventory_lost_sales": (
        "how much each stage of a chain orders, unmet demand is lost (OR-Gym v1)"
    ),
    "newsvendor": "how much to stock for one uncertain day",
    "fixed_order_cost": "when to order and how much, where every order costs something",
    "clark_scarf": "how much three stages order, with a known optimum",
    "serial_supply": "how much each stage of a chain orders (gym-invmgmt Serial-v0)",
    "multi_echelon": "how much to order on every link of a network (gym-invmgmt MultiEchelon-v0)",
    "five_product": "what to order and make in a vehicle maker's network, under disruptions",
    "execution": "how much of an order to sell now",
    "market_making": "at which prices to quote",
    "trading": "what each of four traders buys and sells, and where it stops",
    "portfolio": "how to split wealth among symbols and cash",
}
"""By name, what is decided in it."""
PORTFOLIO_SYMBOLS = 5
JOB_LOAD = 1.1
FIVE_PRODUCT_NODES, FIVE_PRODUCT_STEPS = 4, 1000
Given = TypeVar("Given")


@dataclass(frozen=True, kw_only=True)
class WorldSizes:
    """What was chosen; None leaves what the world's preset has. No world has all of them."""

    num_services: int | None = None
    num_resources: int | None = None
    num_tasks: int | None = None
    num_nodes: int | None = None
    num_employees: int | None = None
    num_weeks: int | None = None
    num_regions: int | None = None
    num_traders: int | None = None
    num_symbols: int | None = None
    num_steps: int | None = None
    lead_time: int | None = None
    load: float | None = None
    mean_demand: float | None = None
    difficulty: float | None = None
    risk_aversion: float | None = None
    cost_bps: float | None = None
    demand_family: str | None = None

    def given(self) -> dict[str, float | str]:
        """Return what was chosen, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Size:
    """One that a world has."""

    name: str
    """A field of `WorldSizes`."""
    about: str
    default: float | str
    low: float = 0.0
    high: float = 0.0
    is_whole: bool = True
    options: tuple[str, ...] = ()
    """What it may be, where it is no number."""


def check_sizes(world: str, sizes: WorldSizes) -> None:
    """Refuse sizes that a world has not, and those out of bounds.

    Args:
        world: In the catalogue.
        sizes: What was chosen.

    Raises:
        ConfigError: There is such a size.
    """
    known = {size.name: size for size in SIZES.get(world, ())}
    for name, value in sizes.given().items():
        if name not in known:
            there = ", ".join(known) or "nothing to choose"
            raise ConfigError(f"{name}={value}: {world} has no such size; it has {there}")
        _check(known[name], value)


def or_else(chosen: Given | None, usual: Given) -> Given:
    """Return what was chosen, or else what is usual.

    Args:
        chosen: None if nothing was.
        usual: Of the preset.
    """
    return usual if chosen is None else chosen


def _check(size: Size, value: float | str) -> None:
    if size.options:
        if value not in size.options:
            raise ConfigError(f"{size.name}={value!r}: choose one of {', '.join(size.options)}")
        return
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"{size.name}={value!r}: give a finite number")
    if size.is_whole and not isinstance(value, int):
        raise ConfigError(f"{size.name}={value}: give a whole number")
    if not size.low <= value <= size.high:
        raise ConfigError(f"{size.name}={value}: give {size.low:g} to {size.high:g}")


def _steps(default: int, low: int, high: int) -> Size:
    return Size(
        name="num_steps", about="length of an episode, steps", default=default, low=low, high=high
    )


_SERVICES = shared_services().allocation
_SHARED = (
    Size(
        name="num_services",
        about="services that share",
        default=len(_SERVICES.services),
        low=2,
        high=10,
    ),
    Size(
        name="num_resources",
        about="resources that are shared",
        default=len(_SERVICES.resources),
        low=1,
        high=10,
    ),
    _steps(_SERVICES.max_steps, 10, 200),
)
_NODES = (
    Size(name="num_nodes", about="nodes", default=NodeConfig().num_nodes, low=2, high=20),
    _steps(NodeConfig().max_steps, 50, 1000),
)
_CONSTRAINED = ConstrainedConfig()
_OR_GYM = (_steps(inv_management(lost_sales=False).max_steps, 10, 100),)
_FAMILY = (
    Size(
        name="demand_family",
        about="how demand goes",
        default="stationary",
        options=tuple(FAMILIES),
    ),
    _steps(serial().config.max_steps, 10, 100),
)
SIZES: Mapping[str, tuple[Size, ...]] = {
    "shared_services": _SHARED,
    "service_agents": _SHARED,
    "service_market": _SHARED,
    "constrained_allocation": (
        Size(
            name="num_resources",
            about="resources",
            default=_CONSTRAINED.num_resources,
            low=2,
            high=10,
        ),
        Size(name="num_tasks", about="tasks", default=_CONSTRAINED.num_tasks, low=3, high=15),
        _steps(_CONSTRAINED.episode_length, 50, 200),
    ),
    "traffic_shares": (
        Size(
            name="difficulty",
            about="0 has the fewest resources, 1 the most",
            default=0.0,
            low=0.0,
            high=1.0,
            is_whole=False,
        ),
        _steps(TrafficConfig().num_steps, 50, 400),
    ),
    "distributed_nodes": _NODES,
    "distributed_nodes_deadlines": _NODES,
    "cluster_scheduling": (
        Size(name="num_nodes", about="nodes", default=RelativesConfig().num_nodes, low=10, high=80),
        Size(
            name="num_tasks",
            about="jobs, one a step",
            default=RelativesConfig().num_tasks,
            low=100,
            high=800,
        ),
    ),
    "job_scheduling": (
        Size(
            name="load",
            about="work arriving over work that can be done",
            default=JOB_LOAD,
            low=0.1,
            high=round(JobConfig().work_per_job, 2) - 0.01,
            is_whole=False,
        ),
    ),
    "workforce": (
        Size(
            name="num_employees",
            about="people",
            default=StaffingConfig().num_employees,
            low=5,
            high=60,
        ),
        Size(
            name="num_weeks",
            about="weeks played",
            default=StaffingConfig().num_weeks,
            low=1,
            high=8,
        ),
    ),
    "capacity_planning": (
        Size(
            name="num_regions",
            about="regions",
            default=CapacityDemandConfig().num_regions,
            low=1,
            high=8,
        ),
        Size(
            name="lead_time",
            about="steps until what is ordered stands",
            default=CapacityConfig().lead_time,
            low=1,
            high=8,
        ),
        _steps(CapacityConfig().max_steps, 12, 120),
    ),
    "serial_inventory": _OR_GYM,
    "serial_inventory_lost_sales": _OR_GYM,
    "newsvendor": (
        Size(
            name="mean_demand",
            about="expected demand, units",
            default=newsvendor().demand.mean,  # type: ignore[attr-defined]
            low=1,
            high=100,
            is_whole=False,
        ),
    ),
    "fixed_order_cost": (_steps(fixed_order_cost().chain.max_steps, 20, 400),),
    "clark_scarf": (_steps(clark_scarf().chain.max_steps, 20, 400),),
    "serial_supply": _FAMILY,
    "multi_echelon": _FAMILY,
    "five_product": (
        Size(
            name="num_nodes",
            about="nodes of the network",
            default=FIVE_PRODUCT_NODES,
            low=4,
            high=8,
        ),
        _steps(FIVE_PRODUCT_STEPS, 50, 1000),
    ),
    "execution": (_steps(ExecutionConfig().num_steps, 2, 50),),
    "market_making": (
        Size(
            name="risk_aversion",
            about="how much it fears to hold",
            default=avellaneda_stoikov().risk_aversion,
            low=0.01,
            high=1.0,
            is_whole=False,
        ),
        _steps(avellaneda_stoikov().num_steps, 20, 400),
    ),
    "trading": (
        Size(
            name="num_traders", about="traders", default=len(TradingConfig().agents), low=1, high=8
        ),
        _steps(TradingConfig().max_steps, 20, 504),
    ),
    "portfolio": (
        Size(name="num_symbols", about="symbols", default=PORTFOLIO_SYMBOLS, low=2, high=20),
        Size(
            name="cost_bps",
            about="cost of trading, hundredths of a percent",
            default=PortfolioConfig().cost_bps,
            low=0.0,
            high=100.0,
            is_whole=False,
        ),
        _steps(SyntheticMarketConfig().max_steps, 21, 504),
    ),
}
"""By world of the catalogue."""
