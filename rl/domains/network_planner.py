"""A planner of all orders in a network of one product: what it sees, and how its output is read.

The same lines run in training (torch), evaluation and serving (NumPy). Unlike in `SupplyDomain`,
whether customers wait and remember is seen, and may differ from episode to episode.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.domains.array_tools import ArrayTools
from rl.domains.supply_chain import Goodwill
from rl.domains.supply_index import NetworkIndex
from rl.domains.supply_network import UNLIMITED, Network
from utils.errors import ConfigError

ENDS = (3.0, 6.0, 9.0, 13.0, 17.0, 22.0)
"""Steps before the end from when on it is seen coming."""
ACTION_LIMIT = 10.0
"""Largest magnitude of an output that is read: ten `unit_scale` are the largest order."""
RECENT = (2, 5)
"""Steps of the means of past demand; a third one is over all."""


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """A network and what its planner knows."""

    network: Network
    horizon: int
    """Steps for which the mean of coming demand is seen; 0 for a planner who sees the past only."""
    max_steps: int = 30
    unit_scale: float = 20.0
    """Units that are seen as 1."""
    goodwill: Goodwill = field(default_factory=Goodwill)

    def __post_init__(self) -> None:
        """Refuse networks that this planner cannot see or order in."""
        network = self.network
        if self.max_steps < 1 or self.horizon < 0 or not self.unit_scale > 0:
            raise ConfigError("max_steps >= 1, horizon >= 0 and unit_scale > 0 are needed")
        several = max(len(network.products), len(network.markets)) > 1
        if several or network.recipes or any(one.output_yield < 1 for one in network.nodes):
            raise ConfigError("a planner needs one product and market, no recipes, yields of 1")
        if any(one.perish_rate for one in network.products):
            raise ConfigError("a planner knows no goods that perish")
        if any(link.setup_cost or link.capacity < UNLIMITED for link in network.links):
            raise ConfigError("a planner knows no setup costs and no capacities of links")


@dataclass(frozen=True, kw_only=True)
class PlannerView:
    """What is known before orders are placed; any leading batch axes, NumPy or torch."""

    stock: Any
    """`[..., shelf]`: units."""
    in_transit: Any
    """`[..., slot]`: units on the way, by link and step of receipt; see `slots`."""
    unmet: Any
    """`[...]`: units not delivered in the last step."""
    sentiment: Any
    """`[...]`: goodwill of the last step; 1 is neutral."""
    waits: Any
    """`[...]`: 1 where customers wait, 0 where they leave."""
    remembers: Any
    """`[...]`: 1 where goodwill moves, 0 where not."""
    steps_taken: Any
    """`[...]`: as a float."""
    known_mean: Any
    """`[..., horizon]`: mean demand of the coming steps at neutral goodwill, zero after the end."""
    history: Any
    """`[..., max_steps]`: demand, newest last, zero before the first step."""


class NetworkPlanner:
    """Observation, orders and feasibility of one network, on NumPy or torch arrays."""

    def __init__(self, config: PlannerConfig, tools: ArrayTools | None = None) -> None:
        """Prepare the constants.

        Args:
            config: The network and what is known.
            tools: Of the arrays; NumPy's by default.
        """
        self.config, self.tools = config, tools or ArrayTools()
        self.index = index = NetworkIndex(config.network)
        flows, nodes = index.flows, config.network.nodes
        as_array = self.tools.as_array
        self.slots = tuple(
            (number, step)
            for number, flow in enumerate(flows)
            for step in range(flow.origin.lead_time)
        )
        """Link, and steps after the coming one until receipt, of every slot of `in_transit`."""
        self.retail = index.market_shelf[0]
        """Shelf that customers buy from."""
        supplier = np.array([[flow.takes[0][0] if flow.takes else -1] for flow in flows])
        shelf = np.arange(index.num_shelves)
        self._from_shelf = as_array((supplier == shelf).T.astype(np.float32).tolist())
        capacity = [nodes[flow.supplier].capacity for flow in flows]
        stocked = [0.0 if flow.takes else UNLIMITED for flow in flows]
        self._capacity, self._unstocked = as_array(capacity), as_array(stocked)
        self._earlier = as_array(_list_earlier(index).tolist())
        below = _list_below(index)
        inbound = np.array([flow.target for flow in flows])[[flow for flow, _ in self.slots]]
        self._below = as_array(below.T.astype(np.float32).tolist())
        self._below_slots = as_array(below[:, inbound].T.astype(np.float32).tolist())
        self._ends = as_array(list(ENDS))

    @property
    def observation_size(self) -> int:
        """Numbers that `encode` returns."""
        config, shelves = self.config, self.index.num_shelves
        seen = config.horizon or config.max_steps + len(RECENT) + 1
        return 2 * shelves + len(self.slots) + 5 + len(ENDS) + seen

    def encode(self, view: PlannerView) -> Any:
        """Observe a situation.

        Args:
            view: What is known.

        Returns:
            `[..., observation]`. In multiples of `unit_scale`: shelves; what is on the way, by link
            and step of receipt; what each place and all below it hold or await, units that wait
            taken off; units not delivered. Then whether customers wait and remember, sentiment, the
            share of time gone, and steps left up to some numbers, as shares of these. Last, again
            in `unit_scale`: mean demand of the coming steps times sentiment; or past demand and
            its means over the last 2, 5 and all steps.
        """
        xp, config = self.tools.xp, self.config
        below = view.stock @ self._below + view.in_transit @ self._below_slots
        position = below - (view.unmet * view.waits)[..., None]
        shares = xp.stack(
            [view.waits, view.remembers, view.sentiment, view.steps_taken / config.max_steps], -1
        )
        left = (config.max_steps - view.steps_taken)[..., None]
        if config.horizon:
            demand = view.known_mean * view.sentiment[..., None]
        else:
            demand = xp.concatenate([view.history, *self._recent(view)], -1)
        units = [view.stock, view.in_transit, position, view.unmet[..., None], demand]
        ends = xp.clip(left / self._ends, 0.0, 1.0)
        return xp.concatenate([xp.concatenate(units, -1) / config.unit_scale, shares, ends], -1)

    def orders(self, output: Any) -> Any:
        """Read the output of a network as orders.

        Args:
            output: `[..., link]`.

        Returns:
            `[..., link]`: units, above zero.
        """
        xp = self.tools.xp
        return self.config.unit_scale * xp.logaddexp(output, xp.zeros_like(output))

    def ship(self, orders: Any, stock: Any) -> Any:
        """Cut orders to what suppliers have and can ship, served in the order of the links.

        With c the sum of the orders up to a link's own, and A what its supplier can ship at most,
        the link gets min(c, A) - min(c - order, A).

        Args:
            orders: `[..., link]`: units, not negative.
            stock: `[..., shelf]`.

        Returns:
            `[..., link]`: units.
        """
        xp = self.tools.xp
        most = xp.minimum(stock @ self._from_shelf + self._unstocked, self._capacity)
        asked = orders @ self._earlier
        return xp.minimum(asked, most) - xp.minimum(asked - orders, most)

    def _recent(self, view: PlannerView) -> list[Any]:
        xp = self.tools.xp
        steps = view.steps_taken[..., None]
        widths = (*RECENT, self.config.max_steps)
        return [
            view.history[..., -width:].sum(-1)[..., None] / xp.clip(steps, 1.0, float(width))
            for width in widths
        ]


def _list_earlier(index: NetworkIndex) -> NDArray[np.float32]:
    """`[link, link]`: 1 where the row's order is served before the column's, or is the same."""
    number = np.arange(len(index.flows))
    supplier = np.array([flow.supplier for flow in index.flows])
    is_source = np.array([not flow.takes for flow in index.flows])
    before = (supplier[:, None] == supplier) & (number[:, None] < number) & ~is_source
    return np.asarray(before | np.eye(len(number), dtype=bool), np.float32)


def _list_below(index: NetworkIndex) -> NDArray[np.bool_]:
    """`[shelf, shelf]`: whether goods come from the row to the column, itself included."""
    below = np.eye(index.num_shelves, dtype=bool)
    for _ in index.flows:
        for flow in index.flows:
            for shelf, _ in flow.takes:
                below[shelf] |= below[flow.target]
    return below
