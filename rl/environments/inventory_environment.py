"""A serial supply chain as one batched program, with OR-Gym's InvManagement as its preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from data.demand import InventoryScenarios
from data.scenario import ScenarioBank
from rl.domains.inventory import (
    OBSERVATION_LIMIT,
    InventoryConfig,
    InventoryDomain,
    InventoryView,
)
from rl.environments.base_environment import ActionSpec, AgentGroup, Chart
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)
from utils.errors import ConfigError

InventoryBank = ScenarioBank[InventoryScenarios]


@dataclass(frozen=True, kw_only=True)
class InventoryOptions(LockstepOptions):
    """How the chain is played."""

    view: Literal["planner", "stages"] = "planner"
    """One agent orders for every stage, or each stage orders for itself."""

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        super().__post_init__()
        if self.view not in {"planner", "stages"}:
            raise ConfigError(f"view {self.view!r}; known: planner, stages")


@dataclass(frozen=True, kw_only=True)
class InventoryState(WorldState):
    """Units in the chain."""

    stock: Tensor
    """`[env, stage]`"""
    in_transit: Tensor
    """`[env, stage, slot]`: received in so many further steps; the last slot stays empty."""
    unmet: Tensor
    """`[env, stage + 1]`: asked for by customers and by every stage, not delivered, waiting."""


class _Books:
    """What every stage earns and pays in a step."""

    def __init__(
        self, config: InventoryConfig, as_tensor: Callable[[object], Tensor], *, planner: bool
    ) -> None:
        self._discount, self._planner = config.discount, planner
        self._prices = as_tensor([config.price, *config.replenishment_cost[:-1]])
        self._costs = as_tensor(config.replenishment_cost)
        self._penalty = as_tensor(config.penalty)
        self._holding = as_tensor(config.holding_cost)
        self._setup = as_tensor(config.setup_cost) if config.setup_cost else None

    def enter(
        self, step: int, delivered: Tensor, undelivered: Tensor, *, stock: Tensor, orders: Tensor
    ) -> dict[str, Tensor]:
        """Return the terms of the reward, `[env, agent]` each, from units `[env, stage + 1]`."""
        bought = torch.cat([delivered[:, 1:], delivered[:, -1:]], dim=-1)
        worth = self._discount**step
        terms = {
            "sales": self._share(worth * self._prices * delivered),
            "purchases": self._share(-worth * self._costs * bought),
            "penalty": self._share(-worth * self._penalty * undelivered),
            "holding_cost": self._own(-worth * self._holding * stock),
        }
        if self._setup is not None:
            terms["setup_cost"] = self._own(-worth * self._setup * (orders > 0))
        return terms

    def _own(self, per_stage: Tensor) -> Tensor:
        return per_stage.sum(-1, keepdim=True) if self._planner else per_stage

    def _share(self, per_stage: Tensor) -> Tensor:
        """Sum for the planner, or let the last stage have what is the source's."""
        if self._planner:
            return per_stage.sum(-1, keepdim=True)
        return torch.cat([per_stage[:, :-2], per_stage[:, -2:].sum(-1, keepdim=True)], dim=-1)


