"""Quoting two prices in a market that does not wait: one batched program."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data.order_flow import OrderFlowScenarios
from data.scenario import ScenarioBank
from rl.domains.market_making import (
    OBSERVATION_LIMIT,
    OBSERVATION_SIZE,
    MarketMakingConfig,
    MarketMakingDomain,
    MarketMakingView,
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


@dataclass(frozen=True, kw_only=True)
class MarketMakingState(WorldState):
    """One market maker's book, `[env]` each."""

    inventory: Tensor
    """Shares held; negative if short."""
    price_change: Tensor
    """Mid price less the first one."""
    last_move: Tensor
    gain: Tensor
    """Cash taken in, with every share bought or sold counted at the first mid price."""


class BatchedMarketMaking(LockstepEnvironment[MarketMakingState]):
    """Copies of one market maker; all play one step at a time, episodes in lockstep.

    Observation `[6]`: see `MarketMakingDomain.encode`. Action `[2]` in [0, 1]: distance of bid and
    ask from the mid price, from `lowest_distance` to `highest_distance`. Each quote is for one
    share and is filled if the scenario's uniform is below A dt exp(-k distance); a side that would
    break the inventory limit is not quoted. Then the mid price moves by sigma sqrt(dt) times the
    shock.
    Reward, in currency: `spread` (distances of the filled quotes), `price_move` (on the shares
    held after the fills) and, in the last step, `liquidation`, which sum to the change of wealth
    marked to the mid price; and `inventory_penalty`, -gamma / 2 sigma^2 q^2 dt. Cost: none.
    Metrics: `adverse_move` is what the move after the fills took from the shares just traded;
    `wealth_change` is kept by its own account since the episode began.
    End: terminated never; truncated after `config.num_steps`.
    Invariant: cash plus shares at the mid price is what it was at first, plus the reward terms
    without the penalty; the inventory stays within its limit.
    Not differentiable: fills are yes or no.
    """

    charts = (
        Chart(title="mid price", metrics=("mid_price",), unit="currency"),
        Chart(title="inventory", metrics=("inventory",), unit="shares"),
        Chart(title="wealth", metrics=("wealth_change",), unit="currency"),
        Chart(title="bid below the mid price", metrics=("bid_distance",), unit="currency"),
        Chart(title="ask above the mid price", metrics=("ask_distance",), unit="currency"),
        Chart(
            title="spread earned so far", metrics=("spread_earned",), unit="currency", is_sum=True
        ),
        Chart(title="fills so far", metrics=("fills",), unit="shares", is_sum=True),
    )

    def __init__(
        self,
        config: MarketMakingConfig,
        bank: ScenarioBank[OrderFlowScenarios],
        options: LockstepOptions,
        seed: int,
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The task.
            bank: Order flow; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's episodes have another length than the task.
        """
        held = bank.scenarios.shocks.shape[1]
        if held != config.num_steps:
            raise ConfigError(
                f"the bank holds episodes of {held} steps, the task has {config.num_steps}; "
                "draw order flow with OrderFlowConfig(num_steps=config.num_steps)"
            )
        self.config = config
        self.domain = MarketMakingDomain(config, torch)
        maker = AgentGroup(
            name="market_maker",
            members=(0,),
            observation_size=OBSERVATION_SIZE,
            action=ActionSpec(kind="continuous", size=2),
            observation_low=-OBSERVATION_LIMIT,
            observation_high=OBSERVATION_LIMIT,
        )
        shape = WorldShape(
            agent_ids=("market_maker",),
            groups=(maker,),
            state_size=OBSERVATION_SIZE,
            num_steps=config.num_steps,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> MarketMakingView:
        """What is known before the next step, over all copies."""
        state = self.state
        left = float(self.config.num_steps - self.t)
        return MarketMakingView(
            inventory=state.inventory,
            steps_left=torch.full_like(state.inventory, left),
            price_change=state.price_change,
            last_move=state.last_move,
            volatility=self.rows["volatility"],
            arrival_rate=self.rows["arrival_rate"],
        )

    def _first_state(self) -> MarketMakingState:
        nothing = torch.zeros(self.num_envs, device=self.device)
        inventory = nothing + float(self.config.initial_inventory)
        return MarketMakingState(
            inventory=inventory, price_change=nothing, last_move=nothing, gain=nothing
        )

    def _advance(self, action: Tensor) -> Outcome[MarketMakingState]:
        """Fill what is filled at the old mid price, then let it move."""
        config, state, rows = self.config, self.state, self.rows
        distance = self.domain.project(action[:, 0])
        probability = self.domain.compute_fill_probability(distance, self.view)
        filled = (rows["fill_uniform"][:, self.t] < probability).to(distance.dtype)
        bought, sold = filled.unbind(-1)
        inventory = state.inventory + bought - sold
        step_deviation = rows["volatility"] * math.sqrt(config.step_time)
        move = step_deviation * rows["shocks"][:, self.t]
        spread = (filled * distance).sum(-1)
        is_last = self.t + 1 == config.num_steps
        liquidation = -config.liquidation_cost * inventory.abs() * float(is_last)
        terms = {
            "spread": spread,
            "price_move": inventory * move,
            "liquidation": liquidation,
            "inventory_penalty": -0.5 * config.risk_aversion * (step_deviation * inventory) ** 2,
        }
        paid = (bought - sold) * state.price_change
        gain = state.gain + spread + liquidation - paid
        price_change = state.price_change + move
        metrics = {
            "spread_earned": spread,
            "fills": bought + sold,
            "inventory": inventory,
            "adverse_move": -(bought - sold) * move,
            "wealth_change": gain + inventory * price_change,
            "mid_price": config.initial_price + price_change,
            "bid_distance": distance[:, 0],
            "ask_distance": distance[:, 1],
        }
        return Outcome(
            state=MarketMakingState(
                inventory=inventory, price_change=price_change, last_move=move, gain=gain
            ),
            reward_terms={name: value[:, None] for name, value in terms.items()},
            metrics=metrics,
        )

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)[:, None]
        return observation
