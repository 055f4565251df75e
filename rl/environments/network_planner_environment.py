"""A network of stock, lean and differentiable: customers wait and remember or not, per episode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.network_demand import NetworkDemand
from data.scenario import ScenarioBank
from rl.domains.network_planner import ACTION_LIMIT, NetworkPlanner, PlannerConfig, PlannerView
from rl.domains.supply_network import Link
from rl.environments.base_environment import ActionSpec, AgentGroup, Chart
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)
from rl.environments.supply_goodwill import LEAST_MEAN, move_sentiment
from rl.environments.torch_tools import make_torch_tools
from utils.errors import ConfigError

NetworkBank = ScenarioBank[NetworkDemand]


@dataclass(frozen=True, kw_only=True)
class PlannerState(WorldState):
    """Everything that orders change; see `PlannerView` for the axes."""

    stock: Tensor
    in_transit: Tensor
    unmet: Tensor
    sentiment: Tensor
    history: Tensor


class BatchedNetworkPlanner(LockstepEnvironment[PlannerState]):
    """Copies of one network with one planner; all play one step at a time, episodes in lockstep.

    The rules are those of `BatchedSupplyNetwork`, for one product and one market; what differs from
    episode to episode is the law of demand, and whether customers wait and remember.
    Observation: see `NetworkPlanner.encode`. Action, in [-10, 10]: one number per link, which a
    softplus turns into units of `unit_scale`.
    Reward: the network's profit, per unit of demand that the episode expects at neutral goodwill.
    Cost: none. End: terminated never; truncated after `config.max_steps`.
    Invariants: shelves never negative; taken from shelves and sources = on the way + received;
    demand = sold + waiting or lost.
    Differentiable: steps are out of place. Surrogates: goodwill, see `supply_goodwill`; demand
    moves with its mean, unit for unit. Kinks: where an order, a shelf or a demand cuts.
    """

    is_differentiable = True
    charts = (
        Chart(title="demand and not delivered", metrics=("demand", "unmet_units"), unit="units"),
        Chart(title="orders of all", metrics=("ordered_units",), unit="units"),
        Chart(title="stock", metrics=("stock_units",), unit="units"),
        Chart(title="profit", metrics=("profit",), unit="currency"),
    )

    def __init__(
        self, config: PlannerConfig, bank: NetworkBank, options: LockstepOptions, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The network and what is known.
            bank: Its scenarios; refreshed by this environment.
            options: How it is played.
            seed: Of the choice of episodes.

        Raises:
            ConfigError: The bank's episodes have another length.
        """
        steps = bank.scenarios.mean.shape[1]
        if steps != config.max_steps:
            raise ConfigError(
                f"the bank's episodes have {steps} steps, the world {config.max_steps}; "
                "draw demand of the same num_steps"
            )
        self.config = config
        tools = make_torch_tools(torch.device(options.device), torch.float32)
        self.planner = planner = NetworkPlanner(config, tools)
        as_array, index = tools.as_array, planner.index
        shelves, columns = index.num_shelves, len(planner.slots) + len(index.flows)
        place = {slot: number for number, slot in enumerate(planner.slots)}
        received, moved = np.zeros((columns, shelves)), np.zeros((columns, len(planner.slots)))
        taken = np.zeros((len(index.flows), shelves))
        for number, flow in enumerate(index.flows):
            ahead = [place[number, step] for step in range(flow.origin.lead_time)]
            ahead.append(len(place) + number)
            received[ahead[0], flow.target] = 1.0
            moved[ahead[1:], ahead[:-1]] = 1.0
            for shelf, units in flow.takes:
                taken[number, shelf] = units
        self._received, self._moved = as_array(received.tolist()), as_array(moved.tolist())
        self._taken = as_array(taken.tolist())
        self._from_retail = as_array(np.eye(shelves)[planner.retail].tolist())
        self._costs = as_array(_list_costs(planner))
        self._market = config.network.markets[0]
        self._first_stock = as_array([one.initial_stock for one in config.network.shelves])
        group = AgentGroup(
            name="planner",
            members=(0,),
            observation_size=planner.observation_size,
            action=ActionSpec(
                kind="continuous", size=len(index.flows), low=-ACTION_LIMIT, high=ACTION_LIMIT
            ),
        )
        shape = WorldShape(
            agent_ids=("planner",),
            groups=(group,),
            state_size=planner.observation_size,
            num_steps=config.max_steps,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> PlannerView:
        """What is known before the next step, over all copies."""
        state, rows = self.state, self.rows
        return PlannerView(
            stock=state.stock,
            in_transit=state.in_transit,
            unmet=state.unmet,
            sentiment=state.sentiment,
            waits=rows["waits"],
            remembers=rows["remembers"],
            steps_taken=torch.full_like(rows["waits"], float(self.t)),
            known_mean=self._known_mean[:, self.t : self.t + self.config.horizon],
            history=state.history,
        )

    def _enter_episodes(self) -> None:
        mean = self.rows["mean"]
        after = mean.new_zeros((self.num_envs, self.config.horizon))
        self._known_mean = torch.cat([mean, after], -1)
        self._expected = mean.sum(-1)

    def _first_state(self) -> PlannerState:
        nothing = torch.zeros((self.num_envs, 1), device=self.device)
        return PlannerState(
            stock=nothing + self._first_stock,
            in_transit=nothing.expand(-1, len(self.planner.slots)),
            unmet=nothing[:, 0],
            sentiment=nothing[:, 0] + 1.0,
            history=nothing.expand(-1, 0 if self.config.horizon else self.config.max_steps),
        )

    def _advance(self, action: Tensor) -> Outcome[PlannerState]:
        """Order, ship, receive, sell, count."""
        state, rows = self.state, self.rows
        orders = self.planner.orders(action[:, 0].clamp(-ACTION_LIMIT, ACTION_LIMIT))
        shipped = self.planner.ship(orders, state.stock)
        everything = torch.cat([state.in_transit, shipped], -1)
        in_transit = everything @ self._moved
        on_hand = state.stock - shipped @ self._taken + everything @ self._received
        sentiment = state.sentiment
        if self.t:
            moved = move_sentiment(sentiment, state.unmet, self.config.goodwill)
            sentiment = torch.where(rows["remembers"] > 0, moved, sentiment)
        demand = draw_near_poisson(
            rows["normal"][:, self.t], (rows["mean"][:, self.t] * sentiment).clamp(min=LEAST_MEAN)
        )
        wanted = demand + state.unmet * rows["waits"]
        sold = torch.minimum(wanted, on_hand[:, self.planner.retail])
        unmet = wanted - sold
        stock = torch.relu(on_hand - sold[:, None] * self._from_retail)
        kept = torch.cat([shipped, in_transit, stock], -1)
        profit = self._market.price * sold - self._market.penalty * unmet - kept @ self._costs
        history = state.history
        if not self.config.horizon:
            history = torch.cat([history[:, 1:], demand[:, None]], -1)
        return Outcome(
            state=PlannerState(
                stock=stock,
                in_transit=in_transit,
                unmet=unmet,
                sentiment=sentiment,
                history=history,
            ),
            reward_terms={"profit": (profit / self._expected)[:, None]},
            metrics={
                "profit": profit.detach(),
                "demand": demand.detach(),
                "sold_units": sold.detach(),
                "unmet_units": unmet.detach(),
                "ordered_units": shipped.detach().sum(-1),
                "stock_units": stock.detach().sum(-1),
            },
        )

    def _observe(self) -> Tensor:
        seen: Tensor = self.planner.encode(self.view)
        return seen[:, None]


def draw_near_poisson(normal: Tensor, mean: Tensor) -> Tensor:
    """Draw demand as good as Poisson for learning, with a gradient; Cornish-Fisher, rounded.

    Surrogate: backwards, demand moves with its mean, unit for unit.

    Args:
        normal: `[env]`: standard normal.
        mean: `[env]`: above zero.
    """
    with torch.no_grad():
        spread = normal * mean.sqrt() + (normal.square() - 1.0) / 6.0
        drawn = torch.floor(mean + spread + 0.5).clamp(min=0.0)
    if not mean.requires_grad:
        return drawn
    return drawn + (mean - mean.detach())


def recover_normal(demand: Tensor, mean: Tensor) -> Tensor:
    """Return standard normal numbers that `draw_near_poisson` turns into given demand.

    Args:
        demand: Whole units.
        mean: Above zero.
    """
    root = 9.0 * mean + 6.0 * (demand - mean) + 1.0
    return root.clamp(min=0.0).sqrt() - 3.0 * mean.sqrt()


def _list_costs(planner: NetworkPlanner) -> list[float]:
    """What a unit shipped on a link, on the way and on a shelf costs the network in a step."""
    network, index = planner.config.network, planner.index
    costs = []
    for flow in index.flows:
        link = flow.origin
        price = link.price if isinstance(link, Link) and not flow.takes else 0.0
        transport = link.transport_cost if isinstance(link, Link) else 0.0
        costs.append(price + transport + network.nodes[flow.supplier].operating_cost)
    costs += [index.flows[number].origin.holding_cost for number, _ in planner.slots]
    return costs + [shelf.holding_cost for shelf in network.shelves]
