"""Supply networks of public packages as presets: same graph, same numbers."""

from __future__ import annotations

from dataclasses import dataclass

from data.supply_demand import MeanDemand, Stage, SupplyShape, SupplySource
from data.supply_disruptions import DisruptionLaw
from rl.domains.supply_chain import Goodwill, SupplyConfig
from rl.domains.supply_network import Link, Market, Network, Node, NodeType, Product, Shelf
from utils.errors import ConfigError

UNITS = "units"
FAMILIES = {
    "stationary": MeanDemand(),
    "trend": MeanDemand(trend=0.05),
    "seasonal": MeanDemand(season=0.5),
    "shock": MeanDemand(shock=2.0),
    "trend+seasonal": MeanDemand(trend=0.05, season=0.5),
    "trend+seasonal+shock": MeanDemand(trend=0.05, season=0.5, shock=2.0),
}
"""gym-invmgmt's demand by name of its effects, 20 units a step at the base."""
SERIAL_HORIZON, MULTI_ECHELON_HORIZON = 13, 22
"""Steps ahead that cover the longest way from a source to the customer and some more."""


@dataclass(frozen=True, kw_only=True)
class SupplyPreset:
    """A world and where its scenarios come from."""

    config: SupplyConfig
    source: SupplySource


def make_source(
    config: SupplyConfig,
    markets: tuple[MeanDemand, ...],
    disruptions: DisruptionLaw | None = None,
    stage: Stage | None = None,
) -> SupplySource:
    """Return a scenario source whose arrays fit a world.

    Args:
        config: The world.
        markets: Mean demand of each.
        disruptions: How they come; None for none.
        stage: Of a curriculum.

    Raises:
        ConfigError: The number of markets differs, or the world has no room for disruptions.
    """
    network = config.network
    if len(markets) != len(network.markets):
        raise ConfigError(f"the network has {len(network.markets)} markets, not {len(markets)}")
    shape = SupplyShape(
        num_steps=config.max_steps,
        num_nodes=len(network.nodes),
        num_flows=len(network.links) + len(network.recipes),
        num_products=len(network.products),
        known_horizon=config.known_horizon,
        has_disruptions=config.disruptions,
        max_delay=config.max_delay,
    )
    return SupplySource(
        shape=shape, markets=markets, disruptions=disruptions, stage=stage or Stage()
    )


def serial(
    family: str = "stationary",
    *,
    goodwill: bool = False,
    backlog: bool = True,
    informed: bool = True,
) -> SupplyPreset:
    """Return gym-invmgmt's Serial-v0, version 0.2.1.

    Args:
        family: Name of its demand in `FAMILIES`.
        goodwill: Whether customers remember.
        backlog: Whether they wait.
        informed: Whether the mean of coming demand is known and observed.

    Raises:
        ConfigError: The family is unknown.
    """
    rows = ((2, 1, 4, 1.5, 0.010), (3, 2, 4, 1.0, 0.005), (4, 3, 0, 0.5, 0.0))
    stock = ((1, 100.0, 0.030), (2, 100.0, 0.020), (3, 200.0, 0.010))
    types = (NodeType.CUSTOMER, NodeType.RETAILER, NodeType.DISTRIBUTOR)
    network = Network(
        products=(Product(name=UNITS),),
        nodes=(
            *(Node(name=str(number), type=one) for number, one in enumerate(types)),
            Node(name="3", type=NodeType.MANUFACTURER, capacity=100.0, operating_cost=0.010),
            Node(name="4", type=NodeType.SUPPLIER),
        ),
        shelves=_shelves(stock),
        links=_links(rows),
        markets=(Market(retailer="1", customer="0", product=UNITS, price=2.0, penalty=0.1),),
    )
    horizon = SERIAL_HORIZON if informed else 0
    return _gym_invmgmt(network, family, horizon, goodwill=goodwill, backlog=backlog)


