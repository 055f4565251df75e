"""Several desks that each sell an order in a market that the sale moves; differentiable."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.desk_orders import DeskScenarios
from data.scenario import ScenarioBank
from rl.domains.order_desks import (
    OBSERVATION_LIMIT,
    OBSERVATION_SIZE,
    DeskView,
    OrderDesksConfig,
    OrderDesksDomain,
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
class OrderDesksState(WorldState):
    """The orders, `[env, desk]` each."""

    remaining: Tensor
    """Share not sold yet."""
    price_change: Tensor
    """Price less arrival price, in basis points."""
    gain: Tensor
    """Cash taken in, less what was sold at the arrival price, in basis points of the order."""


class BatchedOrderDesks(LockstepEnvironment[OrderDesksState]):
    """Copies of several orders; every desk sells one, of a share of its own.

    Observation `[8]` per desk: see `OrderDesksDomain.encode`. Action `[1]` in [0, 1] per desk: the
    pace, see `OrderDesksDomain.project`; the last step sells the rest. A slice is sold at the price
    before the step, less half the spread and the temporary impact; then the price falls by the
    permanent impact and moves by itself. Desks do not move one another's prices.
    Reward, in basis points of the desk's order: `price_move` (on what is still held),
    `half_spread`, `temporary_impact`, `permanent_impact` (on what is still held), which sum to the
    change of wealth, and `risk_penalty`, -risk_aversion * price_move^2, whose mean is that of the
    variance of a fair price. Cost: none.
    Metrics: means over desks; `shortfall` sums over an episode to the implementation shortfall.
    End: terminated never; truncated after `config.num_steps`.
    Invariant: cash plus what is held at the current price, less the order at the arrival price,
    equals all price moves on holdings less all costs.
    Differentiable: kinks where an action leaves [0, 1] or asks for more than the rest.
    """

    is_differentiable = True
    charts = (
        Chart(title="orders left", metrics=("remaining_share",), unit="share of the orders"),
        Chart(title="sold in the step", metrics=("sold_share",), unit="share of the orders"),
        Chart(title="shortfall so far", metrics=("shortfall",), unit="basis points", is_sum=True),
        Chart(title="risk charge so far", metrics=("risk",), unit="basis points", is_sum=True),
        Chart(title="impact so far", metrics=("impact",), unit="basis points", is_sum=True),
    )

    def __init__(
        self,
        config: OrderDesksConfig,
        bank: ScenarioBank[DeskScenarios],
        options: LockstepOptions,
        seed: int,
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The orders.
            bank: Their terms and prices; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's episodes have another length or number of desks.
        """
        held = bank.scenarios.shock.shape[1:]
        if held != (config.num_steps, config.num_desks):
            raise ConfigError(
                f"the bank holds episodes of {held} (steps, desks), the orders are of "
                f"{config.num_steps, config.num_desks}; draw them with the same DeskLaws"
            )
        self.config = config
        self.domain = OrderDesksDomain(config, torch)
        desks = AgentGroup(
            name="desk",
            members=tuple(range(config.num_desks)),
            observation_size=OBSERVATION_SIZE,
            action=ActionSpec(kind="continuous", size=1),
            observation_low=-OBSERVATION_LIMIT,
            observation_high=OBSERVATION_LIMIT,
        )
        shape = WorldShape(
            agent_ids=tuple(f"desk_{desk}" for desk in desks.members),
            groups=(desks,),
            state_size=OBSERVATION_SIZE * config.num_desks,
            num_steps=config.num_steps,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> DeskView:
        """What is known before the next step, over all copies and desks."""
        state, lookback = self.state, self.rows["history"].shape[1]
        return DeskView(
            remaining=state.remaining,
            steps_left=torch.full_like(state.remaining, float(self.config.num_steps - self.t)),
            price_change=state.price_change,
            moves=self._moves[..., self.t : self.t + lookback],
            volatility=self.rows["volatility"],
            impact=self.rows["impact"],
            risk_aversion=self.rows["risk_aversion"],
        )

    def _enter_episodes(self) -> None:
        """Lay the moves that are known beforehand and those to come behind one another."""
        moves = torch.cat([self.rows["history"], self.rows["shock"]], dim=1)
        self._moves = moves.transpose(1, 2).contiguous()

    def _first_state(self) -> OrderDesksState:
        nothing = torch.zeros((self.num_envs, self.num_agents), device=self.device)
        return OrderDesksState(remaining=nothing + 1.0, price_change=nothing, gain=nothing)

    def _advance(self, action: Tensor) -> Outcome[OrderDesksState]:
        """Sell a slice of every order, then let prices move."""
        config, state, rows = self.config, self.state, self.rows
        sold = self.domain.project(action, self.view)
        held = state.remaining - sold
        impact = rows["impact"] * rows["impact_scale"]
        discount = config.num_steps * impact * sold
        fall = config.permanent_share * impact * sold
        move = rows["volatility"] * rows["shock"][:, self.t]
        risk = rows["risk_aversion"] * (held * move).square()
        terms = {
            "price_move": held * move,
            "half_spread": -config.half_spread * sold,
            "temporary_impact": -sold * discount,
            "permanent_impact": -held * fall,
            "risk_penalty": -risk,
        }
        gain = state.gain + sold * (state.price_change - config.half_spread - discount)
        price_change = state.price_change + move - fall
        change = sum(value for name, value in terms.items() if name != "risk_penalty")
        metrics = {
            "shortfall": -change,
            "risk": risk,
            "impact": sold * discount + held * fall,
            "sold_share": sold,
            "remaining_share": held,
            "wealth_change": gain + held * price_change,
        }
        return Outcome(
            state=OrderDesksState(remaining=held, price_change=price_change, gain=gain),
            reward_terms=terms,
            metrics={name: value.mean(-1) for name, value in metrics.items()},
        )

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)
        return observation
