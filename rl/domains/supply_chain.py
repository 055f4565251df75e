"""A supply network: what is known, what is observed and what can be shipped.

The same lines run in training (torch), evaluation and serving (NumPy).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from rl.domains.array_tools import ArrayTools
from rl.domains.supply_forecasts import ForecastConfig, forecast_demand
from rl.domains.supply_index import NetworkIndex
from rl.domains.supply_network import UNLIMITED, Network
from rl.domains.supply_rationing import Rationing
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Goodwill:
    """Customers remember: demand is multiplied by a sentiment that service moves."""

    growth: float = 1.01
    """Factor after a step in which everything asked for was delivered."""
    decay: float = 0.90
    """Factor after any other."""
    floor: float = 0.2
    cap: float = 2.0
    response: Literal["poisson", "scaled", "recorded"] = "poisson"
    """Poisson demand whose mean follows; the scenario's demand times sentiment; or demand that was
    recorded with its sentiment in it and is taken as it is."""

    def __post_init__(self) -> None:
        """Refuse bounds without room."""
        if not 0 < self.floor <= 1 <= self.cap:
            raise ConfigError(f"0 < floor <= 1 <= cap is needed: {self}")
        if not 0 < self.decay <= 1 <= self.growth:
            raise ConfigError(f"0 < decay <= 1 <= growth is needed: {self}")
        if self.response not in {"poisson", "scaled", "recorded"}:
            raise ConfigError(f"unknown response {self.response!r}: poisson, scaled or recorded")


@dataclass(frozen=True, kw_only=True)
class SupplyConfig:
    """A network and the rules of its world."""

    network: Network
    max_steps: int = 30
    backlog: bool = True
    """Customers wait for what is not delivered; else it is lost."""
    discount: float = 1.0
    """A step's profit counts `discount ** step`."""
    goodwill: Goodwill | None = None
    disruptions: bool = False
    """Whether scenarios may hold shortages, delays, quality and capacity losses."""
    max_delay: int = 0
    """Longest delay of a shipment, in steps."""
    forecasts: ForecastConfig = field(default_factory=ForecastConfig)
    share_demand: bool = False
    """Every node sees the demand of all markets and its forecasts; else retailers see their own."""
    known_horizon: int = 0
    """Steps for which the mean of coming demand is known; an informed world."""
    unit_scale: float = 20.0
    """Units that are observed as 1."""

    def __post_init__(self) -> None:
        """Refuse empty episodes and scales, and delays that cannot come."""
        if self.max_steps < 1 or min(self.max_delay, self.known_horizon) < 0:
            raise ConfigError("max_steps >= 1, max_delay and known_horizon >= 0 are needed")
        if not 0 < self.discount <= 1 or not self.unit_scale > 0:
            raise ConfigError("discount in (0, 1] and unit_scale above 0 are needed")
        if self.max_delay and not self.disruptions:
            raise ConfigError("max_delay needs disruptions=True")


@dataclass(frozen=True, kw_only=True)
class SupplyView:
    """What is known before orders are placed; any leading batch axes, NumPy or torch."""

    stock: Any
    """`[..., shelf]`: units."""
    in_transit: Any
    """`[..., slot]`: units on the way or being made, by flow and step of receipt; see `slots`."""
    unmet: Any
    """`[..., market]`: units not delivered in the last step; they wait where there is a backlog."""
    history: Any
    """`[..., lookback, market + shelf]`: units asked of each, newest last, zero before the first
    step."""
    smoothed: Any
    """`[..., market + shelf]`: exponential smoothing of it."""
    sentiment: Any
    """`[...]`: goodwill; 1 is neutral."""
    steps_taken: Any
    """`[...]`: as a float."""
    known_mean: Any
    """`[..., ahead, market]`: mean demand of the coming steps at neutral goodwill."""
    shortage: Any
    """`[..., node]` of the coming step; last axis zero without disruptions, as all below."""
    delay: Any
    """`[..., flow]`."""
    quality_loss: Any
    """`[..., node]`."""
    capacity_loss: Any
    """`[..., node]`."""
    node_active: Any
    """`[..., node]`: 1 or 0."""
    product_active: Any
    """`[..., product]`: 1 or 0."""


class InWorld(Protocol):
    """What says who and what is in the world: a view, or scenarios."""

    @property
    def node_active(self) -> Any:
        """`[..., node]`: 1 or 0."""

    @property
    def product_active(self) -> Any:
        """`[..., product]`: 1 or 0."""