def multi_echelon(
    family: str = "stationary",
    *,
    goodwill: bool = False,
    backlog: bool = True,
    informed: bool = True,
) -> SupplyPreset:
    """Return gym-invmgmt's MultiEchelon-v0, version 0.2.1.

    Args:
        family: Name of its demand in `FAMILIES`.
        goodwill: Whether customers remember.
        backlog: Whether they wait.
        informed: Whether the mean of coming demand is known and observed.

    Raises:
        ConfigError: The family is unknown.
    """
    network = _perez_network()
    horizon = MULTI_ECHELON_HORIZON if informed else 0
    return _gym_invmgmt(network, family, horizon, goodwill=goodwill, backlog=backlog)


def network_management(*, lost_sales: bool) -> SupplyPreset:
    """Return OR-Gym's NetworkManagement, version 0.5.0; the network of Perez et al. (2021).

    Unlike the original, a supplier never promises the same units to two buyers, so shelves cannot
    fall below zero.

    Args:
        lost_sales: False gives v0 (customers wait), True v1.
    """
    return multi_echelon(backlog=not lost_sales, informed=False)


def _perez_network() -> Network:
    rows = (
        (2, 1, 5, 1.500, 0.010),
        (3, 1, 3, 1.600, 0.015),
        (4, 2, 8, 1.000, 0.008),
        (4, 3, 10, 0.800, 0.006),
        (5, 2, 9, 0.700, 0.005),
        (6, 2, 11, 0.750, 0.007),
        (6, 3, 12, 0.800, 0.004),
        (7, 4, 0, 0.150, 0.000),
        (7, 5, 1, 0.050, 0.005),
        (8, 5, 2, 0.070, 0.002),
        (8, 6, 0, 0.200, 0.000),
    )
    stock = (
        (1, 100.0, 0.030),
        (2, 110.0, 0.020),
        (3, 80.0, 0.015),
        (4, 400.0, 0.012),
        (5, 350.0, 0.013),
        (6, 380.0, 0.011),
    )
    factories = (("4", 90.0, 0.010), ("5", 90.0, 0.015), ("6", 80.0, 0.012))
    return Network(
        products=(Product(name=UNITS),),
        nodes=(
            Node(name="0", type=NodeType.CUSTOMER),
            Node(name="1", type=NodeType.RETAILER),
            *(Node(name=name, type=NodeType.DISTRIBUTOR) for name in ("2", "3")),
            *(
                Node(name=name, type=NodeType.MANUFACTURER, capacity=capacity, operating_cost=cost)
                for name, capacity, cost in factories
            ),
            *(Node(name=name, type=NodeType.SUPPLIER) for name in ("7", "8")),
        ),
        shelves=_shelves(stock),
        links=_links(rows),
        markets=(Market(retailer="1", customer="0", product=UNITS, price=2.0, penalty=0.1),),
    )


def _shelves(rows: tuple[tuple[int, float, float], ...]) -> tuple[Shelf, ...]:
    return tuple(
        Shelf(node=str(node), product=UNITS, initial_stock=units, holding_cost=cost)
        for node, units, cost in rows
    )


def _links(rows: tuple[tuple[int, int, int, float, float], ...]) -> tuple[Link, ...]:
    return tuple(
        Link(
            supplier=str(supplier),
            buyer=str(buyer),
            product=UNITS,
            lead_time=lead,
            price=price,
            holding_cost=holding,
        )
        for supplier, buyer, lead, price, holding in rows
    )


def _gym_invmgmt(
    network: Network, family: str, horizon: int, *, goodwill: bool, backlog: bool
) -> SupplyPreset:
    if family not in FAMILIES:
        raise ConfigError(f"unknown demand family {family!r}; known: {', '.join(FAMILIES)}")
    config = SupplyConfig(
        network=network,
        backlog=backlog,
        goodwill=Goodwill() if goodwill else None,
        known_horizon=horizon,
    )
    return SupplyPreset(config=config, source=make_source(config, (FAMILIES[family],)))
