"""The trading world spoken to in dicts keyed by agent; market data and a summary beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.market import MarketRegime, MarketScenarios
from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.market_traces import BlockBootstrapMarket, RealMarketConfig
from data.price_traces import load_stocks
from data.scenario import BankConfig, ScenarioBank, ScenarioSource
from data.traces import TRACES_SETTING, locate_traces
from data.trading_scenarios import TradingSource, TradingStage
from rl.domains.indicators import annualise, read_indicators
from rl.domains.trading_config import TradingConfig
from rl.environments.base_environment import AgentConfig, check_length, check_names
from rl.environments.faces import Actions, AgentInfo, DictEnvironment
from rl.environments.lockstep import LockstepOptions
from rl.environments.trading_ledger import indicators_of
from rl.environments.trading_market import BatchedTrading
from utils.errors import ConfigError

DEFAULT_SYMBOLS = ("AAPL", "GOOGL", "TSLA", "MSFT", "AMZN")
EPISODES = 16
"""Episodes drawn at a time."""
Observations = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class MarketData:
    """One symbol after the newest step; prices in currency."""

    price: float
    prices: tuple[float, ...]
    """Newest 21, newest last."""
    volume: float
    """Shares that others traded in the last step; 0 before the first."""
    rsi: float
    """In [0, 100]."""
    macd: float
    macd_signal: float
    upper_band: float
    middle_band: float
    lower_band: float
    volatility: float
    """Realised over 20 steps, per year."""


@dataclass(frozen=True, kw_only=True)
class TradingSummary:
    """One agent since the episode began; shares of equity where not said otherwise."""

    equity: float
    """In currency."""
    cash: float
    """In currency."""
    total_return: float
    """Equity over initial balance, less 1."""
    total_trades: int
    winning_trades: int
    """Orders that closed all or part of a position at a gain, costs apart."""
    losing_trades: int
    max_drawdown: float
    """Largest fall of equity from its peak."""
    sharpe_ratio: float
    """Mean over standard deviation of returns per step until ruin, per year; 0 if all alike."""
    volatility: float
    """Standard deviation of returns per step, per year."""
    costs: float
    """Commission, spread and temporary impact, in currency."""
    is_out: bool
    """Whether the agent was ruined."""


class TradingEnvironment(DictEnvironment):
    """Agents who trade symbols in one market; see `BatchedTrading`."""

    def __init__(  # noqa: PLR0913, PLR0917  # promised as one flat call
        self,
        agent_configs: Sequence[AgentConfig],
        symbols: Sequence[str] | None = None,
        max_steps: int = 1000,
        initial_prices: Mapping[str, float] | None = None,
        market_regime: MarketRegime | str = MarketRegime.SIDEWAYS,
        transaction_cost: float = 0.001,
        market_impact_factor: float = 0.0001,
        use_synthetic_data: bool = True,  # noqa: FBT001, FBT002  # promised
        seed: int | None = None,
        *,
        render_mode: str | None = None,
    ) -> None:
        """Build the world; call `reset` before the first step.

        Args:
            agent_configs: 1 to 128 agents, by name and initial balance.
            symbols: What is traded; five shares by default, or those the real prices begin with.
            max_steps: Length of an episode.
            initial_prices: Price before the first step, for some symbols or all.
            market_regime: Of synthetic prices: a regime or its name.
            transaction_cost: Commission, as a share of what is traded.
            market_impact_factor: Permanent and temporary impact of 1,000 shares, as a share of
                the first price.
            use_synthetic_data: False plays blocks of real days; it wants the traces.
            seed: Of the episodes; None is zero.
            render_mode: What `render` returns: text for `ansi`, a picture for `rgb_array`.

        Raises:
            ConfigError: A setting is out of range, a name is unknown or repeated, or there are no
                real prices.
            TraceError: A symbol is not among the real prices.
        """
        check_length(max_steps)
        if symbols is not None:
            check_names("symbols", symbols)
        regime = _find_regime(market_regime)
        if use_synthetic_data:
            names = tuple(DEFAULT_SYMBOLS if symbols is None else symbols)
            market: ScenarioSource[MarketScenarios] = SyntheticMarket(
                SyntheticMarketConfig(max_symbols=len(names), max_steps=max_steps, regime=regime)
            )
        else:
            names, market = _load_market(symbols, max_steps)
        config = TradingConfig(
            symbols=names,
            agents=tuple(one.agent_id for one in agent_configs),
            initial_balance=tuple(one.initial_balance for one in agent_configs),
            max_steps=max_steps,
            market_impact_factor=market_impact_factor,
            temporary_impact_factor=market_impact_factor,
        )
        stage = TradingStage(
            max_agents=len(config.agents),
            transaction_cost=transaction_cost,
            first_prices=_order_prices(initial_prices or {}, names),
        )
        bank = ScenarioBank(
            TradingSource(market, stage), BankConfig(num_episodes=EPISODES), seed or 0
        )
        core = BatchedTrading(config, bank, LockstepOptions(num_envs=1), seed or 0)
        super().__init__(core, render_mode)
        self._trading = core
        self._begin_summary()

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observations, dict[str, AgentInfo]]:
        """Begin an episode.

        Args:
            seed: Begins the sequence of episodes anew.
            options: Not used.
        """
        seen = super().reset(seed, options)
        self._begin_summary()
        return seen

    def step(
        self, actions: Actions
    ) -> tuple[
        Observations,
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, AgentInfo],
    ]:
        """Let every living agent trade at once.

        Args:
            actions: Per agent: size, stop and take-profit of each symbol; see
                `TradingDomain.project`. One that is left out does nothing.

        Raises:
            EpisodeEndedError: The episode has ended, or none has begun.
            UnknownAgentError: An action names an agent that does not exist.
            InvalidActionError: An action has the wrong size or is not finite.
        """
        world = self._trading
        volume = world.rows["volume"][0, world.t].tolist()
        self._steps_alive += world.state.alive[0].int().numpy()
        result = super().step(actions)
        self._account, self._volume = world.newest, volume
        self._equity.append(world.newest.equity[0].double().numpy())
        return result

    def get_market_data(self, symbol: str | None = None) -> dict[str, MarketData]:
        """Return prices and indicators after the newest step, per symbol.

        Args:
            symbol: Which one; all that are traded by default.

        Raises:
            ConfigError: The symbol is unknown.
        """
        names = self._trading.config.symbols
        if symbol is not None and symbol not in names:
            raise ConfigError(f"symbol {symbol!r} is unknown; there are {', '.join(names)}")
        read = read_indicators(indicators_of(self._account), torch)
        bands = torch.stack([read.upper_band, read.band_middle, read.lower_band])[:, 0].tolist()
        found = {}
        for index, name in enumerate(names):
            found[name] = MarketData(
                price=float(self._account.price[0, index]),
                prices=tuple(self._account.window[0, :, index].tolist()),
                volume=self._volume[index],
                rsi=float(read.rsi[0, index]),
                macd=float(read.macd[0, index]),
                macd_signal=float(read.macd_signal[0, index]),
                upper_band=bands[0][index],
                middle_band=bands[1][index],
                lower_band=bands[2][index],
                volatility=float(annualise(read.volatility[0, index])),
            )
        return found if symbol is None else {symbol: found[symbol]}

    def get_trading_summary(self) -> dict[str, TradingSummary]:
        """Return how every agent has done since the episode began, its end included."""
        account, config = self._account, self._trading.config
        path = np.stack(self._equity)
        drawdown = (1.0 - path / np.maximum.accumulate(path)).max(0)
        found = {}
        for index, name in enumerate(config.agents):
            volatility, sharpe = _rate(path[: self._steps_alive[index] + 1, index])
            found[name] = TradingSummary(
                equity=float(path[-1, index]),
                cash=float(account.cash[0, index]),
                total_return=float(path[-1, index] / path[0, index] - 1.0),
                total_trades=int(account.trades[0, index]),
                winning_trades=int(account.wins[0, index]),
                losing_trades=int(account.losses[0, index]),
                max_drawdown=float(drawdown[index]),
                sharpe_ratio=sharpe,
                volatility=volatility,
                costs=float(account.costs[0, index]),
                is_out=not bool(account.alive[0, index]),
            )
        return found

    def _begin_summary(self) -> None:
        state = self._trading.state
        self._account, self._volume = state, [0.0] * len(self._trading.config.symbols)
        self._equity: list[NDArray[np.float64]] = [state.equity[0].double().numpy()]
        self._steps_alive: NDArray[np.intp] = np.zeros(len(self._equity[0]), np.intp)


def _rate(equity: NDArray[np.float64]) -> tuple[float, float]:
    """Return volatility and Sharpe ratio per year of one account, up to its ruin."""
    returns = np.diff(equity) / equity[:-1]
    deviation = float(returns.std()) if len(returns) else 0.0
    volatility = annualise(deviation)
    sharpe = annualise(float(returns.mean()) / deviation) if deviation > 0 else 0.0
    return float(volatility), float(sharpe)


def _find_regime(regime: MarketRegime | str) -> MarketRegime:
    try:
        return MarketRegime(regime)
    except ValueError as error:
        known = ", ".join(one.value for one in MarketRegime)
        raise ConfigError(f"market_regime {regime!r} is unknown; known: {known}") from error


def _order_prices(prices: Mapping[str, float], names: tuple[str, ...]) -> tuple[float | None, ...]:
    unknown = [name for name in prices if name not in names]
    if unknown:
        raise ConfigError(f"initial_prices names {unknown}, the symbols are {', '.join(names)}")
    for name, price in prices.items():
        if not 0 < price < math.inf:
            raise ConfigError(f"initial_prices[{name!r}] is {price}; give a finite price above 0")
    return tuple(prices.get(name) for name in names)


def _load_market(
    symbols: Sequence[str] | None, max_steps: int
) -> tuple[tuple[str, ...], BlockBootstrapMarket]:
    """Return names and blocks of real days; the block bootstrap allows any length."""
    folder = locate_traces()
    if folder is None:
        raise ConfigError(
            f"use_synthetic_data=False plays real prices, and there are none; set {TRACES_SETTING} "
            "to the folder that holds them, or play synthetic ones"
        )
    table = load_stocks(folder)
    table = table.select(table.symbols[:5] if symbols is None else tuple(symbols))
    return table.symbols, BlockBootstrapMarket(table, RealMarketConfig(max_steps=max_steps))
