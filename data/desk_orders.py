"""Orders that several desks sell at the same time: their terms, and what prices do meanwhile.

Moves are in standard deviations: 1 is a move as large as the long-run volatility of the share.
Prices have no drift here: synthetic ones are martingales, real ones lose their past mean.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from data.market import MarketRegime
from data.market_config import PriceLaw, SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.price_traces import PriceTable
from data.scenario import Array, ScenarioArrays, ScenarioError
from utils.errors import ConfigError

Values = NDArray[np.float64]
CLUSTERED = PriceLaw()
SYNTHETIC_VOLATILITY = (100.0, 350.0)
"""Lowest and highest long-run volatility of synthetic shares, in basis points per step."""


@dataclass(frozen=True, kw_only=True)
class DeskScenarios(ScenarioArrays):
    """Episodes of several orders; every desk sells one, of a share of its own."""

    shock: Array
    """`[episode, time, desk]`: move of the price after the slice of each step was sold."""
    history: Array
    """`[episode, lookback, desk]`: moves before the first step, newest last."""
    volatility: Array
    """`[episode, desk]`: long-run standard deviation of a step's move, in basis points."""
    impact: Array
    """`[episode, desk]`: what selling evenly is expected to cost by temporary impact, in basis
    points of the order's value."""
    risk_aversion: Array
    """`[episode, desk]`: basis points paid to be rid of one squared basis point of risk."""
    impact_scale: Array
    """`[episode, desk]`: true impact over the expected one; desks do not see it."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter.

        Raises:
            ScenarioError: A shape does not fit, or a value is not finite or not above 0.
        """
        if self.shock.ndim != 3:
            raise ScenarioError(f"shock has shape {self.shock.shape}; give [episode, time, desk]")
        episodes, _, desks = self.shock.shape
        lookback = self.history.shape[1] if self.history.ndim == 3 else 0
        for field in fields(self):
            values = getattr(self, field.name)
            wanted = (episodes, lookback, desks) if field.name == "history" else (episodes, desks)
            if field.name != "shock" and values.shape != wanted:
                raise ScenarioError(f"{field.name} has shape {values.shape}; give {wanted}")
            if not np.isfinite(values).all():
                raise ScenarioError(f"{field.name} holds non-finite values; drop those episodes")
            if field.name not in {"shock", "history"} and (values <= 0).any():
                raise ScenarioError(f"{field.name} must be above 0 everywhere")


