"""A serial supply chain as one batched program, with OR-Gym's InvManagement as its preset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from rl.environments.base_environment import (
    ActionSpec,
    AgentGroup,
    StepRecord,
    check_action,
)
from rl.environments.episodes import Deal, EpisodeDealer
from utils.errors import ConfigError

InventoryBank = ScenarioBank[InventoryScenarios]


@dataclass(frozen=True, kw_only=True)
class InventoryOptions:
    """How the chain is played."""

    num_envs: int = 64
    view: Literal["planner", "stages"] = "planner"
    """One agent orders for every stage, or each stage orders for itself."""
    shuffle: bool = True
    """Draw episodes from the bank at random, or play them in order."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        if self.num_envs < 1 or self.view not in {"planner", "stages"}:
            raise ConfigError(f"num_envs >= 1 and view planner or stages are needed: {self}")


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

    def enter(
        self, step: int, delivered: Tensor, undelivered: Tensor, stock: Tensor
    ) -> dict[str, Tensor]:
        """Return the terms of the reward, `[env, agent]` each, from units `[env, stage + 1]`."""
        bought = torch.cat([delivered[:, 1:], delivered[:, -1:]], dim=-1)
        worth = self._discount**step
        holding = -worth * self._holding * stock
        return {
            "sales": self._share(worth * self._prices * delivered),
            "purchases": self._share(-worth * self._costs * bought),
            "penalty": self._share(-worth * self._penalty * undelivered),
            "holding_cost": holding.sum(-1, keepdim=True) if self._planner else holding,
        }

    def _share(self, per_stage: Tensor) -> Tensor:
        """Sum for the planner, or let the last stage have what is the source's."""
        if self._planner:
            return per_stage.sum(-1, keepdim=True)
        return torch.cat([per_stage[:, :-2], per_stage[:, -2:].sum(-1, keepdim=True)], dim=-1)


