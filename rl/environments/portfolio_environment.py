"""Holding a portfolio in a market that does not notice: one batched, differentiable program."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.market import MarketScenarios
from data.scenario import ScenarioBank
from rl.domains.portfolio import (
    FEATURES_PER_AGENT,
    FEATURES_PER_SYMBOL,
    MINIMUM_LOOKBACK,
    OBSERVATION_LIMIT,
    RUIN,
    PortfolioConfig,
    PortfolioDomain,
    PortfolioView,
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
class PortfolioState(WorldState):
    """The portfolios, `[env, agent]` each."""

    weights: Tensor
    """`[env, agent, symbol]`: share of wealth in each symbol, after prices have moved."""
    log_wealth: Tensor
    """Logarithm of wealth over first wealth."""
    log_peak: Tensor
    """Its highest value so far."""


class BatchedPortfolio(LockstepEnvironment[PortfolioState]):
    """Copies of one market in which investors hold portfolios; episodes in lockstep.

    Observation `[8 * symbol + 2]`: see `PortfolioDomain.encode`. Action `[symbol]` in [0, 1]:
    weights wanted, from `-max_short` to `max_leverage`; scaled down in proportion if they exceed
    `max_leverage` together; the rest is cash. Everybody begins with cash only. First the portfolio
    is brought to these weights, at the cost that is consistent with them; then prices move.
    Reward: `market` (logarithm of the growth by prices and interest) and `cost` (logarithm of what
    trading leaves), which sum to the growth of the logarithm of wealth; and `risk_penalty`,
    -(risk_aversion - 1) / 2 times the square of `market`. Cost: none.
    Metrics: means over the investors; `turnover` counts what is bought and what is sold.
    End: terminated never; truncated after `config.num_steps`. An account that would be left with
    less than a hundredth of its wealth after a step is closed at that, and may go on with it.
    Invariant: wealth after a step is cash and shares at the new prices, less what trading cost.
    Differentiable: kinks where a weight is not traded at all, where the wanted weights sum to
    `max_leverage`, where an action leaves [0, 1], and at ruin.
    """

    is_differentiable = True
    charts = (
        Chart(title="wealth", metrics=("wealth",), unit="first wealth"),
        Chart(title="drawdown", metrics=("drawdown",), unit="share of the peak"),
        Chart(title="invested", metrics=("leverage",), unit="share of wealth"),
        Chart(title="turnover so far", metrics=("turnover",), unit="shares of wealth", is_sum=True),
        Chart(title="costs so far", metrics=("cost_share",), unit="share of wealth", is_sum=True),
    )

    def __init__(
        self,
        config: PortfolioConfig,
        bank: ScenarioBank[MarketScenarios],
        options: LockstepOptions,
        seed: int,
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The task.
            bank: Markets; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's episodes have another length than the task, or too little
                history.
        """
        _, length, symbols = bank.scenarios.log_return.shape
        if length != config.num_steps:
            raise ConfigError(
                f"the bank holds episodes of {length} steps, the task has {config.num_steps}; "
                "draw markets of num_steps steps"
            )
        known = bank.scenarios.history.shape[1] - 1
        if known < MINIMUM_LOOKBACK:
            raise ConfigError(
                f"history holds {known} returns; give at least {MINIMUM_LOOKBACK + 1} prices"
            )
        self.config = config
        self.domain = PortfolioDomain(config, torch)
        self.lookback, self.num_symbols = known, symbols
        size = FEATURES_PER_SYMBOL * symbols + FEATURES_PER_AGENT
        investors = AgentGroup(
            name="investor",
            members=tuple(range(config.num_agents)),
            observation_size=size,
            action=ActionSpec(kind="continuous", size=symbols),
            observation_low=-OBSERVATION_LIMIT,
            observation_high=OBSERVATION_LIMIT,
        )
        shape = WorldShape(
            agent_ids=tuple(f"investor_{agent}" for agent in investors.members),
            groups=(investors,),
            state_size=size * config.num_agents,
            num_steps=config.num_steps,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> PortfolioView:
        """What is known before the next step, over all copies and agents."""
        agents = (self.num_envs, self.num_agents)
        seen = self._returns[:, None, self.t : self.t + self.lookback]
        left = float(self.config.num_steps - self.t)
        return PortfolioView(
            returns=seen.expand(*agents, -1, -1),
            active=self._active().expand(*agents, -1),
            weights=self.state.weights,
            steps_left=torch.full_like(self.state.log_wealth, left),
        )

    def _active(self) -> Tensor:
        return self.rows["symbol_active"][:, None]

    def _enter_episodes(self) -> None:
        """Lay the returns that are known beforehand and those to come behind one another."""
        past = self.rows["history"].log().diff(dim=1)
        self._returns = torch.cat([past, self.rows["log_return"]], dim=1)

    def _action_mask(self) -> Tensor:
        return (self._active() > 0).expand_as(self._every_action)

    def _first_state(self) -> PortfolioState:
        nothing = torch.zeros((self.num_envs, self.num_agents), device=self.device)
        weights = nothing[..., None].expand(-1, -1, self.num_symbols).clone()
        return PortfolioState(weights=weights, log_wealth=nothing, log_peak=nothing)

    def _advance(self, action: Tensor) -> Outcome[PortfolioState]:
        """Trade to the weights wanted, then let prices move."""
        config, state = self.config, self.state
        target = self.domain.project(action, self.view)
        kept = self.domain.compute_kept_share(state.weights, target)
        rise = self.rows["log_return"][:, self.t, None].expm1()
        cash = 1.0 - target.sum(-1)
        unbounded = 1.0 + (target * rise).sum(-1) + cash * config.cash_rate
        growth = unbounded.clamp_min(RUIN)
        solvent = (unbounded >= RUIN)[..., None]
        weights = torch.where(solvent, target * (1.0 + rise) / growth[..., None], 0.0)
        market, cost = growth.log(), kept.log()
        log_wealth = state.log_wealth + market + cost
        log_peak = torch.maximum(state.log_peak, log_wealth)
        penalty = -0.5 * (config.risk_aversion - 1.0) * market.square()
        metrics = {
            "log_growth": market + cost,
            "wealth": log_wealth.exp(),
            "drawdown": -torch.expm1(log_wealth - log_peak),
            "turnover": (target * kept[..., None] - state.weights).abs().sum(-1),
            "cost_share": 1.0 - kept,
            "cash": cash,
            "leverage": target.abs().sum(-1),
        }
        return Outcome(
            state=PortfolioState(weights=weights, log_wealth=log_wealth, log_peak=log_peak),
            reward_terms={"market": market, "cost": cost, "risk_penalty": penalty},
            metrics={name: value.mean(-1) for name, value in metrics.items()},
        )

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)
        return observation
