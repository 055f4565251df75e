"""Markets made of real prices: windows cut out of them, and blocks of their days put anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.market import REGIMES, TRADING_DAYS, MarketRegime, MarketScenarios
from data.price_traces import PriceTable
from utils.errors import ConfigError

TRAILING_STEPS = 60
FEWEST_STEPS = 20
_CALM, _WILD = 0.30, 0.425
"""Annual volatility up to which drift names the regime, and from which it is a crisis: half way
between the neighbours in `MarketRegime`."""
_STILL = 0.075
"""Annual drift, up or down, up to which a market goes sideways."""

Values = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class RealMarketConfig:
    """Sizes of episodes made of real prices."""

    max_steps: int = 252
    lookback: int = 60
    """Prices known before the first step, at least one."""
    max_symbols: int | None = None
    """Size of the arrays; None for as many as the table has."""
    num_symbols: int | None = None
    """The first so many of the table are traded, the others switched off; None trades them all."""
    steps_per_year: int = TRADING_DAYS
    unknown_volume: float = 1e6
    """Shares per step where the table brings no volume."""

    def __post_init__(self) -> None:
        """Refuse empty episodes."""
        if min(self.max_steps, self.lookback, self.steps_per_year) < 1:
            raise ConfigError(f"max_steps, lookback and steps_per_year must be at least 1: {self}")
        if not 0 <= self.unknown_volume < np.inf:
            raise ConfigError(f"unknown_volume is {self.unknown_volume}; give 0 or more shares")


class TraceMarket:
    """A scenario source that cuts windows out of real prices at random times."""

    def __init__(self, table: PriceTable, config: RealMarketConfig) -> None:
        """Keep the prices.

        Args:
            table: The days that may be used; see `PriceTable.split` for held-out ones.
            config: Sizes.

        Raises:
            ConfigError: The days do not fill a window, or symbols do not fit.
        """
        self._episodes = _Episodes(table, config)
        self._window = config.lookback + config.max_steps
        if len(table.dates) < self._window:
            raise ConfigError(
                f"{len(table.dates)} days do not fill a window of {self._window}; lower max_steps "
                "or lookback, or give more days"
            )
        self.num_windows = len(table.dates) - self._window + 1
        """Number of different windows; the first begins at row 0."""

    def draw(self, num_episodes: int, generator: np.random.Generator) -> MarketScenarios:
        """Cut windows at random.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        return self.cut(generator.integers(self.num_windows, size=num_episodes), generator)

    def cut(self, starts: Rows, generator: np.random.Generator) -> MarketScenarios:
        """Cut windows at given rows.

        Args:
            starts: `[episode]`: row of the oldest known price.
            generator: Draws `noise`; prices have no chance left.
        """
        rows = np.asarray(starts)[:, None] + np.arange(self._window - 1)
        return self._episodes.make(rows, self._episodes.table.price[rows[:, 0]], generator)