class BatchedInventory:
    """Copies of a serial chain; all play one step at a time, episodes in lockstep.

    A step: every stage orders; suppliers ship from the shelf they began the step with, up to
    capacity; shipments whose lead time is over are received; customers ask and are served; what
    is not delivered waits or is lost; shelves are paid for.
    Observation: planner `[stages * features + shared]`, stages `[features + shared]` each; see
    `InventoryDomain`. Action, in [0, 1]: order as a share of the capacity, rounded down to whole
    units; planner `[stages]`, stages `[1]` each.
    Reward, summed for the planner, discounted by the step: `sales` (to customers or to the stage
    below) minus `purchases`, `penalty` on undelivered units and `holding_cost`. What the source
    earns counts for the last stage. Between stages a sale is another's purchase, so transfer
    prices do not move the planner's reward. Cost: customers' units not delivered.
    End: terminated never; truncated after `config.max_steps`.
    Invariants: shelves never negative; shipped = on the way + received; demand = sold + waiting or
    lost.
    Differentiable: steps are out of place. Surrogate: rounding passes gradients as if orders were
    not rounded. Kinks: where a shipment or a sale is cut.
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
        self.config, self.bank, self.options = config, bank, options
        self.device = torch.device(options.device)
        self.domain = domain = InventoryDomain(config, torch, self._tensor)
        self.num_envs = options.num_envs
        planner = options.view == "planner"
        stages = config.num_stages
        self.agent_ids = ("planner",) if planner else tuple(f"stage_{i}" for i in range(stages))
        self.num_agents = len(self.agent_ids)
        self.observation_size = (
            domain.observation_size if planner else domain.stage_features + domain.shared_features
        )
        self.state_size = domain.observation_size
        self.num_costs = 1
        size = stages if planner else 1
        group = AgentGroup(
            name=options.view,
            members=tuple(range(self.num_agents)),
            observation_size=self.observation_size,
            action=ActionSpec(kind="continuous", size=size),
            observation_low=0.0,
            observation_high=OBSERVATION_LIMIT,
        )
        self.groups: tuple[AgentGroup, ...] = (group,)
        shape = (self.num_envs, self.num_agents)
        self._mask = torch.ones((*shape, size), dtype=torch.bool, device=self.device)
        self._alive = torch.ones(shape, dtype=torch.bool, device=self.device)
        self._never = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._nothing = self._tensor(0.0).expand(self.num_envs, stages, 1)
        self._stock: Tensor
        self._in_transit: Tensor
        self._unmet: Tensor
        slots = torch.arange(config.num_slots + 1)
        lead = torch.tensor(config.lead_time)
        self._arrival_slot = self._tensor((slots == lead[:, None]).float())
        self._first_stock = self._tensor(config.initial_stock)
        self._books = _Books(config, self._tensor, planner=planner)
        self._dealer = EpisodeDealer(
            bank, num_envs=self.num_envs, shuffle=options.shuffle, device=self.device
        )
        self._dealer.restart(seed)
        self._begin_episodes()

    def reset(self, seed: int | None = None) -> StepRecord:
        """Begin a new episode in every copy.

        Args:
            seed: Begins the sequence of episodes anew, including the bank's.
        """
        if seed is not None:
            self._dealer.restart(seed)
        self._begin_episodes()
        observation, state = self._observe()
        zeros = observation.new_zeros((self.num_envs, self.num_agents))
        return self._record(observation, state, zeros, zeros[..., None])

    def step(self, action: Tensor) -> StepRecord:
        """Order, ship, receive, sell, and count.

        Args:
            action: `[env, agent, act]`, orders as shares of the capacities; clipped to [0, 1].

        Raises:
            InvalidActionError: The shape is wrong or a value is not finite.
        """
        check_action(action, self.groups, self._mask.shape)
        requested = _place_orders(self.domain, action.flatten(1)) + self._unmet[:, 1:]
        shipped = torch.minimum(requested, self.domain.shippable(self._stock))
        on_the_way = self._in_transit + shipped[..., None] * self._arrival_slot
        received = on_the_way[..., 0]
        demand = self._demand[:, self._t]
        wanted = torch.cat([(demand + self._unmet[:, 0])[:, None], requested], dim=-1)
        on_hand = self._stock + received
        sold = torch.minimum(on_hand[:, :1], wanted[:, :1])
        delivered = torch.cat([sold, shipped], dim=-1)
        undelivered = wanted - delivered
        self._stock = on_hand - delivered[:, :-1]
        self._unmet = torch.zeros_like(undelivered) if self.config.lost_sales else undelivered
        self._in_transit = torch.cat([on_the_way[..., 1:], self._nothing], dim=-1)
        terms = self._books.enter(self._t, delivered, undelivered, self._stock)
        metrics = {
            "demand": demand,
            "sold_units": sold[:, 0],
            "undelivered_units": undelivered[:, 0],
            "shipped_units": shipped.sum(-1),
            "received_units": received.sum(-1),
            "made_units": shipped[:, -1],
            "stock_units": self._stock.sum(-1),
        }
        self._t += 1
        return self._finish_step(terms, undelivered, metrics)

    @property
    def view(self) -> InventoryView:
        """What is known before the next step, over all copies."""
        t, config = self._t, self.config
        left = 1.0 - t / config.max_steps
        return InventoryView(
            stock=self._stock,
            in_transit=self._in_transit[..., :-1],
            unmet=self._unmet,
            recent_demand=self._known_demand[:, t : t + config.lookback],
            time_left=self._stock.new_full((self.num_envs,), left),
        )

    @property
    def episode_index(self) -> Tensor:
        """Position in the bank of the episode each copy plays, `[env]`."""
        return self._index

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that is needed to continue bit for bit."""
        return {
            **self._dealer.state_dict(),
            "time": torch.tensor(self._t),
            "episode": self._index.clone(),
            "stock": self._stock.clone(),
            "in_transit": self._in_transit.clone(),
            "unmet": self._unmet.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that `state_dict` returned.

        Args:
            state: The tensors.

        Raises:
            ScenarioError: The scenario source gives other episodes than it did.
        """
        self._enter(self._dealer.restore(state, state["episode"]))
        self._t = int(state["time"])
        self._stock = state["stock"].to(self.device)
        self._in_transit = state["in_transit"].to(self.device)
        self._unmet = state["unmet"].to(self.device)

    def _tensor(self, values: object) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    def _begin_episodes(self) -> None:
        stages, slots = self.config.num_stages, self.config.num_slots
        self._t = 0
        self._enter(self._dealer.deal())
        self._stock = self._first_stock.repeat(self.num_envs, 1)
        self._in_transit = self._stock.new_zeros((self.num_envs, stages, slots + 1))
        self._unmet = self._stock.new_zeros((self.num_envs, stages + 1))

    def _enter(self, deal: Deal) -> None:
        self._index, self._demand = deal.index, deal.rows["demand"]
        before = self._demand.new_zeros((self.num_envs, self.config.lookback))
        self._known_demand = torch.cat([before, self._demand], dim=-1)

    def _finish_step(
        self, terms: dict[str, Tensor], undelivered: Tensor, metrics: dict[str, Tensor]
    ) -> StepRecord:
        reward = terms["sales"] + terms["purchases"] + terms["penalty"] + terms["holding_cost"]
        cost = undelivered[:, : self.num_agents]
        observation, state = self._observe()
        final, truncated = observation, self._never
        if self._t == self.config.max_steps:
            self._begin_episodes()
            observation, state = self._observe()
            truncated = ~self._never
        record = self._record(observation, state, reward, cost[..., None])
        return replace(
            record,
            final_observation=final,
            truncated=truncated,
            metrics=metrics,
            reward_terms=terms,
        )

    def _observe(self) -> tuple[Tensor, Tensor]:
        """Return what the agents see and the global state."""
        view = self.view
        if self.options.view == "planner":
            state: Tensor = self.domain.encode(view)
            return state[:, None], state
        stages = self.domain.encode_stages(view)
        shared = self.domain.encode_shared(view)
        everything = torch.cat([stages.flatten(1), shared], dim=-1)
        shared = shared[:, None].expand(-1, self.num_agents, -1)
        return torch.cat([stages, shared], dim=-1), everything

    def _record(
        self, observation: Tensor, state: Tensor, reward: Tensor, cost: Tensor
    ) -> StepRecord:
        return StepRecord(
            observation=observation,
            action_mask=self._mask,
            agent_alive=self._alive,
            reward=reward,
            cost=cost,
            terminated=self._never,
            truncated=self._never,
            final_observation=observation,
            global_state=state,
            metrics={},
        )


def _place_orders(domain: InventoryDomain, action: Tensor) -> Tensor:
    """Return whole orders whose gradient is that of the orders before rounding."""
    orders: Tensor = domain.scale_orders(action)
    rounded: Tensor = domain.round_orders(orders.detach())
    return rounded + (orders - orders.detach())
