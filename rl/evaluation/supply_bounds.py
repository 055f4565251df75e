"""What nobody can beat in a supply network, and the planner who takes a forecast for certain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array

from data.supply_scenarios import SupplyScenarios
from rl.domains.supply_chain import SupplyConfig, SupplyDomain, SupplyView
from rl.domains.supply_network import UNLIMITED, Link
from rl.evaluation.bounds import BoundError
from utils.errors import ConfigError

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Where a plan begins."""

    stock: Numbers
    """`[shelf]`."""
    in_transit: Numbers
    """`[slot]`."""
    waiting: Numbers
    """`[market]`: units customers wait for."""
    flows: Numbers
    """`[flow]`: 1 where the link or recipe is in the world, else 0."""


@dataclass(frozen=True, kw_only=True)
class SupplyPlan:
    """The best course of one episode, or of what is left of it."""

    profit: float
    """Discounted from the step in which the plan begins."""
    shipped: Numbers
    """`[time, flow]`."""


class _Rows:
    """Entries of a sparse matrix, collected row block by row block."""

    def __init__(self) -> None:
        self.rows: list[NDArray[np.int64]] = []
        self.columns: list[NDArray[np.int64]] = []
        self.values: list[Numbers] = []

    def add(self, rows: NDArray[np.int64], columns: NDArray[np.int64], value: float) -> None:
        self.rows.append(rows)
        self.columns.append(columns)
        self.values.append(np.full(len(rows), value))

    def build(self, shape: tuple[int, int]) -> csr_array:
        if not self.rows:
            return csr_array(shape)
        entries = np.concatenate(self.values)
        where = (np.concatenate(self.rows), np.concatenate(self.columns))
        return csr_array(coo_array((entries, where), shape=shape))


