"""Selling one order in a market that it moves: one batched, differentiable program."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.price_shocks import ExecutionScenarios
from data.scenario import ScenarioBank
from rl.domains.execution import (
    OBSERVATION_LIMIT,
    OBSERVATION_SIZE,
    ExecutionConfig,
    ExecutionDomain,
    ExecutionView,
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

ShockBank = ScenarioBank[ExecutionScenarios]


@dataclass(frozen=True, kw_only=True)
class ExecutionState(WorldState):
    """One order in the market, `[env]` each."""

    remaining: Tensor
    """Share of the order not sold yet."""
    price_change: Tensor
    """Price less arrival price."""
    last_move: Tensor
    gain: Tensor
    """Cash taken in, less what the order was worth at the arrival price, per share of the order."""


class BatchedExecution(LockstepEnvironment[ExecutionState]):
    """Copies of one order to sell; all play one step at a time, episodes in lockstep.

    Observation `[4]`: see `ExecutionDomain.encode`. Action `[1]` in [0, 1]: share of what remains;
    the last step sells the rest. A slice is sold at the price before the step, less half the spread
    and the temporary impact; then the price falls by the permanent impact and moves by the shock.
    Reward, in currency: `price_move` (shock on the shares still held), `half_spread`,
    `temporary_impact` and `permanent_impact` (on the shares still held), which sum to the change
    of wealth, and `risk_penalty`, -lambda sigma^2 x^2 tau. Cost: none.
    Metrics: `shortfall` sums over an episode to the implementation shortfall; `wealth_change` is
    kept by its own account since the episode began.
    End: terminated never; truncated after `config.num_steps`.
    Invariant: cash plus shares at the current price, less the order at the arrival price, equals
    all price moves on holdings less all costs.
    Differentiable: steps are out of place; kinks only where the action leaves [0, 1].
    """

    is_differentiable = True
    charts = (
        Chart(title="order left", metrics=("remaining_share",), unit="share of the order"),
        Chart(title="sold in the step", metrics=("sold_share",), unit="share of the order"),
        Chart(title="shortfall so far", metrics=("shortfall",), unit="currency", is_sum=True),
        Chart(
            title="impact so far",
            metrics=("temporary_impact", "permanent_impact"),
            unit="currency",
            is_sum=True,
        ),
        Chart(title="price moves so far", metrics=("price_move",), unit="currency", is_sum=True),
    )

    def __init__(
        self, config: ExecutionConfig, bank: ShockBank, options: LockstepOptions, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The order and its market.
            bank: Shocks of the price; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's episodes have another length than the order.
        """
        held = bank.scenarios.shocks.shape[1]
        if held != config.num_steps:
            raise ConfigError(
                f"the bank holds episodes of {held} steps, the order has {config.num_steps}; "
                "draw shocks with ShockConfig(num_steps=config.num_steps)"
            )
        self.config = config
        self.domain = ExecutionDomain(config, torch)
        trader = AgentGroup(
            name="trader",
            members=(0,),
            observation_size=OBSERVATION_SIZE,
            action=ActionSpec(kind="continuous", size=1),
            observation_low=-OBSERVATION_LIMIT,
            observation_high=OBSERVATION_LIMIT,
        )
        shape = WorldShape(
            agent_ids=("trader",),
            groups=(trader,),
            state_size=OBSERVATION_SIZE,
            num_steps=config.num_steps,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> ExecutionView:
        """What is known before the next step, over all copies."""
        state = self.state
        left = float(self.config.num_steps - self.t)
        return ExecutionView(
            remaining=state.remaining,
            steps_left=torch.full_like(state.remaining, left),
            price_change=state.price_change,
            last_move=state.last_move,
        )

    def _first_state(self) -> ExecutionState:
        nothing = torch.zeros(self.num_envs, device=self.device)
        return ExecutionState(
            remaining=nothing + 1.0, price_change=nothing, last_move=nothing, gain=nothing
        )

    def _advance(self, action: Tensor) -> Outcome[ExecutionState]:
        """Sell a slice, then let the price move."""
        config, state = self.config, self.state
        sold = self.domain.project(action[:, 0], self.view)
        held = state.remaining - sold
        discount = config.temporary_impact * config.shares / config.step_days * sold
        fall = config.permanent_impact * config.shares * sold
        move = config.step_deviation * self.rows["shocks"][:, self.t]
        variance = (config.step_deviation * config.shares * held).square()
        terms = {
            "price_move": config.shares * held * move,
            "half_spread": -config.shares * config.half_spread * sold,
            "temporary_impact": -config.shares * sold * discount,
            "permanent_impact": -config.shares * held * fall,
            "risk_penalty": -config.risk_aversion * variance,
        }
        change = sum(value for name, value in terms.items() if name != "risk_penalty")
        gain = state.gain + sold * (state.price_change - config.half_spread - discount)
        price_change = state.price_change + move - fall
        metrics = {
            "shortfall": -change,
            "sold_share": sold,
            "remaining_share": held,
            "wealth_change": config.shares * (gain + held * price_change),
        }
        return Outcome(
            state=ExecutionState(
                remaining=held, price_change=price_change, last_move=move - fall, gain=gain
            ),
            reward_terms={name: value[:, None] for name, value in terms.items()},
            metrics=metrics,
        )

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)[:, None]
        return observation
