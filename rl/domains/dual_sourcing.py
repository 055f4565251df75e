"""Ten products, each from two of eight suppliers: a cheap, slow one and a dear, quick one.

Goods come to one warehouse and go on to one store, where every product has customers of its own.
Numbers are of our making; a curriculum switches suppliers and products off.
"""

from __future__ import annotations

from data.supply_demand import MeanDemand, Stage
from data.supply_disruptions import DisruptionLaw
from rl.domains.supply_chain import SupplyConfig
from rl.domains.supply_network import Link, Market, Network, Node, NodeType, Product, Shelf
from rl.domains.supply_presets import SupplyPreset, make_source
from utils.errors import ConfigError

SUPPLIERS_OF = (*((0, 1),) * 3, *((2, 3),) * 3, *((4, 5),) * 2, *((6, 7),) * 2)
"""Of each product: the cheap and slow supplier, then the dear and quick one."""
NUM_SUPPLIERS, NUM_PRODUCTS = 8, len(SUPPLIERS_OF)
WAREHOUSE, STORE, CUSTOMERS = "warehouse", "store", "customers"
CHEAP, DEAR, RETAIL = 4.0, 5.5, 10.0
SLOW, QUICK, DELIVERY = 4, 1, 1
"""Lead times in steps."""
MAX_DELAY = 3
DEMAND = 10.0
"""Units of each product per step."""


def dual_sourcing(
    *,
    num_suppliers: int = NUM_SUPPLIERS,
    num_products: int = NUM_PRODUCTS,
    demand_variability: float = 0.0,
    disruption_probability: float = 0.0,
    late_share: float = 0.0,
    max_steps: int = 30,
) -> SupplyPreset:
    """Return the network with its first suppliers and products in the world.

    Args:
        num_suppliers: Of eight.
        num_products: Of ten.
        demand_variability: Standard deviation of a mean demand, drawn anew every step, as a share.
        disruption_probability: That something begins to go wrong in a step.
        late_share: Share of shipments that come one to three steps late.
        max_steps: Length of an episode.

    Raises:
        ConfigError: A number is out of range, or a product would have no supplier.
    """
    if not (1 <= num_products <= NUM_PRODUCTS and 1 <= num_suppliers <= NUM_SUPPLIERS):
        raise ConfigError(
            f"give 1 to {NUM_SUPPLIERS} suppliers and 1 to {NUM_PRODUCTS} products, not "
            f"{num_suppliers} and {num_products}"
        )
    needed = max(min(pair) for pair in SUPPLIERS_OF[:num_products]) + 1
    if num_suppliers < needed:
        raise ConfigError(
            f"{num_products} products need at least {needed} suppliers, not {num_suppliers}"
        )
    config = SupplyConfig(
        network=_build(), max_steps=max_steps, disruptions=True, max_delay=MAX_DELAY,
        unit_scale=DEMAND,
    )  # fmt: skip
    law = None
    if disruption_probability > 0:
        law = DisruptionLaw(probability=disruption_probability)
    stage = Stage(
        inactive_nodes=tuple(range(num_suppliers, NUM_SUPPLIERS)),
        inactive_products=tuple(range(num_products, NUM_PRODUCTS)),
        variability=demand_variability,
        late_share=late_share,
    )
    markets = (MeanDemand(base=DEMAND),) * NUM_PRODUCTS
    return SupplyPreset(config=config, source=make_source(config, markets, law, stage))


def _build() -> Network:
    products = tuple(f"product_{number}" for number in range(NUM_PRODUCTS))
    suppliers = tuple(f"supplier_{number}" for number in range(NUM_SUPPLIERS))
    bought = [
        Link(
            supplier=suppliers[number],
            buyer=WAREHOUSE,
            product=product,
            lead_time=lead,
            price=price,
            holding_cost=0.02,
            max_order=3 * DEMAND,
        )
        for product, pair in zip(products, SUPPLIERS_OF, strict=True)
        for number, lead, price in zip(pair, (SLOW, QUICK), (CHEAP, DEAR), strict=True)
    ]
    delivered = [
        Link(
            supplier=WAREHOUSE,
            buyer=STORE,
            product=product,
            lead_time=DELIVERY,
            transport_cost=0.1,
            holding_cost=0.02,
            max_order=3 * DEMAND,
        )
        for product in products
    ]
    return Network(
        products=tuple(Product(name=name) for name in products),
        nodes=(
            *(Node(name=name, type=NodeType.SUPPLIER, capacity=6 * DEMAND) for name in suppliers),
            Node(name=WAREHOUSE, type=NodeType.DISTRIBUTOR),
            Node(name=STORE, type=NodeType.RETAILER),
            Node(name=CUSTOMERS, type=NodeType.CUSTOMER),
        ),
        shelves=(
            *(_shelf(WAREHOUSE, product, 4 * DEMAND, 0.05) for product in products),
            *(_shelf(STORE, product, 2 * DEMAND, 0.10) for product in products),
        ),
        links=(*bought, *delivered),
        markets=tuple(
            Market(retailer=STORE, customer=CUSTOMERS, product=product, price=RETAIL, penalty=1.0)
            for product in products
        ),
    )


def _shelf(node: str, product: str, stock: float, holding: float) -> Shelf:
    return Shelf(node=node, product=product, initial_stock=stock, holding_cost=holding)