class SupplyProgram:
    """The linear program of a network over a number of steps in which all demand is known.

    Variables, per step t: r_{t,f} shipped on flow f, s_{t,m} sold, x_{t,k} left on shelf k, u_{t,m}
    not delivered; all >= 0. Maximises the reward of the planner with
    x_t = (1 - perish) (x_{t-1} + received_t - taken_t - sold_t), taken_t <= x_{t-1},
    s_t + u_t = demand_t (+ u_{t-1} where customers wait), capacities of flows and nodes.
    Relaxations: units may be split, customers may be made to wait though there is stock, and setup
    costs are left out. Goodwill is not in it: demand is what the scenario says at neutral goodwill.
    """

    def __init__(self, config: SupplyConfig, num_steps: int) -> None:
        """Build all that does not depend on the episode.

        Args:
            config: A world without disruptions.
            num_steps: Steps that are left.

        Raises:
            ConfigError: The world has disruptions.
        """
        if config.disruptions:
            raise ConfigError("the program knows no disruptions; give a config without them")
        self.domain = SupplyDomain(config)
        self._config, self._steps = config, num_steps
        index = self.domain.index
        self._sizes = (len(index.flows), index.num_markets, index.num_shelves, index.num_markets)
        self._offsets = np.cumsum([0, *self._sizes]) * num_steps
        self._width = int(self._offsets[-1])
        products = config.network.products
        self._kept = np.array([1.0 - products[p].perish_rate for p in index.shelf_product])
        self._equal = self._build_balance()
        self._at_most, self._caps = self._build_limits()
        self._worth = self._value()
        self._most = np.full(self._width, np.inf)
        for number, flow in enumerate(index.flows):
            if flow.origin.capacity < UNLIMITED:
                self._most[self._at(0, number)] = flow.origin.capacity

    def solve(self, start: Situation, demand: Numbers) -> SupplyPlan:
        """Find the best plan from a situation.

        Args:
            start: Where it begins.
            demand: `[time, market]`: units in every step that is left.

        Raises:
            BoundError: The solver found no optimum.
        """
        index, steps = self.domain.index, self._steps
        flows, _, shelves, _ = self._sizes
        known = np.zeros((shelves, steps))
        known[:, 0] += start.stock
        for slot, (flow, step) in enumerate(self.domain.slots):
            if step < steps:
                known[index.flows[flow].target, step] += start.in_transit[slot]
        asked = demand.T.astype(np.float64).copy()
        if self._config.backlog:
            asked[:, 0] += start.waiting
        first = np.zeros((shelves, steps))
        first[:, 0] = start.stock
        solution = linprog(
            -self._worth,
            A_eq=self._equal,
            b_eq=np.concatenate([(known * self._kept[:, None]).ravel(), asked.ravel()]),
            A_ub=self._at_most,
            b_ub=np.concatenate([first.ravel(), self._caps]),
            bounds=np.stack([np.zeros(self._width), self._limit_flows(start.flows)], axis=1),
            method="highs",
        )
        if solution.status != 0:
            raise BoundError(f"no plan for the network: {solution.message}")
        shipped = solution.x[: flows * steps].reshape(flows, steps)
        return SupplyPlan(profit=-float(solution.fun), shipped=shipped.T)

    def _limit_flows(self, active: Numbers) -> Numbers:
        """Return the largest value of every variable."""
        most = self._most.copy()
        most[np.flatnonzero(np.repeat(active, self._steps) == 0)] = 0.0
        return most

    def _at(self, kind: int, number: int) -> NDArray[np.int64]:
        """Columns of one variable over all steps."""
        first = int(self._offsets[kind]) + number * self._steps
        return np.arange(first, first + self._steps)

    def _build_balance(self) -> csr_array:
        """Shelves and customers, one row per step each."""
        index, steps = self.domain.index, self._steps
        rows, time = _Rows(), np.arange(steps)
        for shelf, kept in enumerate(self._kept):
            here = shelf * steps + time
            rows.add(here, self._at(2, shelf), 1.0)
            rows.add(here[1:], self._at(2, shelf)[:-1], -kept)
        for number, flow in enumerate(index.flows):
            lead = min(flow.origin.lead_time, steps)
            there = flow.target * steps + time
            rows.add(there[lead:], self._at(0, number)[: steps - lead], -self._kept[flow.target])
            for shelf, units in flow.takes:
                here = shelf * steps + time
                rows.add(here, self._at(0, number), units * self._kept[shelf])
        base = len(self._kept) * steps
        for market, shelf in enumerate(index.market_shelf):
            rows.add(shelf * steps + time, self._at(1, market), self._kept[shelf])
            here = base + market * steps + time
            rows.add(here, self._at(1, market), 1.0)
            rows.add(here, self._at(3, market), 1.0)
            if self._config.backlog:
                rows.add(here[1:], self._at(3, market)[:-1], -1.0)
        return rows.build((base + len(index.market_shelf) * steps, self._width))

    def _build_limits(self) -> tuple[csr_array, Numbers]:
        """What shelves at the beginning of a step, and nodes, can ship; the nodes' right side."""
        index, steps = self.domain.index, self._steps
        rows, time = _Rows(), np.arange(steps)
        nodes = self._config.network.nodes
        for shelf in range(index.num_shelves):
            rows.add((shelf * steps + time)[1:], self._at(2, shelf)[:-1], -1.0)
        base = index.num_shelves * steps
        for number, flow in enumerate(index.flows):
            for shelf, units in flow.takes:
                rows.add(shelf * steps + time, self._at(0, number), units)
            if flow.is_link and flow.supplier in index.capped:
                here = base + index.capped.index(flow.supplier) * steps + time
                rows.add(here, self._at(0, number), 1.0)
        caps = np.repeat([nodes[number].capacity for number in index.capped], steps)
        return rows.build((base + len(caps), self._width)), caps

    def _value(self) -> Numbers:
        """What a unit of every variable earns the planner."""
        config, index, steps = self._config, self.domain.index, self._steps
        network = config.network
        worth = np.zeros(self._width)
        discount = config.discount ** np.arange(steps)
        for market, one in enumerate(network.markets):
            worth[self._at(1, market)] = one.price * discount
            worth[self._at(3, market)] = -one.penalty * discount
        for shelf, kept in enumerate(self._kept):
            product = network.products[index.shelf_product[shelf]]
            cost = network.shelves[shelf].holding_cost
            if kept > 0:
                cost += product.disposal_cost * (1.0 - kept) / kept
            worth[self._at(2, shelf)] = -cost * discount
        for number, flow in enumerate(index.flows):
            origin = flow.origin
            paid = discount * self._unit_cost(number)
            on_the_way = np.zeros(steps)
            for step in range(min(origin.lead_time, steps)):
                on_the_way[: steps - step] += origin.holding_cost * discount[step:]
            worth[self._at(0, number)] = -(paid + on_the_way)
        return worth

    def _unit_cost(self, number: int) -> float:
        """What shipping or making a unit costs the network."""
        flow = self.domain.index.flows[number]
        if not isinstance(flow.origin, Link):
            return flow.origin.operating_cost
        if flow.supplier_is_source:
            return flow.origin.price + flow.origin.transport_cost
        node = self._config.network.nodes[flow.supplier]
        return flow.origin.transport_cost + node.operating_cost / node.output_yield


