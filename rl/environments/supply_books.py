"""What every agent of a supply network earns and pays in a step, by named terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from rl.domains.array_tools import SparseSum
from rl.domains.supply_chain import SupplyDomain
from rl.domains.supply_network import Link, Recipe
from rl.environments.lockstep import sum_terms

LEAST_SHIPMENT = 1e-4
"""Units; less is what rounding left on a shelf, and no setup is paid for it."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Units of one step that money is paid for, `[env, ...]` each."""

    sold: Tensor
    """Per market."""
    unmet: Tensor
    """Per market."""
    shipped: Tensor
    """Per flow."""
    stock: Tensor
    """Per shelf, after the step."""
    perished: Tensor
    """Per shelf."""
    in_transit: Tensor
    """Per slot, after the step."""


@dataclass(frozen=True)
class _Entry:
    """One price: a term, the agent it counts for, the array and column it is paid on."""

    term: str
    agent: int
    array: str
    column: int
    price: float


class Books:
    """Turns units into the terms of the reward."""

    def __init__(self, domain: SupplyDomain, agent_of_node: Mapping[int, int]) -> None:
        """Collect all prices.

        Args:
            domain: The network, on torch.
            agent_of_node: The agent that earns and pays for each managed node. What two nodes of
                one agent pay each other is left out.
        """
        self._discount = domain.config.discount
        num_agents = max(agent_of_node.values()) + 1
        sizes = {
            "sold": domain.index.num_markets,
            "unmet": domain.index.num_markets,
            "shipped": len(domain.index.flows),
            "started": len(domain.index.flows),
            "stock": domain.index.num_shelves,
            "perished": domain.index.num_shelves,
            "in_transit": len(domain.slots),
        }
        entries = [entry for entry in _list_prices(domain, agent_of_node) if entry.price]
        self._counts_starts = any(entry.array == "started" for entry in entries)
        self._terms: dict[str, dict[str, SparseSum]] = {}
        for term, array in dict.fromkeys((entry.term, entry.array) for entry in entries):
            rows: list[list[tuple[int, float]]] = [[] for _ in range(num_agents)]
            for one in entries:
                if (one.term, one.array) == (term, array):
                    rows[one.agent].append((one.column, one.price))
            part = SparseSum(rows, sizes[array], domain.tools)
            self._terms.setdefault(term, {})[array] = part

    def enter(self, step: int, account: Account) -> dict[str, Tensor]:
        """Return the terms of the reward, `[env, agent]` each.

        Args:
            step: Steps taken before this one; it counts `discount ** step`.
            account: Units of the step.
        """
        units = dict(vars(account))
        if self._counts_starts:
            started = account.shipped > LEAST_SHIPMENT
            units["started"] = started.to(account.shipped.dtype)
        worth = self._discount**step
        terms = {}
        for name, parts in self._terms.items():
            total = sum_terms({array: part(units[array]) for array, part in parts.items()})
            terms[name] = total if worth == 1.0 else total * worth
        return terms


def _list_prices(domain: SupplyDomain, agent: Mapping[int, int]) -> Iterator[_Entry]:
    network, index = domain.config.network, domain.index
    for column, market in enumerate(network.markets):
        owner = agent[index.node[market.retailer]]
        yield _Entry("sales", owner, "sold", column, market.price)
        yield _Entry("penalty", owner, "unmet", column, -market.penalty)
    for column, flow in enumerate(index.flows):
        buyer = agent[flow.buyer]
        origin = flow.origin
        yield _Entry("setup", buyer, "started", column, -origin.setup_cost)
        if isinstance(origin, Recipe):
            yield _Entry("operating", buyer, "shipped", column, -origin.operating_cost)
            continue
        yield from _list_trade(domain, agent, column, origin)
    for column, shelf in enumerate(network.shelves):
        owner = agent[index.shelf_node[column]]
        disposal = network.products[index.shelf_product[column]].disposal_cost
        yield _Entry("holding", owner, "stock", column, -shelf.holding_cost)
        yield _Entry("perished", owner, "perished", column, -disposal)
    for column, (number, _) in enumerate(domain.slots):
        flow = index.flows[number]
        cost = flow.origin.holding_cost
        yield _Entry("holding", agent[flow.buyer], "in_transit", column, -cost)


def _list_trade(
    domain: SupplyDomain, agent: Mapping[int, int], column: int, link: Link
) -> Iterator[_Entry]:
    """What a link costs its buyer and brings its supplier."""
    index = domain.index
    supplier, buyer = index.node[link.supplier], agent[index.node[link.buyer]]
    seller = agent.get(supplier)
    if seller != buyer:
        yield _Entry("purchases", buyer, "shipped", column, -link.price)
    yield _Entry("transport", buyer, "shipped", column, -link.transport_cost)
    if seller is None:
        return
    if seller != buyer:
        yield _Entry("sales", seller, "shipped", column, link.price)
    node = domain.config.network.nodes[supplier]
    cost = node.operating_cost / node.output_yield
    yield _Entry("operating", seller, "shipped", column, -cost)
