"""What experts order in a supply network: newsvendor levels, (s, S), and echelon base stock.

The rules and their constants are those of the agents published with gym-invmgmt (r2barati/
gym-invmgmt-paper); "informed" rules are told the mean of coming demand, others estimate it.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.domains.array_tools import SparseSum
from rl.domains.supply_chain import SupplyConfig, SupplyDomain, SupplyView
from rl.domains.supply_network import NodeType
from utils.errors import ConfigError

Numbers = NDArray[np.float64]
EXPERTS = ("newsvendor", "s_S", "echelon_base_stock")
SERVICE_FACTOR = 1.6448536269514722
"""Normal quantile of 0.95 to the last bit; positions often equal reorder points."""
LEAST_MARGIN, LEAST_ECHELON_HOLDING, LEAST_MEAN = 0.5, 0.01, 0.1
LOOKBACK, VIRTUAL_ORDERS = 5, 10.0


@dataclass(frozen=True, kw_only=True)
class _Estimate:
    """Demand that a shelf has to cover."""

    mean: Numbers
    deviation: Numbers


class SupplyExperts:
    """All rules for one network; each turns a NumPy view into orders in units, `[..., flow]`."""

    def __init__(self, config: SupplyConfig, *, informed: bool, extra_steps: int = 0) -> None:
        """Look up costs and ways.

        Args:
            config: The world.
            informed: Whether the rules read the mean of coming demand; else they average the last
                five steps, and begin with what the first stock of the retailers suggests.
            extra_steps: Steps of demand that shelves upstream cover beyond lead time plus one; the
                published rules cover none. Suppliers ship before they receive, so at least one
                pays where goods are made from what others make.

        Raises:
            ConfigError: Means are not known as far ahead as a rule has to look.
        """
        self.config, self._informed = config, informed
        self._domain = SupplyDomain(config)
        index = self._domain.index
        shelves, flows = range(index.num_shelves), index.flows
        self._inbound = [[n for n, flow in enumerate(flows) if flow.target == s] for s in shelves]
        upstream = [s not in index.market_shelf for s in shelves]
        self._lead = np.array([self._longest_lead(s) for s in shelves])
        self._lead = self._lead + extra_steps * np.array(upstream)
        self._reach = _reach_markets(self._domain)
        self._downstream = _reach_shelves(self._domain)
        self._holding = np.array([shelf.holding_cost for shelf in config.network.shelves])
        self._margin = np.array([self._find_margin(s) for s in shelves])
        self._in_transit = SparseSum(
            [
                [
                    (i, 1.0)
                    for i, (flow, _) in enumerate(self._domain.slots)
                    if flows[flow].target == s
                ]
                for s in shelves
            ],
            len(self._domain.slots),
            self._domain.tools,
        )
        most = int((self._lead + self._cumulative_lead()).max()) + 1
        if informed and config.known_horizon < most:
            raise ConfigError(
                f"informed rules look {most} steps ahead; raise known_horizon to that"
            )

    def newsvendor(self, view: SupplyView) -> Numbers:
        """Order up to the critical fractile of demand over the lead time.

        Args:
            view: What is known, NumPy.
        """
        levels = self._levels(view, self._lead, self._holding)
        return self._split(levels - self._position(view), view)

    def s_S(self, view: SupplyView) -> Numbers:  # noqa: N802
        """Below the reorder point s, order up to S; S - s is the economic order quantity.

        Args:
            view: What is known, NumPy.
        """
        cover = self._cover(view, self._lead)
        point = cover.mean + SERVICE_FACTOR * cover.deviation
        rate = self._rate(view)
        with np.errstate(divide="ignore", invalid="ignore"):
            quantity = np.sqrt(2 * rate * self._setup_costs() / self._holding)
        quantity = np.where((self._holding > 0) & (rate > 0), quantity, cover.mean)
        position = self._position(view)
        wanted = np.where(position < point, point + quantity - position, 0.0)
        return self._split(wanted, view)

    def echelon_base_stock(self, view: SupplyView) -> Numbers:
        """Order each echelon up to the critical fractile of demand over all lead times below.

        Args:
            view: What is known, NumPy.
        """
        below = np.array(
            [
                sum(
                    self._holding[flow.target]
                    for flow in self._domain.index.flows
                    if any(taken == s for taken, _ in flow.takes)
                )
                for s in range(len(self._holding))
            ]
        )
        holding = np.maximum(LEAST_ECHELON_HOLDING, self._holding - below)
        levels = self._levels(view, self._lead + self._cumulative_lead(), holding)
        position = self._position(view) @ self._downstream.T
        return self._split(levels - position, view)

    def order(self, name: str, view: SupplyView) -> Numbers:
        """Follow a rule by its name.

        Args:
            name: One of `EXPERTS`.
            view: What is known, NumPy.

        Raises:
            ConfigError: There is no such rule.
        """
        if name not in EXPERTS:
            raise ConfigError(f"unknown expert {name!r}; known: {', '.join(EXPERTS)}")
        orders: Numbers = getattr(self, name)(view)
        return orders

    def _levels(self, view: SupplyView, lead: NDArray[Any], holding: Numbers) -> Numbers:
        cover = self._cover(view, lead)
        total = self._margin + holding
        ratio = np.where(total > 0, self._margin / np.maximum(total, 1e-12), 0.5)
        safety = np.array([NormalDist().inv_cdf(min(max(r, 1e-9), 1 - 1e-9)) for r in ratio])
        return np.maximum(0.0, cover.mean + safety * cover.deviation)

    def _cover(self, view: SupplyView, lead: NDArray[Any]) -> _Estimate:
        """Demand over the lead time and one step more, of every shelf."""
        if self._informed:
            ahead = view.known_mean.astype(np.float64) * view.sentiment[..., None, None]
            summed = np.cumsum(np.maximum(ahead, LEAST_MEAN), axis=-2)[..., lead, :]
            mean = (summed * self._reach).sum(-1)
            return _Estimate(mean=mean, deviation=np.sqrt((summed * self._reach**2).sum(-1)))
        mean, deviation = self._observe(view)
        return _Estimate(
            mean=(mean @ self._reach.T) * (lead + 1),
            deviation=(deviation @ self._reach.T) * np.sqrt(lead + 1),
        )

    def _rate(self, view: SupplyView) -> Numbers:
        """Demand per step of every shelf."""
        if self._informed:
            now = view.known_mean[..., 0, :].astype(np.float64) * view.sentiment[..., None]
            rate: Numbers = np.maximum(now, LEAST_MEAN) @ self._reach.T
            return rate
        return self._observe(view)[0] @ self._reach.T

    def _observe(self, view: SupplyView) -> tuple[Numbers, Numbers]:
        """Estimate mean and deviation of every market from its last steps."""
        steps = int(np.max(view.steps_taken))
        markets = self._domain.index.num_markets
        shape = (*view.stock.shape[:-1], markets)
        if steps == 0:
            mean = np.full(shape, self._first_guess())
            return mean, np.maximum(np.sqrt(mean), 1.0)
        seen = min(LOOKBACK, steps, view.history.shape[-2])
        recent = view.history[..., -seen:, :markets].astype(np.float64)
        mean = recent.mean(-2)
        spread = recent.std(-2, ddof=1) if seen >= 3 else np.sqrt(mean)
        return mean, np.maximum(spread, 1.0)

    def _first_guess(self) -> float:
        index = self._domain.index
        retail = sorted(set(index.market_shelf))
        stock = np.mean([self.config.network.shelves[s].initial_stock for s in retail])
        guess = float(stock) / (max(flow.origin.lead_time for flow in index.flows) + 1)
        return guess or 20.0

    def _position(self, view: SupplyView) -> Numbers:
        """On hand and on the way, less what customers wait for, `[..., shelf]`."""
        position = view.stock.astype(np.float64) + self._in_transit(view.in_transit)
        if self.config.backlog:
            for market, shelf in enumerate(self._domain.index.market_shelf):
                position[..., shelf] -= view.unmet[..., market]
        return np.asarray(position, np.float64)

    def _split(self, wanted: Numbers, view: SupplyView) -> Numbers:
        """Share each shelf's order among its suppliers, cheap and near ones first in weight."""
        flows, active = self._domain.index.flows, self._domain.flows_active(view)
        orders = np.zeros((*wanted.shape[:-1], len(flows)))
        for shelf, inbound in enumerate(self._inbound):
            weight = [
                active[..., n]
                / (1.0 + getattr(flows[n].origin, "price", 0.0) + 0.1 * flows[n].origin.lead_time)
                for n in inbound
            ]
            total = np.maximum(sum(weight), 1e-12)
            for number, share in zip(inbound, weight, strict=True):
                orders[..., number] = np.maximum(wanted[..., shelf], 0.0) * share / total
        most: Numbers = self._domain.max_order.astype(np.float64)
        return np.minimum(orders, most)

    def _longest_lead(self, shelf: int) -> int:
        flows = self._domain.index.flows
        return max((flows[n].origin.lead_time for n in self._inbound[shelf]), default=0)

    def _cumulative_lead(self) -> NDArray[np.int64]:
        """Longest way from each shelf to a retailer's, in steps."""
        index = self._domain.index
        longest = np.zeros(index.num_shelves, np.int64)
        for _ in range(index.num_shelves):
            for flow in index.flows:
                for shelf, _ in flow.takes:
                    if shelf not in index.market_shelf:
                        way = flow.origin.lead_time + longest[flow.target]
                        longest[shelf] = max(longest[shelf], way)
        return longest

    def _find_margin(self, shelf: int) -> float:
        """Cost of being a unit short: the penalty, or what passing a unit on earns."""
        index, network = self._domain.index, self.config.network
        penalties = [
            market.penalty
            for market, sold in zip(network.markets, index.market_shelf, strict=True)
            if sold == shelf
        ]
        if penalties:
            return max(penalties)
        buys = [getattr(index.flows[n].origin, "price", 0.0) for n in self._inbound[shelf]]
        sells = [
            getattr(flow.origin, "price", 0.0)
            for flow in index.flows
            if any(taken == shelf for taken, _ in flow.takes)
        ]
        return max(max(sells, default=0.0) - min(buys, default=0.0), LEAST_MARGIN)

    def _setup_costs(self) -> Numbers:
        """Mean setup cost of each shelf's orders, or a small virtual one where there is none."""
        index, network = self._domain.index, self.config.network
        costs = np.zeros(index.num_shelves)
        for shelf, inbound in enumerate(self._inbound):
            cost = float(np.mean([index.flows[n].origin.setup_cost for n in inbound] or [0.0]))
            node = network.nodes[index.shelf_node[shelf]]
            makes = node.type is NodeType.MANUFACTURER and node.operating_cost > 0
            virtual = node.operating_cost if makes else self._holding[shelf]
            costs[shelf] = cost or VIRTUAL_ORDERS * virtual
        return costs


def _reach_markets(domain: SupplyDomain) -> Numbers:
    """Units of each shelf that one unit sold in each market needs, by the hungriest way."""
    index = domain.index
    reach = np.zeros((index.num_shelves, index.num_markets))
    for market, shelf in enumerate(index.market_shelf):
        reach[shelf, market] = 1.0
    for _ in range(index.num_shelves):
        for flow in index.flows:
            for shelf, units in flow.takes:
                reach[shelf] = np.maximum(reach[shelf], units * reach[flow.target])
    return reach


def _reach_shelves(domain: SupplyDomain) -> Numbers:
    """1 where a shelf is another, or leads to it."""
    index = domain.index
    reach = np.eye(index.num_shelves)
    for _ in range(index.num_shelves):
        for flow in index.flows:
            for shelf, _ in flow.takes:
                reach[shelf] = np.maximum(reach[shelf], reach[flow.target])
    return reach
