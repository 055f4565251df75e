"""The retail-chain preset: constants and their reasons, fixed before any training result.

One product flows from raw materials through a factory and depots to a shop; every stage is an
agent's. A step is a trading day. Demand is that of `data.shop_demand`: lumpy, drifting, on average
20 units a day. What the shop does not have is a lost sale.

- A unit sells at 2.0 and costs 0.5 in raw materials; a lost sale costs 0.1 of goodwill.
- A unit held costs 0.08 a day in the shop and 0.02 at the factory, evenly between: value is added
  on the way. On the way it costs what it cost where it came from.
- A day from the last depot to the shop, two between depots, three to get materials and make a unit.
- First stock: what each stage sells until its own order could arrive, and one day more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data.demand_law import DemandLaw
from data.shop_demand import LARGEST, USUAL
from data.supply_demand import SupplyShape
from rl.domains.supply_chain import SupplyConfig
from rl.domains.supply_forecasts import ForecastConfig
from rl.domains.supply_network import Link, Market, Network, Node, NodeType, Product, Shelf
from utils.errors import ConfigError

PRODUCT, MATERIALS, CUSTOMERS = "product", "materials", "customers"
PRICE, MATERIAL_COST, PENALTY = 2.0, 0.5, 0.1
SHOP_HOLDING, FACTORY_HOLDING, MATERIAL_HOLDING = 0.08, 0.02, 0.01
SHOP_LEAD, DEPOT_LEAD, FACTORY_LEAD = 1, 2, 3
MAX_STEPS, MAX_DELAY, MOST_STAGES = 100, 3, 16
WEEK = 6
"""Trading days: the shop closes on Saturdays."""
SYNTHETIC_LAW = DemandLaw(
    level=USUAL,
    level_spread=0.25,
    season=(1.0, 1.0, 1.1, 1.3, 1.0, 0.6),
    zero_share=0.15,
    dispersion=2.5,
    intensity_sd=0.35,
    persistence=0.98,
    promotion_probability=0.01,
    shift_probability=0.005,
)
"""By eye, after training days of training products."""


def retail_chain(num_stages: int = 6) -> SupplyConfig:
    """Return the chain; stages, shelves and links run from the shop upstream.

    Args:
        num_stages: Stages that hold stock and order, 2 to 16.

    Raises:
        ConfigError: The number is out of range.
    """
    if not 2 <= num_stages <= MOST_STAGES:
        raise ConfigError(f"num_agents must lie in 2 .. {MOST_STAGES} stages, not {num_stages}")
    names = ("shop", *(f"depot_{n}" for n in range(1, num_stages - 1)), "factory")
    types = [NodeType.RETAILER, *[NodeType.DISTRIBUTOR] * (num_stages - 2), NodeType.MANUFACTURER]
    lead = (SHOP_LEAD, *[DEPOT_LEAD] * (num_stages - 2), FACTORY_LEAD)
    holding = np.round(np.linspace(SHOP_HOLDING, FACTORY_HOLDING, num_stages), 6).tolist()
    paid = np.round(np.linspace(0.75 * PRICE, MATERIAL_COST, num_stages), 6).tolist()
    network = Network(
        products=(Product(name=PRODUCT),),
        nodes=(
            *(Node(name=name, type=type_) for name, type_ in zip(names, types, strict=True)),
            Node(name=MATERIALS, type=NodeType.SUPPLIER),
            Node(name=CUSTOMERS, type=NodeType.CUSTOMER),
        ),
        shelves=tuple(
            Shelf(
                node=name,
                product=PRODUCT,
                initial_stock=USUAL * (steps + 2),
                holding_cost=cost,
            )
            for name, steps, cost in zip(names, lead, holding, strict=True)
        ),
        links=tuple(
            Link(
                supplier=supplier,
                buyer=buyer,
                product=PRODUCT,
                lead_time=steps,
                price=price,
                holding_cost=cost,
                max_order=LARGEST,
            )
            for supplier, buyer, steps, price, cost in zip(
                (*names[1:], MATERIALS),
                names,
                lead,
                paid,
                (*holding[1:], MATERIAL_HOLDING),
                strict=True,
            )
        ),
        markets=(
            Market(
                retailer="shop", customer=CUSTOMERS, product=PRODUCT, price=PRICE, penalty=PENALTY
            ),
        ),
    )
    return SupplyConfig(
        network=network,
        max_steps=MAX_STEPS,
        backlog=False,
        disruptions=True,
        max_delay=MAX_DELAY,
        forecasts=ForecastConfig(window=WEEK, season=WEEK, smoothing=0.1),
        unit_scale=USUAL,
    )


def chain_shape(config: SupplyConfig) -> SupplyShape:
    """Return how large the arrays of a chain's scenarios are.

    Args:
        config: The chain.
    """
    network = config.network
    return SupplyShape(
        num_steps=config.max_steps,
        num_nodes=len(network.nodes),
        num_flows=len(network.links),
        num_products=len(network.products),
        known_horizon=config.known_horizon,
        has_disruptions=config.disruptions,
        max_delay=config.max_delay,
    )


def without_disruptions(config: SupplyConfig) -> SupplyConfig:
    """Return the same chain as the hindsight program takes it.

    Args:
        config: The chain.
    """
    return replace(config, disruptions=False, max_delay=0)