@dataclass(frozen=True, kw_only=True)
class DeskLaws:
    """How long orders take, and between which terms they are drawn."""

    num_desks: int = 4
    num_steps: int = 100
    lookback: int = 60
    urgency: tuple[float, float] = (1.5, 8.0)
    """Almgren and Chriss's kappa T: 0 sells evenly, 8 sells half in the first eleventh."""
    impact_ratio: tuple[float, float] = (0.1, 0.3)
    """Temporary impact of selling evenly over the deviation of the price over the horizon."""
    volatility_scale: float = 1.0
    """Moves that come over those of the long run; desks see only the moves themselves."""
    impact_scale: float = 1.0
    """True impact over the expected one; desks do not see it."""

    def __post_init__(self) -> None:
        """Refuse orders that cannot be.

        Raises:
            ConfigError: A field is out of range.
        """
        if min(self.num_desks, self.num_steps, self.lookback) < 1:
            raise ConfigError(f"num_desks, num_steps and lookback must be at least 1: {self}")
        for name in ("urgency", "impact_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high < np.inf:
                raise ConfigError(f"{name} is {low, high}; give 0 < lowest <= highest")
        for name in ("volatility_scale", "impact_scale"):
            if not 0 < getattr(self, name) < np.inf:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number above 0")

    def finish(
        self, moves: Values, volatility: Values, generator: np.random.Generator
    ) -> DeskScenarios:
        """Give orders to moves.

        Args:
            moves: `[episode, lookback + time, desk]`, in long-run standard deviations.
            volatility: `[episode, desk]`, in basis points per step.
            generator: Draws the terms.
        """
        horizon = volatility * np.sqrt(self.num_steps)
        impact = horizon * _draw_between(self.impact_ratio, volatility.shape, generator)
        urgency = _draw_between(self.urgency, volatility.shape, generator)
        scaled = (self.volatility_scale * moves).astype(np.float32)
        return DeskScenarios(
            shock=scaled[:, self.lookback :],
            history=scaled[:, : self.lookback],
            volatility=volatility.astype(np.float32),
            impact=impact.astype(np.float32),
            risk_aversion=(urgency**2 * impact / horizon**2).astype(np.float32),
            impact_scale=np.full(volatility.shape, self.impact_scale, np.float32),
        )


class SyntheticDesks:
    """A scenario source of synthetic shares: volatility comes in clusters, the price is fair."""

    def __init__(self, laws: DeskLaws, prices: PriceLaw = CLUSTERED) -> None:
        """Prepare the market.

        Args:
            laws: Of the orders.
            prices: Of the moves.
        """
        self._laws = laws
        regime = MarketRegime.SIDEWAYS
        self._market = SyntheticMarket(
            SyntheticMarketConfig(
                max_symbols=laws.num_desks,
                max_steps=laws.lookback + laws.num_steps,
                lookback=1,
                regime=regime,
                martingale=True,
                law=prices,
            )
        )
        self._step_deviation = regime.volatility / np.sqrt(SyntheticMarketConfig().steps_per_year)

    def draw(self, num_episodes: int, generator: np.random.Generator) -> DeskScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        drawn = self._market.draw(num_episodes, generator).log_return.astype(np.float64)
        shape = (num_episodes, self._laws.num_desks)
        volatility = _draw_between(SYNTHETIC_VOLATILITY, shape, generator)
        return self._laws.finish(np.expm1(drawn) / self._step_deviation, volatility, generator)


class RealDesks:
    """A scenario source of real shares; desks of an episode sell different ones in the same days.

    A move is the day's return less the mean of the days that are known, over their deviation.
    """

    def __init__(self, known: PriceTable, played: PriceTable, laws: DeskLaws) -> None:
        """Keep the moves.

        Args:
            known: Days that mean and deviation are taken from.
            played: Days that episodes are cut from, of the same shares.
            laws: Of the orders.

        Raises:
            ConfigError: The shares differ, or the days do not fill an episode.
        """
        if known.symbols != played.symbols:
            raise ConfigError("known and played days must be of the same shares, in one order")
        returns = np.expm1(known.log_return)
        deviation = returns.std(0)
        self._moves = (np.expm1(played.log_return) - returns.mean(0)) / deviation
        self._volatility = 1e4 * deviation
        self._laws = laws
        self._window = laws.lookback + laws.num_steps
        if len(self._moves) < self._window:
            raise ConfigError(
                f"{len(self._moves)} days do not fill an episode of {self._window}; give more"
            )
        self.num_starts = len(self._moves) - self._window + 1

    def draw(self, num_episodes: int, generator: np.random.Generator) -> DeskScenarios:
        """Cut episodes at random.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        return self.cut(generator.integers(self.num_starts, size=num_episodes), generator)

    def cut(self, starts: NDArray[np.intp], generator: np.random.Generator) -> DeskScenarios:
        """Cut episodes at given days.

        Args:
            starts: `[episode]`: day of the oldest known move.
            generator: Draws shares and terms; prices have no chance left.
        """
        shares, desks = len(self._volatility), self._laws.num_desks
        rounds = -(-desks // shares)
        dealt = [
            np.concatenate([generator.permutation(shares) for _ in range(rounds)])[:desks]
            for _ in starts
        ]
        chosen = np.stack(dealt)
        days = starts[:, None] + np.arange(self._window)
        moves = self._moves[days[:, :, None], chosen[:, None]]
        return self._laws.finish(moves, self._volatility[chosen], generator)


def mirror(scenarios: DeskScenarios) -> DeskScenarios:
    """Return the same orders with every coming move turned round.

    Played together with its mirror image an episode tells what a schedule costs, and much less of
    whether prices rose.

    Args:
        scenarios: The episodes.
    """
    return replace(scenarios, shock=-scenarios.shock)


def _draw_between(
    limits: tuple[float, float], shape: tuple[int, ...], generator: np.random.Generator
) -> Values:
    """Draw so that every doubling is equally likely."""
    low, high = (float(np.log(limit)) for limit in limits)
    return np.asarray(np.exp(generator.uniform(low, high, size=shape)))