class BatchedInventory(LockstepEnvironment[InventoryState]):
    """Copies of a serial chain; all play one step at a time, episodes in lockstep.

    A step: every stage orders; suppliers ship from the shelf they began the step with, up to
    capacity; shipments whose lead time is over are received; customers ask and are served; what
    is not delivered waits or is lost; shelves are paid for.
    Observation: planner `[stages * features + shared]`, stages `[features + shared]` each; see
    `InventoryDomain`. Action, in [0, 1]: order as a share of the capacity, rounded down to whole
    units; planner `[stages]`, stages `[1]` each.
    Reward, summed for the planner, discounted by the step: `sales` (to customers or to the stage
    below) minus `purchases`, `penalty` on undelivered units, `holding_cost` and, where orders cost
    something by themselves, `setup_cost`. What the source earns counts for the last stage. Between
    stages a sale is another's purchase, so transfer prices do not move the planner's reward.
    Cost: customers' units not delivered.
    End: terminated never; truncated after `config.max_steps`.
    Invariants: shelves never negative; shipped = on the way + received; demand = sold + waiting or
    lost.
    Differentiable: steps are out of place. Surrogate: rounding passes gradients as if orders were
    not rounded. Kinks: where a shipment or a sale is cut. Setup costs jump and have no gradient.
    """

    is_differentiable = True

    def __init__(
        self, config: InventoryConfig, bank: InventoryBank, options: InventoryOptions, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The chain.
            bank: Its scenarios; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's episodes have another length.
        """
        steps = bank.scenarios.demand.shape[1]
        if steps != config.max_steps:
            raise ConfigError(
                f"the bank's episodes have {steps} steps, the chain {config.max_steps}; "
                "draw demand of the same max_steps"
            )
        self.config = config
        self.device = torch.device(options.device)
        self.domain = domain = InventoryDomain(config, torch, self._tensor)
        self._is_planner = options.view == "planner"
        stages = config.num_stages
        own_size = domain.stage_features + domain.shared_features
        agent_ids = ("planner",) if self._is_planner else tuple(f"stage_{i}" for i in range(stages))
        group = AgentGroup(
            name=options.view,
            members=tuple(range(len(agent_ids))),
            observation_size=domain.observation_size if self._is_planner else own_size,
            action=ActionSpec(kind="continuous", size=stages if self._is_planner else 1),
            observation_low=0.0,
            observation_high=OBSERVATION_LIMIT,
        )
        self.charts = _choose_charts(config)
        self._nothing = self._tensor(0.0).expand(options.num_envs, stages, 1)
        slots = torch.arange(config.num_slots + 1)
        lead = torch.tensor(config.lead_time)
        self._arrival_slot = self._tensor((slots == lead[:, None]).float())
        self._first_stock = self._tensor(config.initial_stock)
        self._books = _Books(config, self._tensor, planner=self._is_planner)
        shape = WorldShape(
            agent_ids=agent_ids,
            groups=(group,),
            state_size=domain.observation_size,
            num_steps=config.max_steps,
            num_costs=1,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> InventoryView:
        """What is known before the next step, over all copies."""
        t, state = self.t, self.state
        left = 1.0 - t / self.config.max_steps
        return InventoryView(
            stock=state.stock,
            in_transit=state.in_transit[..., :-1],
            unmet=state.unmet,
            recent_demand=self._known_demand[:, t : t + self.config.lookback],
            time_left=state.stock.new_full((self.num_envs,), left),
        )

    def _tensor(self, values: object) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    def _enter_episodes(self) -> None:
        demand = self.rows["demand"]
        before = demand.new_zeros((self.num_envs, self.config.lookback))
        self._known_demand = torch.cat([before, demand], dim=-1)

    def _first_state(self) -> InventoryState:
        stages, slots = self.config.num_stages, self.config.num_slots
        stock = self._first_stock.repeat(self.num_envs, 1)
        return InventoryState(
            stock=stock,
            in_transit=stock.new_zeros((self.num_envs, stages, slots + 1)),
            unmet=stock.new_zeros((self.num_envs, stages + 1)),
        )

    def _advance(self, action: Tensor) -> Outcome[InventoryState]:
        """Order, ship, receive, sell, and count."""
        before = self.state
        orders = _place_orders(self.domain, action.flatten(1))
        requested = orders + before.unmet[:, 1:]
        shipped = torch.minimum(requested, self.domain.shippable(before.stock))
        on_the_way = before.in_transit + shipped[..., None] * self._arrival_slot
        received = on_the_way[..., 0]
        demand = self.rows["demand"][:, self.t]
        wanted = torch.cat([(demand + before.unmet[:, 0])[:, None], requested], dim=-1)
        on_hand = before.stock + received
        sold = torch.minimum(on_hand[:, :1], wanted[:, :1])
        delivered = torch.cat([sold, shipped], dim=-1)
        undelivered = wanted - delivered
        stock = on_hand - delivered[:, :-1]
        metrics = {
            "demand": demand,
            "sold_units": sold[:, 0],
            "undelivered_units": undelivered[:, 0],
            "shipped_units": shipped.sum(-1),
            "received_units": received.sum(-1),
            "made_units": shipped[:, -1],
            "stock_units": stock.sum(-1),
        }
        return Outcome(
            state=InventoryState(
                stock=stock,
                in_transit=torch.cat([on_the_way[..., 1:], self._nothing], dim=-1),
                unmet=torch.zeros_like(undelivered) if self.config.lost_sales else undelivered,
            ),
            reward_terms=self._books.enter(
                self.t, delivered, undelivered, stock=stock, orders=orders
            ),
            metrics=metrics,
            cost=undelivered[:, : self.num_agents, None],
        )

    def _observe(self) -> Tensor:
        view = self.view
        if self._is_planner:
            everything: Tensor = self.domain.encode(view)
            return everything[:, None]
        shared = self.domain.encode_shared(view)[:, None].expand(-1, self.num_agents, -1)
        return torch.cat([self.domain.encode_stages(view), shared], dim=-1)

    def _global_state(self, observation: Tensor) -> Tensor:
        state: Tensor = observation[:, 0] if self._is_planner else self.domain.encode(self.view)
        return state


def _choose_charts(config: InventoryConfig) -> tuple[Chart, ...]:
    """Return what is worth a picture: many chains only pay, and sell nothing."""
    charts = [
        Chart(
            title="demand and not delivered", metrics=("demand", "undelivered_units"), unit="units"
        ),
        Chart(title="stock in the chain", metrics=("stock_units",), unit="units"),
        Chart(title="made by the source", metrics=("made_units",), unit="units"),
    ]
    sums: list[tuple[str, tuple[str, ...]]]
    sums = [("holding cost", ("holding_cost",)), ("penalty", ("penalty",))]
    if config.price > 0:
        sums = [
            ("sales and purchases", ("sales", "purchases")),
            ("holding cost and penalty", ("holding_cost", "penalty")),
        ]
    if config.setup_cost:
        sums.append(("setup cost", ("setup_cost",)))
    for title, terms in sums:
        charts.append(Chart(title=f"{title} so far", metrics=terms, unit="currency", is_sum=True))
    return tuple(charts)


def _place_orders(domain: InventoryDomain, action: Tensor) -> Tensor:
    """Return whole orders whose gradient is that of the orders before rounding."""
    orders: Tensor = domain.scale_orders(action)
    rounded: Tensor = domain.round_orders(orders.detach())
    return rounded + (orders - orders.detach())