class SupplyDomain:
    """Observation and feasibility of one network, on NumPy or torch arrays."""

    def __init__(self, config: SupplyConfig, tools: ArrayTools | None = None) -> None:
        """Prepare the constants.

        Args:
            config: The world.
            tools: Of the arrays; NumPy's by default.
        """
        self.config, self.tools = config, tools or ArrayTools()
        self.index = index = NetworkIndex(config.network)
        flows, nodes = index.flows, config.network.nodes
        as_array, as_index = self.tools.as_array, self.tools.as_index
        self.slots = tuple(
            (number, step)
            for number, flow in enumerate(flows)
            for step in range(flow.origin.lead_time + config.max_delay)
        )
        """Flow, and steps after the coming one until receipt, of every slot of `in_transit`."""
        num_resources = index.num_shelves + len(index.capped)
        self._rationing = Rationing(index.shipping_pools(), len(flows), num_resources, self.tools)
        self.max_order = as_array([flow.origin.max_order for flow in flows])
        self._flow_capacity = as_array([flow.origin.capacity for flow in flows])
        self._limits_flows = any(flow.origin.capacity < UNLIMITED for flow in flows)
        self._node_capacity = as_array([nodes[number].capacity for number in index.capped])
        self._capped = as_index(list(index.capped))
        self._supplier = as_index([flow.supplier for flow in flows])
        self._buyer = as_index([flow.buyer for flow in flows])
        self._product = as_index([flow.product for flow in flows])
        self._is_link = as_array([float(flow.is_link) for flow in flows])
        self._shelf_node = as_index(list(index.shelf_node))
        self._shelf_product = as_index(list(index.shelf_product))
        customers = [index.node[m.customer] for m in config.network.markets]
        self._customer = as_index(customers)
        self._market_shelf = as_index(list(index.market_shelf))

    def flows_active(self, view: InWorld) -> Any:
        """Return 1 for links and recipes whose nodes and product are in the world, else 0.

        Args:
            view: What is known, or scenarios.

        Returns:
            `[..., flow]`.
        """
        take = self.tools.take
        ends = take(view.node_active, self._supplier) * take(view.node_active, self._buyer)
        return ends * take(view.product_active, self._product)

    def shelves_active(self, view: InWorld) -> Any:
        """Return 1 for shelves whose node and product are in the world, else 0.

        Args:
            view: What is known, or scenarios.

        Returns:
            `[..., shelf]`.
        """
        take = self.tools.take
        node = take(view.node_active, self._shelf_node)
        return node * take(view.product_active, self._shelf_product)

    def markets_active(self, view: InWorld) -> Any:
        """Return 1 for markets whose nodes and product are in the world, else 0.

        Args:
            view: What is known, or scenarios.

        Returns:
            `[..., market]`.
        """
        take = self.tools.take
        shelf = take(self.shelves_active(view), self._market_shelf)
        return shelf * take(view.node_active, self._customer)

    def scale_orders(self, action: Any, active: Any) -> Any:
        """Turn an action into orders.

        Args:
            action: `[..., flow]`: shares of the largest orders, clipped to [0, 1].
            active: `[..., flow]`: as `flows_active` returns it.

        Returns:
            `[..., flow]`: units; zero on what is out of the world.
        """
        orders = self.tools.xp.clip(action, 0.0, 1.0) * self.max_order
        return orders * active

    def ship(self, orders: Any, view: SupplyView) -> Any:
        """Return what is shipped or begun in answer to orders; what is not is forgotten.

        Args:
            orders: `[..., flow]`: units.
            view: What is known.

        Returns:
            `[..., flow]`: units, cut by shortages, capacities and shelves, in the order of flows.
        """
        tools, xp = self.tools, self.tools.xp
        flow_capacity, node_capacity = self._flow_capacity, self._node_capacity
        if self.config.disruptions:
            refused = tools.take(view.shortage, self._supplier) * self._is_link
            orders = orders * (1.0 - refused)
            flow_capacity = flow_capacity * (1.0 - tools.take(view.capacity_loss, self._supplier))
            node_capacity = node_capacity * (1.0 - tools.take(view.capacity_loss, self._capped))
        if self._limits_flows or self.config.disruptions:
            orders = xp.minimum(orders, flow_capacity)
        capacity = xp.broadcast_to(node_capacity, (*view.stock.shape[:-1], node_capacity.shape[-1]))
        resources = xp.concatenate([view.stock, capacity], -1)
        return self._rationing.serve(orders, resources, UNLIMITED)

    def taken(self, shipped: Any) -> Any:
        """Return what shipments take from the shelves.

        Args:
            shipped: `[..., flow]`: units.

        Returns:
            `[..., shelf]`: units.
        """
        return self._rationing.used(shipped)[..., : self.index.num_shelves]

    def project(self, action: Any, view: SupplyView) -> Any:
        """Return what is shipped in answer to an action.

        Args:
            action: `[..., flow]`: shares of the largest orders, clipped to [0, 1].
            view: What is known.

        Returns:
            `[..., flow]`: units.
        """
        return self.ship(self.scale_orders(action, self.flows_active(view)), view)

    def waiting(self, view: SupplyView) -> Any:
        """Return the units customers wait for.

        Args:
            view: What is known.

        Returns:
            `[..., market]`.
        """
        return view.unmet if self.config.backlog else view.unmet * 0.0

    def forecasts(self, view: SupplyView) -> Any:
        """Forecast what is asked of every market and shelf in the coming step.

        Args:
            view: What is known.

        Returns:
            `[..., 3, market + shelf]`; see `forecast_demand`.
        """
        steps = view.steps_taken[..., None]
        return forecast_demand(
            view.history, view.smoothed, steps, config=self.config.forecasts, xp=self.tools.xp
        )
