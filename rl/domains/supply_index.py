"""A supply network as positions: which column of which array means what."""

from __future__ import annotations

from dataclasses import dataclass

from rl.domains.array_tools import Weights
from rl.domains.supply_network import UNLIMITED, Link, Network, Recipe
from rl.domains.supply_rationing import Pool


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A link or a recipe: what it takes from shelves, and which shelf it fills."""

    origin: Link | Recipe
    supplier: int
    """Node it ships from or is made at."""
    buyer: int
    """Node it comes to."""
    target: int
    """Shelf it fills."""
    product: int
    takes: Weights
    """Shelves, and units of each per unit shipped; none at a source."""
    supplier_is_source: bool

    @property
    def is_link(self) -> bool:
        """Whether goods go from node to node."""
        return isinstance(self.origin, Link)


class NetworkIndex:
    """Positions of everything in a network; columns of flows are the links, then the recipes."""

    def __init__(self, network: Network) -> None:
        """Look everything up once.

        Args:
            network: Checked.
        """
        self.network = network
        self.node = {node.name: number for number, node in enumerate(network.nodes)}
        self.product = {one.name: number for number, one in enumerate(network.products)}
        self.shelf = {(s.node, s.product): number for number, s in enumerate(network.shelves)}
        self.flows = (
            *(self._of_link(link) for link in network.links),
            *(self._of_recipe(recipe) for recipe in network.recipes),
        )
        self.managed = tuple(self.node[node.name] for node in network.managed_nodes())
        self.agents: dict[str, list[int]] = {}
        """Managed nodes of each agent, where every node orders for itself."""
        for number in self.managed:
            node = network.nodes[number]
            self.agents.setdefault(node.agent or node.name, []).append(number)
        self.shelf_node = tuple(self.node[shelf.node] for shelf in network.shelves)
        self.shelf_product = tuple(self.product[shelf.product] for shelf in network.shelves)
        self.market_shelf = tuple(self.shelf[m.retailer, m.product] for m in network.markets)
        self.capped = tuple(
            number for number, node in enumerate(network.nodes) if node.capacity < UNLIMITED
        )

    @property
    def num_shelves(self) -> int:
        """Columns of stock."""
        return len(self.network.shelves)

    @property
    def num_markets(self) -> int:
        """Columns of demand."""
        return len(self.network.markets)

    def shipping_pools(self) -> list[Pool]:
        """Return the pools of flows; resources are the shelves, then the capped nodes.

        A flow joins the pool of an earlier one with the same needs unless another pool has drawn on
        one of them in between, so that flows are served in their order.
        """
        pools: list[tuple[list[int], Weights]] = []
        last: dict[int, int] = {}
        free: dict[int, int] = {}
        for number, flow in enumerate(self.flows):
            needs = list(flow.takes)
            if flow.is_link and flow.supplier in self.capped:
                needs.append((self.num_shelves + self.capped.index(flow.supplier), 1.0))
            before = {last.get(resource, -1) for resource, _ in needs}
            if not needs:
                before = {free.get(flow.supplier, -1)}
            pool = before.pop() if len(before) == 1 else -1
            if pool < 0 or pools[pool][1] != needs:
                pools.append(([], needs))
                pool = len(pools) - 1
            pools[pool][0].append(number)
            last.update({resource: pool for resource, _ in needs})
            if not needs:
                free[flow.supplier] = pool
        return [Pool(requests=tuple(requests), needs=needs) for requests, needs in pools]

    def market_pools(self) -> list[Pool]:
        """Return the pools of markets; resources are the shelves."""
        pools: dict[int, list[int]] = {}
        for market, shelf in enumerate(self.market_shelf):
            pools.setdefault(shelf, []).append(market)
        return [Pool(requests=tuple(one), needs=[(s, 1.0)]) for s, one in pools.items()]

    def asked_of_shelves(self) -> list[Weights]:
        """Return, per shelf, the columns of (flows, markets) that ask something of it."""
        asked: list[list[tuple[int, float]]] = [[] for _ in range(self.num_shelves)]
        for number, flow in enumerate(self.flows):
            for shelf, units in flow.takes:
                asked[shelf].append((number, units))
        for market, shelf in enumerate(self.market_shelf):
            asked[shelf].append((len(self.flows) + market, 1.0))
        return list(asked)

    def _of_link(self, link: Link) -> Flow:
        network, supplier = self.network, self.node[link.supplier]
        source = network.is_source(link.supplier)
        output_yield = network.nodes[supplier].output_yield
        takes = [] if source else [(self.shelf[link.supplier, link.product], 1.0 / output_yield)]
        return Flow(
            origin=link,
            supplier=supplier,
            buyer=self.node[link.buyer],
            target=self.shelf[link.buyer, link.product],
            product=self.product[link.product],
            takes=takes,
            supplier_is_source=source,
        )

    def _of_recipe(self, recipe: Recipe) -> Flow:
        node = self.node[recipe.node]
        return Flow(
            origin=recipe,
            supplier=node,
            buyer=node,
            target=self.shelf[recipe.node, recipe.product],
            product=self.product[recipe.product],
            takes=[
                (self.shelf[recipe.node, one.product], one.units / recipe.output_yield)
                for one in recipe.components
            ],
            supplier_is_source=False,
        )