class BlockBootstrapMarket:
    """A scenario source that strings blocks of real days together, all symbols of a day at once.

    The stationary bootstrap of Politis and Romano (1994): blocks begin at random days, have
    geometric lengths and go round at the end. What happens within a block stays, so tails,
    correlations and, over lags well below a block, clustered volatility are the real ones.
    """

    def __init__(
        self, table: PriceTable, config: RealMarketConfig, *, mean_block: float = 60.0
    ) -> None:
        """Keep the prices.

        Args:
            table: The days that may be used.
            config: Sizes; episodes may be longer than the table.
            mean_block: Mean number of days in a block, 1 for independent days.

        Raises:
            ConfigError: A block is shorter than a day, or symbols do not fit.
        """
        self._episodes = _Episodes(table, config)
        if not mean_block >= 1:
            raise ConfigError(f"mean_block is {mean_block}; give 1 day or more")
        if len(table.dates) < 2:
            raise ConfigError("one day has no return; give a table of two days or more")
        self._mean_block = mean_block

    def draw(self, num_episodes: int, generator: np.random.Generator) -> MarketScenarios:
        """Draw episodes; the oldest known price is the last of the table.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        config, table = self._episodes.config, self._episodes.table
        days = len(table.dates) - 1
        shape = (num_episodes, config.lookback - 1 + config.max_steps)
        begins = generator.random(shape) < 1 / self._mean_block
        begins[:, 0] = True
        first = generator.integers(days, size=shape)
        steps = np.arange(shape[1])
        block = np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
        rows = (np.take_along_axis(first, block, axis=1) + steps - block) % days
        return self._episodes.make(rows, np.tile(table.price[-1], (num_episodes, 1)), generator)


def label_regimes(returns: Values, steps_per_year: int) -> NDArray[np.int8]:
    """Name the regime of each step by the 60 before it, so that a label never looks ahead.

    Annual volatility from 0.425 is a crisis, from 0.30 volatile; below, an annual drift beyond
    0.075 makes a bull or a bear. Fewer than 20 steps before it say nothing: sideways.

    Args:
        returns: `[time]` of the logarithm of the price, of one symbol or a portfolio.
        steps_per_year: To annualise.

    Returns:
        Position in `REGIMES`, `[time]`.
    """
    labels = np.full(len(returns), REGIMES.index(MarketRegime.SIDEWAYS), dtype=np.int8)
    for step in range(FEWEST_STEPS, len(returns)):
        known = returns[max(0, step - TRAILING_STEPS) : step]
        volatility = known.std() * np.sqrt(steps_per_year)
        labels[step] = REGIMES.index(_name(volatility, known.mean() * steps_per_year))
    return labels


def _name(volatility: float, drift: float) -> MarketRegime:
    if volatility >= _WILD:
        return MarketRegime.CRISIS
    if volatility >= _CALM:
        return MarketRegime.VOLATILE
    if abs(drift) <= _STILL:
        return MarketRegime.SIDEWAYS
    return MarketRegime.BULL if drift > 0 else MarketRegime.BEAR


class _Episodes:
    """Turns rows of a table of returns into episodes."""

    def __init__(self, table: PriceTable, config: RealMarketConfig) -> None:
        self.table = table
        self.config = config
        have = len(table.symbols)
        self._room = have if config.max_symbols is None else config.max_symbols
        self._active = have if config.num_symbols is None else config.num_symbols
        if not 1 <= self._active <= have <= self._room:
            raise ConfigError(
                f"num_symbols={self._active} and max_symbols={self._room} do not fit the "
                f"{have} symbols of the table; 1 <= num_symbols <= {have} <= max_symbols"
            )
        self._returns = table.log_return
        self._regime = label_regimes(self._returns.mean(1), config.steps_per_year)

    def make(
        self, rows: Rows, oldest_price: Values, generator: np.random.Generator
    ) -> MarketScenarios:
        """Make episodes of `rows` `[episode, time]`, the first lookback - 1 of them known."""
        returns = self._pad(self._returns[rows])
        known = self.config.lookback - 1
        price = np.ones((len(rows), self._room))
        price[:, : self._active] = oldest_price[:, : self._active]
        path = np.zeros((len(rows), self.config.lookback, self._room))
        path[:, 1:] = returns[:, :known].cumsum(1)
        volume = np.full(rows.shape + oldest_price.shape[1:], self.config.unknown_volume)
        if self.table.volume is not None:
            volume = self.table.volume[1:][rows]
        noise = generator.standard_normal((*rows[:, known:].shape, len(self.table.symbols)))
        active = np.tile(np.arange(self._room) < self._active, (len(rows), 1))
        return MarketScenarios(
            history=(price[:, None] * np.exp(path)).astype(np.float32),
            log_return=returns[:, known:].astype(np.float32),
            volume=self._pad(volume[:, known:]).astype(np.float32),
            regime=self._regime[rows[:, known:]],
            noise=self._pad(noise).astype(np.float32),
            symbol_active=active.astype(np.float32),
        )

    def _pad(self, values: Values) -> Values:
        """Switch off `[episode, time, symbol]` beyond the stage; fill up to the size."""
        padded = np.zeros((*values.shape[:2], self._room))
        padded[..., : self._active] = values[..., : self._active]
        return padded
