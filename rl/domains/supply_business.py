"""A vehicle maker's chain: five products, a bill of materials, four tiers, disruptions.

Of the promised SupplyChainEnvironment this keeps products, costs, roles by position, first stock
and seasons. Its base demands (steel 100, plastic 80, engines 20, electronics 30, vehicles 10) are
those of one bill of materials, which is used here; what it left out is here: customers who buy,
production, lead times in steps, holding costs and perishing.
"""

from __future__ import annotations

from dataclasses import replace

from data.supply_demand import MeanDemand
from data.supply_disruptions import DisruptionLaw
from rl.domains.supply_chain import SupplyConfig
from rl.domains.supply_network import (
    Component,
    Link,
    Market,
    Network,
    Node,
    NodeType,
    Product,
    Recipe,
    Shelf,
)
from rl.domains.supply_presets import SupplyPreset, make_source
from utils.errors import ConfigError

TIERS = (NodeType.SUPPLIER, NodeType.MANUFACTURER, NodeType.DISTRIBUTOR, NodeType.RETAILER)
STEEL, PLASTIC, ENGINE = "raw_material_1", "raw_material_2", "component_1"
ELECTRONICS, VEHICLE = "component_2", "finished_product"
PRODUCTS = (
    Product(name=STEEL),
    Product(name=PLASTIC, perish_rate=0.1),
    Product(name=ENGINE),
    Product(name=ELECTRONICS, perish_rate=0.05),
    Product(name=VEHICLE),
)
STORAGE = {STEEL: 0.05, PLASTIC: 0.03, ENGINE: 1.0, ELECTRONICS: 0.8, VEHICLE: 15.0}
STOCK = {
    NodeType.SUPPLIER: {STEEL: 1000.0, PLASTIC: 800.0},
    NodeType.MANUFACTURER: {STEEL: 200.0, PLASTIC: 150.0, ENGINE: 50.0, ELECTRONICS: 75.0}
    | {VEHICLE: 20.0},
    NodeType.DISTRIBUTOR: {VEHICLE: 100.0},
    NodeType.RETAILER: {VEHICLE: 20.0},
}
CAPACITY = {NodeType.SUPPLIER: 600.0, NodeType.MANUFACTURER: 40.0}
COST = {STEEL: 5.0, PLASTIC: 3.0}
MARGIN = 1.2
"""Suppliers sell at this multiple of cost; the promise was 1.1 to 1.3 by chance."""
FACTORY_PRICE, WHOLESALE_PRICE, RETAIL_PRICE = 2100.0, 2200.0, 2400.0
PENALTY = 50.0
MOST_SUPPLIERS = 3
VEHICLES = 10.0
"""Mean demand of one retailer per step."""
SOURCE = "mine"
LEAD = {"mine": 2, "materials": 2, "making": 1, "distribution": 3, "delivery": 1}


def five_product(
    num_nodes: int = 4,
    *,
    agents: tuple[str, ...] = (),
    products: tuple[Product, ...] = PRODUCTS,
    max_steps: int = 1000,
    disruption_probability: float = 0.1,
    seasonality: bool = True,
) -> SupplyPreset:
    """Return the chain with nodes in turn supplier, manufacturer, distributor and retailer.

    Args:
        num_nodes: 4 to 128; each buys from up to three nodes of the tier before.
        agents: Who orders, in turn for the nodes; every node for itself if empty.
        products: All five, with other perish rates or disposal costs.
        max_steps: Length of an episode; a step is a day.
        disruption_probability: That something begins to go wrong in a step.
        seasonality: Whether demand has a yearly season.

    Raises:
        ConfigError: A number is out of range, or a product is missing or unknown.
    """
    if not len(TIERS) <= num_nodes <= 128:
        raise ConfigError(f"num_nodes must lie in 4 .. 128, not {num_nodes}")
    if {one.name for one in products} != set(STORAGE):
        raise ConfigError(f"products must be {', '.join(STORAGE)}")
    tiers = {type_: _names(type_, num_nodes) for type_ in TIERS}
    config = SupplyConfig(
        network=_build(tiers, _nodes(num_nodes, agents), products),
        max_steps=max_steps,
        disruptions=True,
        max_delay=5,
        unit_scale=50.0,
        share_demand=True,
    )
    season = 0.2 if seasonality else 0.0
    law = MeanDemand(base=VEHICLES, season=season, period=365.0)
    disruptions = DisruptionLaw(probability=disruption_probability)
    markets = (law,) * len(config.network.markets)
    return SupplyPreset(config=config, source=make_source(config, markets, disruptions))


