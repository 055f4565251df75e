"""Several agents who trade several symbols in one market: one batched program."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from data.scenario import ScenarioBank
from data.trading_scenarios import TradingScenarios
from rl.domains.indicators import (
    begin_indicators,
    read_indicators,
    update_indicators,
)
from rl.domains.trading import OBSERVATION_LIMIT, Orders, TradingDomain
from rl.domains.trading import TradingView as View
from rl.domains.trading_config import TradingConfig
from rl.environments.base_environment import ActionSpec, AgentGroup, Chart
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
)
from rl.environments.trading_ledger import TradingState, average_entry, fill_orders, indicators_of
from utils.errors import ConfigError

TradingBank = ScenarioBank[TradingScenarios]
CHARTS = (
    Chart(title="mean price", metrics=("price_index",), unit="first prices"),
    Chart(title="equity of all", metrics=("equity",), unit="initial balances"),
    Chart(title="drawdown, mean", metrics=("drawdown",), unit="share of the peak"),
    Chart(title="leverage, mean", metrics=("gross_leverage",), unit="shares of equity"),
    Chart(title="turnover so far", metrics=("turnover",), unit="initial balances", is_sum=True),
    Chart(title="costs so far", metrics=("costs",), unit="currency", is_sum=True),
    Chart(
        title="stops and take-profits so far",
        metrics=("stopped_positions",),
        unit="positions",
        is_sum=True,
    ),
)


class BatchedTrading(LockstepEnvironment[TradingState]):
    """Copies of one market; all play one step at a time, episodes in lockstep.

    A step: orders are cut to what is allowed (`TradingDomain.project`) and filled together, half
    way between the price before and after their net permanent impact, plus commission, half the
    spread and temporary impact; then the price moves by itself; then agents at or below
    `config.ruin` are sold out at cost, which moves the price as their orders would, and leave.
    Observation: see `TradingDomain.encode`; the hidden regime is not in it. Action, per agent and
    symbol: size, stop, take-profit in [-1, 1]; zero does nothing.
    Reward, per agent, in initial balances: `price_move` (on what is held after trading),
    `commission`, `spread`, `impact` (own temporary impact, and what others' orders do to the value
    of one's own); they sum to the change of equity. `risk_penalty` only if `risk_aversion` > 0.
    Cost, per agent: leverage above the limit, and drawdown of equity from its peak, as shares.
    End: terminated never; truncated after `config.max_steps`; agents leave by `agent_alive`.
    Invariant: equity is cash plus positions at the price, less what closing all would push it.
    Differentiable: steps are out of place. Kinks: limits of action and account, orders of size 0,
    rises and falls in RSI, levels of 0. Jumps, with no gradient through the decision: stops,
    take-profits, margin calls, ruin.
    """

    is_differentiable = True
    charts = CHARTS

    def __init__(
        self, config: TradingConfig, bank: TradingBank, options: LockstepOptions, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The market and its broker.
            bank: Its episodes; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's arrays do not fit the market.
        """
        _check_bank(bank, config)
        self.config = config
        self.domain = TradingDomain(config, torch)
        self._balance = torch.tensor(config.balances, device=options.device)
        self._seen: tuple[TradingState, View] | None = None
        self.newest: TradingState
        """After the newest step, of the old episode where a new one has begun since."""
        traders = AgentGroup(
            name="traders",
            members=tuple(range(len(config.agents))),
            observation_size=self.domain.observation_size,
            action=ActionSpec(kind="continuous", size=self.domain.action_size, low=-1.0, high=1.0),
            observation_low=-OBSERVATION_LIMIT,
            observation_high=OBSERVATION_LIMIT,
        )
        shape = WorldShape(
            agent_ids=config.agents,
            groups=(traders,),
            state_size=self.domain.market_size + len(config.agents) * self.domain.own_size,
            num_steps=config.max_steps,
            num_costs=2,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> View:
        """What is known before the next step, over all copies."""
        state = self.state
        if self._seen is None or self._seen[0] is not state:
            self._seen = (state, self._make_view(state))
        return self._seen[1]

    def _make_view(self, state: TradingState) -> View:
        rows = self.rows
        index = self._price_index(state.price)
        return View(
            price=state.price,
            first_price=self._first,
            indicators=read_indicators(indicators_of(state), torch),
            market_drawdown=1.0 - index / state.market_peak,
            shares=state.shares,
            cash=state.cash,
            equity=state.equity,
            entry=state.entry,
            stop=state.stop,
            take=state.take,
            peak=state.peak,
            balance=self._balance,
            symbol_active=rows["symbol_active"],
            agent_alive=state.alive,
            transaction_cost=rows["transaction_cost"],
            max_position=rows["max_position"],
            time_left=1.0 - self.t / self.config.max_steps,
        )

    def _enter_episodes(self) -> None:
        rows = self.rows
        self._first = rows["history"][:, -1]
        active = rows["symbol_active"]
        self._weight = active / (active.sum(-1, keepdim=True).clamp(min=1.0) * self._first)
        self._usable = (active > 0).repeat_interleave(3, dim=-1)[:, None]
        self._any_symbol = active.sum(-1) > 0

    def _price_index(self, price: Tensor) -> Tensor:
        """Return the mean of traded symbols in first prices, 1 where none is traded, `[env]`."""
        return torch.where(self._any_symbol, (price * self._weight).sum(-1), 1.0)

    def _first_state(self) -> TradingState:
        rows = self.rows
        agents = rows["agent_active"].float()
        positions = (*agents.shape, len(self.config.symbols))
        none, flat = torch.zeros_like(agents), agents.new_zeros(positions)
        balance = self._balance.expand_as(agents)
        return TradingState(
            price=self._first,
            **vars(begin_indicators(rows["history"].float(), torch)),
            market_peak=self._price_index(self._first),
            cash=balance,
            equity=balance,
            shares=flat,
            entry=self._first[:, None].expand(positions),
            stop=flat,
            take=flat,
            peak=balance,
            alive=agents,
            costs=none,
            trades=none,
            wins=none,
            losses=none,
        )

    def _advance(self, action: Tensor) -> Outcome[TradingState]:
        """Trade, let the price move, count, let the ruined go."""
        state, view, config = self.state, self.view, self.config
        orders = self.domain.project(action, view)
        scripted = self._background(view) if config.background.is_on else None
        fills = fill_orders(self.domain, orders.shares, view, scripted)
        log_return = self.rows["log_return"][:, self.t] * self.rows["symbol_active"]
        price = fills.price * log_return.exp()
        shares = state.shares + orders.shares
        moved = (shares * (fills.price * log_return.expm1())[:, None]).sum(-1)
        commission, spread, impact = fills.costs
        cash = state.cash - fills.spent
        equity, others = self.domain.appraise(cash, shares, price, self._first), fills.others
        out = (equity <= config.ruin * self._balance) & (state.alive > 0)
        if out.any():
            gone = torch.where(out[..., None], shares, 0.0)
            now = replace(view, price=price, shares=shares)
            sale = fill_orders(self.domain, -gone, now, None)
            commission, spread, impact = (
                one + extra for one, extra in zip(fills.costs, sale.costs, strict=True)
            )
            price, others = sale.price, others + sale.others
            cash, shares = cash - sale.spent, shares - gone
            equity = self.domain.appraise(cash, shares, price, self._first)
        costs = commission + spread + impact
        terms = {
            "price_move": moved / self._balance,
            "commission": -commission / self._balance,
            "spread": -spread / self._balance,
            "impact": (others - impact) / self._balance,
        }
        if config.risk_aversion > 0:
            terms["risk_penalty"] = -config.risk_aversion * terms["price_move"].square()
        after = TradingState(
            price=price,
            **vars(update_indicators(indicators_of(state), price, torch)),
            market_peak=torch.maximum(state.market_peak, self._price_index(price)),
            cash=cash,
            equity=equity,
            shares=shares,
            entry=average_entry(view, fills, shares, price),
            stop=orders.stop,
            take=orders.take,
            peak=torch.maximum(state.peak, equity),
            alive=state.alive * ~out,
            costs=state.costs + costs,
            trades=state.trades + (orders.shares != 0).sum(-1),
            wins=state.wins + (fills.closed > 0).sum(-1),
            losses=state.losses + (fills.closed < 0).sum(-1),
        )
        self.newest = after
        leverage, drawdown = self._exposure(after)
        excess = (leverage - config.leverage_limit).clamp(min=0.0)
        return Outcome(
            state=after,
            reward_terms=terms,
            metrics=self._measure(orders, after, leverage, drawdown),
            cost=torch.stack([excess, drawdown], -1),
        )

    def _exposure(self, state: TradingState) -> tuple[Tensor, Tensor]:
        """Return leverage and drawdown of those who still trade, `[env, agent]` each."""
        gross = (state.shares.abs() * state.price[:, None]).sum(-1)
        leverage = gross / torch.maximum(state.equity, 0.01 * self._balance)
        return leverage * state.alive, (1.0 - state.equity / state.peak) * state.alive

    def _measure(
        self, orders: Orders, after: TradingState, leverage: Tensor, drawdown: Tensor
    ) -> dict[str, Tensor]:
        before = self.state
        traded = (orders.shares.abs() * before.price[:, None]).sum((-1, -2))
        begun = self.rows["agent_active"]
        invested = (begun * self._balance).sum(-1).clamp(min=1.0)
        present = after.alive.sum(-1).clamp(min=1.0)
        is_stop = orders.is_exit & ~orders.is_called[..., None]
        return {
            "equity": (after.equity * begun).sum(-1) / invested,
            "price_index": self._price_index(after.price),
            "turnover": traded / invested,
            "costs": (after.costs - before.costs).sum(-1),
            "trades": (after.trades - before.trades).sum(-1),
            "winning_trades": (after.wins - before.wins).sum(-1),
            "losing_trades": (after.losses - before.losses).sum(-1),
            "stopped_positions": is_stop.sum((-1, -2)).float(),
            "margin_calls": orders.is_called.sum(-1).float(),
            "ruined_agents": (before.alive - after.alive).sum(-1),
            "gross_leverage": leverage.sum(-1) / present,
            "drawdown": drawdown.sum(-1) / present,
        }

    def _observe(self) -> Tensor:
        self._market: Tensor = self.domain.encode_market(self.view)
        observation: Tensor = self.domain.join(self._market, self.view)
        return observation

    def _global_state(self, observation: Tensor) -> Tensor:
        """Return the market once, then what every agent sees of itself."""
        return torch.cat([self._market, observation[..., self.domain.market_size :].flatten(1)], -1)

    def _action_mask(self) -> Tensor:
        return self._usable & (self.state.alive > 0)[..., None]

    def _agent_alive(self) -> Tensor:
        return self.state.alive > 0

    def _background(self, view: View) -> Tensor:
        """Return what scripted traders buy, `[env, symbol]`."""
        wish, read = self.config.background, view.indicators
        trend = torch.log(view.price / self.state.window[:, 0]) / read.volatility / 20**0.5
        away = (view.price - read.band_middle) / (2.0 * read.band_deviation + 1e-6 * view.price)
        bought = (
            wish.noise * self.rows["noise"][:, self.t]
            + wish.momentum * trend.tanh()
            - wish.market_makers * away.tanh()
        )
        net: Tensor = bought * view.symbol_active
        return net


def _check_bank(bank: TradingBank, config: TradingConfig) -> None:
    scenarios = bank.scenarios
    _, steps, symbols = scenarios.log_return.shape
    held = (steps, symbols, scenarios.agent_active.shape[1])
    wanted = (config.max_steps, len(config.symbols), len(config.agents))
    if held != wanted:
        raise ConfigError(
            f"the bank holds (steps, symbols, agents) = {held}, the market has {wanted}; draw "
            "episodes of those sizes and switch off what is not wanted"
        )