def supply_hindsight_bound(scenarios: SupplyScenarios, config: SupplyConfig) -> Numbers:
    """Compute the highest profit of every episode with perfect foresight of its demand.

    Nodes and products that are switched off hold, ship, sell and owe nothing.

    Args:
        scenarios: The episodes.
        config: A world without disruptions; with goodwill it is an upper reference only as long as
            demand at neutral goodwill is.

    Returns:
        `[episode]`.

    Raises:
        BoundError: The solver found no optimum for an episode.
    """
    program = SupplyProgram(config, config.max_steps)
    domain = program.domain
    stock = np.array([shelf.initial_stock for shelf in config.network.shelves])
    stock = stock * domain.shelves_active(scenarios)
    flows = domain.flows_active(scenarios)
    demand = scenarios.demand * domain.markets_active(scenarios)[:, None]
    starts = (
        Situation(
            stock=stock[row],
            in_transit=np.zeros(len(domain.slots)),
            waiting=np.zeros(domain.index.num_markets),
            flows=flows[row],
        )
        for row in range(scenarios.num_episodes)
    )
    return np.array([program.solve(*one).profit for one in zip(starts, demand, strict=True)])


class RollingPlanner:
    """Plans what is left in every step as if demand were mean + z sqrt(mean); orders the first.

    The mean is known, and counts as it is at the sentiment of the moment.
    """

    def __init__(self, config: SupplyConfig, *, safety: float = 0.75) -> None:
        """Keep the world; programs are built as they are needed.

        Args:
            config: A world whose `known_horizon` covers what plans look ahead.
            safety: z.

        Raises:
            ConfigError: The mean of coming demand is not known.
        """
        if config.known_horizon < 1:
            raise ConfigError("the planner needs known_horizon of at least 1")
        self._config, self._safety = config, safety
        self._programs: dict[int, SupplyProgram] = {}

    def __call__(self, view: SupplyView) -> Numbers:
        """Return orders in units, `[episode, flow]`.

        Args:
            view: What is known, NumPy, with one batch axis.

        Raises:
            BoundError: The solver found no plan.
        """
        left = self._config.max_steps - int(view.steps_taken[0])
        steps = min(left, self._config.known_horizon)
        if steps not in self._programs:
            self._programs[steps] = SupplyProgram(self._config, steps)
        program = self._programs[steps]
        mean = view.known_mean[:, :steps].astype(np.float64) * view.sentiment[:, None, None]
        demand = mean + self._safety * np.sqrt(mean)
        flows = program.domain.flows_active(view)
        plans = [
            program.solve(
                Situation(stock=stock, in_transit=way, waiting=unmet, flows=active), demand[row]
            ).shipped[0]
            for row, (stock, way, unmet, active) in enumerate(
                zip(view.stock, view.in_transit, view.unmet, flows, strict=True)
            )
        ]
        orders: Numbers = np.maximum(np.stack(plans), 0.0)
        return orders
