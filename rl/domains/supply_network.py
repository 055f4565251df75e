"""A supply network as data: nodes, products, links, recipes, shelves and markets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from utils.errors import ConfigError

UNLIMITED = 1e9
"""Stands for a capacity or a stock without end; finite, so that a share of it is one too."""


class NodeType(Enum):
    """What a node does in the chain."""

    SUPPLIER = "supplier"
    MANUFACTURER = "manufacturer"
    DISTRIBUTOR = "distributor"
    RETAILER = "retailer"
    CUSTOMER = "customer"


@dataclass(frozen=True, kw_only=True)
class Product:
    """One kind of goods."""

    name: str
    perish_rate: float = 0.0
    """Share of every shelf that is thrown away after each step."""
    disposal_cost: float = 0.0
    """Per unit thrown away."""

    def __post_init__(self) -> None:
        """Refuse rates outside [0, 1]."""
        _check(f"product {self.name!r}", {"disposal_cost": self.disposal_cost})
        if not 0 <= self.perish_rate <= 1:
            raise ConfigError(f"perish_rate of product {self.name!r} must lie in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A place. One without shelves that is no customer is a source that never runs dry."""

    name: str
    type: NodeType
    capacity: float = UNLIMITED
    """Units shipped to buyers in one step, over all products and links."""
    output_yield: float = 1.0
    """Units shipped per unit taken from the shelf, in (0, 1]."""
    operating_cost: float = 0.0
    """Per unit taken from the shelf to be shipped."""
    agent: str = ""
    """Who orders for it where every node orders for itself; its own name by default. One agent
    may have several nodes."""

    def __post_init__(self) -> None:
        """Refuse negative capacities and costs."""
        _check(
            f"node {self.name!r}",
            {"capacity": self.capacity, "operating_cost": self.operating_cost},
        )
        if not 0 < self.output_yield <= 1:
            raise ConfigError(f"output_yield of node {self.name!r} must lie in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The stock of one product at one node."""

    node: str
    product: str
    initial_stock: float = 0.0
    holding_cost: float = 0.0
    """Per unit left after each step."""

    def __post_init__(self) -> None:
        """Refuse negative stock and costs."""
        _check(
            f"shelf {self.node!r} {self.product!r}",
            {"initial_stock": self.initial_stock, "holding_cost": self.holding_cost},
        )


@dataclass(frozen=True, kw_only=True)
class Link:
    """A buyer may order a product from a supplier; links of one supplier are served in order."""

    supplier: str
    buyer: str
    product: str
    lead_time: int = 0
    """Steps from shipment to receipt; 0 is received in the same step."""
    price: float = 0.0
    """Paid by the buyer to the supplier, per unit shipped."""
    transport_cost: float = 0.0
    """Paid by the buyer to outsiders, per unit shipped."""
    holding_cost: float = 0.0
    """Paid by the buyer per unit on the way after each step."""
    setup_cost: float = 0.0
    """Paid by the buyer in every step in which anything is shipped."""
    capacity: float = UNLIMITED
    max_order: float = 100.0
    """Units ordered by an action of 1."""

    def __post_init__(self) -> None:
        """Refuse negative numbers and orders of nothing."""
        _check_flow(f"link {self.supplier!r} -> {self.buyer!r} of {self.product!r}", self)
        _check(f"link to {self.buyer!r}", {"price": self.price, "transport": self.transport_cost})


@dataclass(frozen=True, kw_only=True)
class Component:
    """So many units of a product go into one unit of another."""

    product: str
    units: float = 1.0

    def __post_init__(self) -> None:
        """Refuse recipes that need nothing."""
        if not (math.isfinite(self.units) and self.units > 0):
            raise ConfigError(f"units of component {self.product!r} must be finite and above 0")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A node may make a product from components on its own shelves; an order is an action."""

    node: str
    product: str
    components: tuple[Component, ...]
    lead_time: int = 0
    output_yield: float = 1.0
    """Units made per unit begun, in (0, 1]."""
    operating_cost: float = 0.0
    """Per unit made."""
    holding_cost: float = 0.0
    """Per unit being made, after each step."""
    setup_cost: float = 0.0
    capacity: float = UNLIMITED
    max_order: float = 100.0

    def __post_init__(self) -> None:
        """Refuse recipes without components, negative numbers and repeated components."""
        name = f"recipe of {self.product!r} at {self.node!r}"
        _check_flow(name, self)
        _check(name, {"operating_cost": self.operating_cost})
        if not 0 < self.output_yield <= 1:
            raise ConfigError(f"output_yield of the {name} must lie in (0, 1]")
        if not self.components:
            raise ConfigError(f"the {name} has no components; name what it is made from")
        _check_unique(f"component in the {name}", (one.product for one in self.components))


@dataclass(frozen=True, kw_only=True)
class Market:
    """Customers who ask a retailer for a product; markets of one shelf are served in order."""

    retailer: str
    customer: str
    product: str
    price: float
    penalty: float = 0.0
    """Per unit asked for and not delivered, in every step."""

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        _check(
            f"market {self.customer!r} of {self.product!r}",
            {"price": self.price, "penalty": self.penalty},
        )


@dataclass(frozen=True, kw_only=True)
class Network:
    """Who can order what from whom; checked as a whole."""

    products: tuple[Product, ...]
    nodes: tuple[Node, ...]
    shelves: tuple[Shelf, ...]
    links: tuple[Link, ...]
    markets: tuple[Market, ...]
    recipes: tuple[Recipe, ...] = ()

    def __post_init__(self) -> None:
        """Refuse unknown names, repetitions, cycles in recipes, and nodes without supply."""
        _check_unique("product", (one.name for one in self.products))
        _check_unique("node", (one.name for one in self.nodes))
        _check_unique("shelf", ((one.node, one.product) for one in self.shelves))
        _check_unique("link", ((one.supplier, one.buyer, one.product) for one in self.links))
        _check_unique("recipe", ((one.node, one.product) for one in self.recipes))
        _check_unique("market", ((one.retailer, one.customer, one.product) for one in self.markets))
        if not (self.shelves and self.links and self.markets):
            raise ConfigError("a network needs at least one shelf, one link and one market")
        self._check_names()
        self._check_shelves()
        _check_acyclic(self)
        _check_reachable(self)

    def managed_nodes(self) -> tuple[Node, ...]:
        """Return the nodes that hold stock, in their order."""
        holding = {shelf.node for shelf in self.shelves}
        return tuple(node for node in self.nodes if node.name in holding)

    def is_source(self, node: str) -> bool:
        """Return whether a node has no shelf and never runs dry.

        Args:
            node: Its name.
        """
        return all(shelf.node != node for shelf in self.shelves)

    def _check_names(self) -> None:
        nodes = {node.name for node in self.nodes}
        products = {product.name for product in self.products}
        for link in self.links:
            _check_known("node", nodes, link.supplier, link.buyer)
        for market in self.markets:
            _check_known("node", nodes, market.retailer, market.customer)
        for shelf in self.shelves:
            _check_known("node", nodes, shelf.node)
        for recipe in self.recipes:
            _check_known("node", nodes, recipe.node)
            _check_known("product", products, *(one.product for one in recipe.components))
            _check_known("product", products, recipe.product)
        _check_known("product", products, *(one.product for one in self.shelves))
        _check_known("product", products, *(one.product for one in self.links))
        _check_known("product", products, *(one.product for one in self.markets))

    def _check_shelves(self) -> None:
        shelves = {(shelf.node, shelf.product) for shelf in self.shelves}
        wanted = [(link.buyer, link.product) for link in self.links]
        wanted += [(market.retailer, market.product) for market in self.markets]
        for recipe in self.recipes:
            wanted += [(recipe.node, one.product) for one in recipe.components]
            wanted.append((recipe.node, recipe.product))
        for link in self.links:
            if not self.is_source(link.supplier):
                wanted.append((link.supplier, link.product))
            if link.supplier == link.buyer:
                raise ConfigError(f"node {link.buyer!r} orders from itself; remove the link")
        for node, product in wanted:
            if (node, product) not in shelves:
                raise ConfigError(
                    f"node {node!r} has no shelf for {product!r}; add Shelf(node={node!r}, "
                    f"product={product!r})"
                )


def _check(what: str, numbers: dict[str, float]) -> None:
    for name, value in numbers.items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name} of {what} must be finite and not negative, not {value}")


def _check_flow(what: str, flow: Link | Recipe) -> None:
    costs = {"holding_cost": flow.holding_cost, "setup_cost": flow.setup_cost}
    _check(what, {"capacity": flow.capacity, **costs})
    if flow.lead_time < 0 or flow.lead_time != int(flow.lead_time):
        raise ConfigError(f"lead_time of {what} must be a whole number of steps >= 0")
    if not (math.isfinite(flow.max_order) and flow.max_order > 0):
        raise ConfigError(f"max_order of {what} must be finite and above 0")


def _check_unique(what: str, keys: Iterable[object]) -> None:
    seen: set[object] = set()
    for key in keys:
        if key in seen:
            raise ConfigError(f"{what} {key} is there twice; keep one")
        seen.add(key)


def _check_known(what: str, known: set[str], *names: str) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown {what} {name!r}; known: {', '.join(sorted(known))}")


def _check_acyclic(network: Network) -> None:
    """Refuse a product that is, by some way, made from itself."""
    needs: dict[str, set[str]] = {}
    for recipe in network.recipes:
        needs.setdefault(recipe.product, set()).update(one.product for one in recipe.components)
    left = set(needs)
    while left:
        ready = {product for product in left if not needs[product] & left}
        if not ready:
            raise ConfigError(
                f"the bill of materials is cyclic: {', '.join(sorted(left))} are made from one "
                "another; remove a component"
            )
        left -= ready


def _check_reachable(network: Network) -> None:
    """Refuse shelves that nothing can ever fill, and nodes that nothing touches."""
    filled = {(s.node, s.product) for s in network.shelves if s.initial_stock > 0}
    before = -1
    while len(filled) > before:
        before = len(filled)
        for link in network.links:
            if network.is_source(link.supplier) or (link.supplier, link.product) in filled:
                filled.add((link.buyer, link.product))
        for recipe in network.recipes:
            if all((recipe.node, one.product) in filled for one in recipe.components):
                filled.add((recipe.node, recipe.product))
    touched = {name for link in network.links for name in (link.supplier, link.buyer)}
    touched |= {name for one in network.markets for name in (one.retailer, one.customer)}
    for node in network.nodes:
        if node.name not in touched:
            raise ConfigError(f"node {node.name!r} is unreachable; give it a link or remove it")
    for shelf in network.shelves:
        if (shelf.node, shelf.product) not in filled:
            raise ConfigError(
                f"shelf {shelf.node!r} of {shelf.product!r} is unreachable: no source, stock or "
                "recipe leads to it; add a link"
            )