def _names(type_: NodeType, num_nodes: int) -> list[str]:
    first = TIERS.index(type_)
    return [f"{type_.value}_{number}" for number in range(first, num_nodes, len(TIERS))]


def _nodes(num_nodes: int, agents: tuple[str, ...]) -> tuple[Node, ...]:
    nodes = []
    for number in range(num_nodes):
        type_ = TIERS[number % len(TIERS)]
        node = Node(name=f"{type_.value}_{number}", type=type_)
        if type_ in CAPACITY:
            node = replace(node, capacity=CAPACITY[type_])
        if agents:
            node = replace(node, agent=agents[number % len(agents)])
        nodes.append(node)
    return tuple(nodes)


def _build(
    tiers: dict[NodeType, list[str]], nodes: tuple[Node, ...], products: tuple[Product, ...]
) -> Network:
    suppliers, makers, distributors, retailers = (tiers[type_] for type_ in TIERS)
    shelves = [
        Shelf(node=name, product=product, initial_stock=units, holding_cost=STORAGE[product])
        for type_, names in tiers.items()
        for name in names
        for product, units in STOCK[type_].items()
    ]
    links = [
        _link((SOURCE, name), product, lead="mine", price=COST[product], most=600.0)
        for name in suppliers
        for product in COST
    ]
    links += [
        _link(pair, product, lead="materials", price=MARGIN * COST[product], most=300.0)
        for product in COST
        for pair in _pairs(suppliers, makers)
    ]
    for pairs, lead, price in (
        (_pairs(makers, distributors), "distribution", FACTORY_PRICE),
        (_pairs(distributors, retailers), "delivery", WHOLESALE_PRICE),
    ):
        links += [_link(pair, VEHICLE, lead=lead, price=price, most=40.0) for pair in pairs]
    customers = [f"customers_{number}" for number in range(len(retailers))]
    return Network(
        products=products,
        nodes=(
            *nodes,
            Node(name=SOURCE, type=NodeType.SUPPLIER),
            *(Node(name=name, type=NodeType.CUSTOMER) for name in customers),
        ),
        shelves=tuple(shelves),
        links=tuple(links),
        markets=tuple(
            Market(
                retailer=retailer,
                customer=customer,
                product=VEHICLE,
                price=RETAIL_PRICE,
                penalty=PENALTY,
            )
            for retailer, customer in zip(retailers, customers, strict=True)
        ),
        recipes=tuple(recipe for maker in makers for recipe in _recipes(maker)),
    )


def _link(pair: tuple[str, str], product: str, *, lead: str, price: float, most: float) -> Link:
    return Link(
        supplier=pair[0],
        buyer=pair[1],
        product=product,
        lead_time=LEAD[lead],
        price=price,
        transport_cost=0.01 * price,
        holding_cost=0.5 * STORAGE[product],
        max_order=most,
    )


def _pairs(sellers: list[str], buyers: list[str]) -> list[tuple[str, str]]:
    most = min(MOST_SUPPLIERS, len(sellers))
    return [
        (sellers[(number + step) % len(sellers)], buyer)
        for number, buyer in enumerate(buyers)
        for step in range(most)
    ]


def _recipes(maker: str) -> list[Recipe]:
    """Engines, electronics and vehicles; unit costs add up to the promised 150, 100 and 2000."""
    parts = {
        ENGINE: (((STEEL, 5.0), (PLASTIC, 1.0)), 122.0, 80.0),
        ELECTRONICS: (((PLASTIC, 2.0),), 94.0, 120.0),
        VEHICLE: (((ENGINE, 2.0), (ELECTRONICS, 3.0)), 1400.0, 40.0),
    }
    return [
        Recipe(
            node=maker,
            product=product,
            components=tuple(Component(product=name, units=units) for name, units in needs),
            lead_time=LEAD["making"],
            operating_cost=cost,
            holding_cost=0.5 * STORAGE[product],
            capacity=most,
            max_order=most,
        )
        for product, (needs, cost, most) in parts.items()
    ]
