"""A supply network as one batched, differentiable program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from data.scenario import ScenarioBank
from data.supply_scenarios import SupplyScenarios
from rl.domains.array_tools import SparseSum, pad_rows
from rl.domains.supply_chain import SupplyConfig, SupplyDomain, SupplyView
from rl.domains.supply_forecasts import smooth
from rl.domains.supply_network import UNLIMITED
from rl.domains.supply_observation import SupplyObserver
from rl.domains.supply_rationing import Rationing
from rl.environments.base_environment import Chart, StepRecord
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)
from rl.environments.supply_agents import SupplyAgents
from rl.environments.supply_books import Account, Books
from rl.environments.supply_goodwill import LEAST_MEAN, draw_demand, move_sentiment
from rl.environments.supply_metrics import Counts, measure_step, miss_average
from rl.environments.supply_transit import Transit
from rl.environments.torch_tools import make_torch_tools
from utils.errors import ConfigError

SupplyBank = ScenarioBank[SupplyScenarios]


@dataclass(frozen=True, kw_only=True)
class SupplyOptions(LockstepOptions):
    """How a network is played."""

    view: Literal["planner", "nodes"] = "planner"
    """One agent orders for every node, or each node for itself."""
    precision: Literal["single", "double"] = "single"
    """Of all floats; double is for comparisons, and its records are double too."""

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        super().__post_init__()
        if self.view not in {"planner", "nodes"} or self.precision not in {"single", "double"}:
            raise ConfigError(f"view planner or nodes, precision single or double: {self}")


@dataclass(frozen=True, kw_only=True)
class SupplyState(WorldState):
    """Everything that orders change; see `SupplyView` for the axes."""

    stock: Tensor
    in_transit: Tensor
    unmet: Tensor
    history: Tensor
    smoothed: Tensor
    sentiment: Tensor


@dataclass(frozen=True, kw_only=True)
class _World:
    """An `InWorld` of the current episodes."""

    node_active: Tensor
    product_active: Tensor

    @classmethod
    def of(cls, rows: Mapping[str, Tensor], dtype: torch.dtype) -> _World:
        return cls(**{name: rows[name].to(dtype) for name in ("node_active", "product_active")})


@dataclass(frozen=True, kw_only=True)
class _Switches:
    """What is in the world in the current episodes."""

    flows: Tensor
    """`[env, flow]`: 1 or 0."""
    markets: Tensor
    """`[env, market]`: 1 or 0."""
    demand_mean: Tensor
    """`[env, time + ahead, market]`: zero for markets that are not."""
    actions: Tensor
    """`[env, agent, act]`."""
    agents: Tensor
    """`[env, agent]`."""


@dataclass(frozen=True, kw_only=True)
class _Sales:
    """What customers asked for and got."""

    demand: Tensor
    sold: Tensor
    unmet: Tensor


class BatchedSupplyNetwork(LockstepEnvironment[SupplyState]):
    """Copies of one network; all play one step at a time, episodes in lockstep.

    A step: every node orders; suppliers serve their links in order from the shelves they began the
    step with, up to capacity, and what they cannot ship is forgotten; shipments whose time has come
    are received; sentiment answers to the last step; customers ask and are served in order; what
    is not delivered waits or is lost; shelves perish; everything is paid for.
    Observation: see `SupplyObserver`. Action, in [0, 1]: order as a share of the largest, one per
    link and recipe of the agent.
    Reward: the named terms, discounted by the step: `sales`, `purchases`, `operating`, `transport`,
    `setup`, `holding` (shelves and goods on the way), `penalty`, `perished`; terms a network cannot
    have are left out. What two nodes of one agent pay each other is left out too, so the planner's
    reward is the profit of the network. Cost: none.
    End: terminated never; truncated after `config.max_steps`.
    Invariants: shelves never negative; taken from shelves and sources = on the way + received;
    demand = sold + waiting or lost.
    Differentiable: steps are out of place. Surrogates: goodwill and demand that follows it, see
    `supply_goodwill`; a setup has no gradient. Kinks: where an order, a shelf or a demand cuts.
    """

    is_differentiable = True
    charts = (
        Chart(title="demand and not delivered", metrics=("demand", "unmet_units"), unit="units"),
        Chart(title="orders of all", metrics=("ordered_units",), unit="units"),
        Chart(title="stock", metrics=("stock_units",), unit="units"),
        Chart(title="on the way", metrics=("in_transit_units",), unit="units"),
        Chart(title="profit", metrics=("profit",), unit="currency"),
    )

    def __init__(
        self, config: SupplyConfig, bank: SupplyBank, options: SupplyOptions, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The world.
            bank: Its scenarios; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's arrays do not fit the network.
        """
        _check_bank(bank, config)
        self.config = config
        self._dtype = torch.float64 if options.precision == "double" else torch.float32
        self.domain = domain = SupplyDomain(
            config, make_torch_tools(torch.device(options.device), self._dtype)
        )
        self.observer = SupplyObserver(domain)
        self._switched: Mapping[str, Tensor] | None = None
        agents = SupplyAgents.of(domain, self.observer, options.view)
        self._agents = agents
        self._books = Books(domain, agents.of_node)
        self._transit = Transit(domain)
        index, tools = domain.index, domain.tools
        self._customers = Rationing(
            index.market_pools(), index.num_markets, index.num_shelves, tools
        )
        received: list[list[tuple[int, float]]] = [[] for _ in range(index.num_shelves)]
        for number, flow in enumerate(index.flows):
            received[flow.target].append((number, 1.0))
        columns = len(index.flows)
        self._received = SparseSum(received, columns, tools)
        self._asked = SparseSum(index.asked_of_shelves(), columns + index.num_markets, tools)
        self._shelf_node = tools.as_index(list(index.shelf_node))
        perish = [config.network.products[p].perish_rate for p in index.shelf_product]
        self._perishes = any(perish)
        self._perish_rate = tools.as_array(perish)
        self._first_stock = tools.as_array([s.initial_stock for s in config.network.shelves])
        self._action_column = tools.as_index(agents.action_column)
        table = pad_rows(list(index.agents.values()), len(config.network.nodes))
        self._agent_nodes = tools.as_index(table)
        self._flow_column = tools.as_index(agents.flow_column)
        shape = WorldShape(
            agent_ids=agents.ids,
            groups=agents.groups,
            state_size=self.observer.observation_size,
            num_steps=config.max_steps,
        )
        super().__init__(bank, options, shape, seed)

    def use_bank(self, bank: SupplyBank, *, seed: int, in_order: bool = False) -> StepRecord:
        """Play other scenarios as every world does; longer delays than `max_delay` are refused."""
        _check_bank(bank, self.config)
        return super().use_bank(bank, seed=seed, in_order=in_order)

    @property
    def view(self) -> SupplyView:
        """What is known before the next step, over all copies."""
        state, rows = self.state, self.rows
        t, last = self.t, self.config.max_steps - 1
        now = min(t, last)
        mean = self._switches().demand_mean[:, t : t + max(self.config.known_horizon, 1)]
        return SupplyView(
            stock=state.stock,
            in_transit=state.in_transit,
            unmet=state.unmet,
            history=state.history,
            smoothed=state.smoothed,
            sentiment=state.sentiment,
            steps_taken=torch.full_like(state.sentiment, float(t)),
            known_mean=mean,
            shortage=rows["shortage"][:, now].to(self._dtype),
            delay=rows["delay"][:, now].to(self._dtype),
            quality_loss=rows["quality_loss"][:, now].to(self._dtype),
            capacity_loss=rows["capacity_loss"][:, now].to(self._dtype),
            node_active=rows["node_active"].to(self._dtype),
            product_active=rows["product_active"].to(self._dtype),
        )

    def place(self, orders: Tensor) -> Tensor:
        """Return the action of all agents that places given orders.

        Args:
            orders: `[env, flow]`: units, cut to the largest orders.

        Returns:
            `[env, agent, act]`.
        """
        padded = self.domain.tools.pad(orders / self.domain.max_order)
        action: Tensor = self.domain.tools.take(padded, self._flow_column)
        return action

    def _first_state(self) -> SupplyState:
        index, lookback = self.domain.index, self.config.forecasts.lookback
        nothing = torch.zeros((self.num_envs, 1), dtype=self._dtype, device=self.device)
        signals = index.num_markets + index.num_shelves
        state = SupplyState(
            stock=nothing + self._first_stock,
            in_transit=nothing.expand(-1, self._transit.num_slots),
            unmet=nothing.expand(-1, index.num_markets),
            history=nothing[:, None].expand(-1, lookback, signals),
            smoothed=nothing.expand(-1, signals),
            sentiment=nothing[:, 0] + 1.0,
        )
        self.state = state
        stock = state.stock * self.domain.shelves_active(self.view)
        return SupplyState(**(vars(state) | {"stock": stock}))

    def _advance(self, action: Tensor) -> Outcome[SupplyState]:
        """Order, ship, receive, sell, perish, count."""
        domain, state, view = self.domain, self.state, self.view
        chosen = action.to(self._dtype).flatten(1)
        if not self._agents.is_planner:
            chosen = domain.tools.take(chosen, self._action_column)
        orders = domain.scale_orders(chosen, self._switches().flows)
        shipped = domain.ship(orders, view)
        arrived, in_transit = self._transit.move(state.in_transit, shipped, view.delay)
        received = self._received(arrived)
        scrapped = torch.zeros_like(received[:, :1])
        if self.config.disruptions:
            lost = domain.tools.take(view.quality_loss, self._shelf_node)
            scrapped = received * lost
            received = received - scrapped
        on_hand = torch.relu(state.stock - domain.taken(shipped)) + received
        sentiment = state.sentiment
        if self.config.goodwill is not None and self.t:
            sentiment = move_sentiment(sentiment, state.unmet.sum(-1), self.config.goodwill)
        sales = self._sell(view, on_hand, sentiment)
        left = torch.relu(on_hand - self._customers.used(sales.sold))
        perished = left * self._perish_rate if self._perishes else torch.zeros_like(left)
        stock = left - perished if self._perishes else left
        account = Account(
            sold=sales.sold,
            unmet=sales.unmet,
            shipped=shipped,
            stock=stock,
            perished=perished,
            in_transit=in_transit,
        )
        terms = self._books.enter(self.t, account)
        asked = torch.cat([sales.demand, self._asked(torch.cat([orders, sales.demand], -1))], -1)
        is_first = self.t == 0
        counts = Counts(
            account=account, orders=orders, demand=sales.demand, arrived=arrived, scrapped=scrapped
        )
        metrics = measure_step(counts, terms, sentiment)
        metrics["forecast_error"] = miss_average(view, sales.demand, self.config.forecasts.window)
        return Outcome(
            state=SupplyState(
                stock=stock,
                in_transit=in_transit,
                unmet=sales.unmet,
                history=torch.cat([state.history[:, 1:], asked[:, None]], 1),
                smoothed=smooth(
                    state.smoothed, asked, is_first=is_first, config=self.config.forecasts
                ),
                sentiment=sentiment,
            ),
            reward_terms=terms,
            metrics=metrics,
        )

    def _switches(self) -> _Switches:
        """Look the switches up once per deal of episodes."""
        if self._switched is not self.rows:
            self._switched = self.rows
            world = _World.of(self.rows, self._dtype)
            take, pad = self.domain.tools.take, self.domain.tools.pad
            flows = self.domain.flows_active(world)
            markets = self.domain.markets_active(world)
            self._kept_switches = _Switches(
                flows=flows,
                markets=markets,
                demand_mean=self.rows["demand_mean"].to(self._dtype) * markets[:, None],
                actions=take(pad(flows), self._flow_column) > 0,
                agents=take(pad(world.node_active), self._agent_nodes).amax(-1) > 0,
            )
        return self._kept_switches

    def _sell(self, view: SupplyView, on_hand: Tensor, sentiment: Tensor) -> _Sales:
        """Let customers ask, and serve them."""
        rows, goodwill = self.rows, self.config.goodwill
        demand = rows["demand"][:, self.t].to(self._dtype)
        if goodwill is not None and goodwill.response == "poisson":
            mean = rows["demand_mean"][:, self.t].to(self._dtype) * sentiment[:, None]
            drawn = draw_demand(rows["demand_uniform"][:, self.t], mean.clamp(min=LEAST_MEAN))
            demand = drawn * (mean > 0)
        elif goodwill is not None and goodwill.response == "scaled":
            demand = demand * sentiment[:, None]
        demand = demand * self._switches().markets
        wanted = demand + self.domain.waiting(view)
        sold = self._customers.serve(wanted, on_hand, UNLIMITED)
        return _Sales(demand=demand, sold=sold, unmet=wanted - sold)

    def _observe(self) -> Tensor:
        everything: Tensor = self.observer.encode(self.view)
        self._everything = everything
        if self._agents.is_planner:
            return everything[:, None]
        selected: Tensor = self.observer.encode_agents(everything)
        return selected

    def _global_state(self, observation: Tensor) -> Tensor:
        del observation
        return self._everything

    def _action_mask(self) -> Tensor:
        return self._switches().actions

    def _agent_alive(self) -> Tensor:
        if self._agents.is_planner:
            return self._every_agent
        return self._switches().agents


def _check_bank(bank: SupplyBank, config: SupplyConfig) -> None:
    scenarios, network = bank.scenarios, config.network
    nodes, flows = len(network.nodes), len(network.links) + len(network.recipes)
    wanted = {
        "demand": (config.max_steps, len(network.markets)),
        "demand_mean": (config.max_steps + config.known_horizon, len(network.markets)),
        "node_active": (nodes,),
        "product_active": (len(network.products),),
        "shortage": (config.max_steps, nodes if config.disruptions else 0),
        "delay": (config.max_steps, flows if config.disruptions else 0),
    }
    for name, shape in wanted.items():
        held = getattr(scenarios, name).shape[1:]
        if held != shape:
            raise ConfigError(
                f"{name} of the bank has shape {held} per episode, the network needs {shape}; "
                "draw scenarios for this config"
            )
    if config.disruptions and scenarios.delay.max(initial=0.0) > config.max_delay:
        raise ConfigError(
            f"the bank delays shipments by up to {scenarios.delay.max():g} steps; raise max_delay"
        )
