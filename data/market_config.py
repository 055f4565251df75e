"""Settings of the synthetic market: how one price moves, how symbols differ, what a stage uses."""

from __future__ import annotations

import math
from dataclasses import dataclass

from data.market import TRADING_DAYS, MarketRegime
from utils.errors import ConfigError


def check_range(name: str, value: float, lowest: float, highest: float) -> None:
    """Refuse a setting outside its range.

    Args:
        name: Of the field, for the message.
        value: What was set.
        lowest: Smallest allowed value.
        highest: Largest allowed value.

    Raises:
        ConfigError: The value lies outside, or is not a number.
    """
    if not lowest <= value <= highest:
        raise ConfigError(f"{name} is {value}; give a number from {lowest} to {highest}")


@dataclass(frozen=True, kw_only=True)
class VolatilityScale:
    """One time scale of volatility: an autoregression of order one in its logarithm."""

    half_life: float
    """Steps after which half of a shock is left."""
    deviation: float
    """Standard deviation of the logarithm of volatility that this scale alone would give."""

    def __post_init__(self) -> None:
        """Refuse scales that do not forget, or that swing beyond any market."""
        check_range("half_life", self.half_life, 0.1, 1e6)
        check_range("deviation", self.deviation, 0.0, 2.0)

    @property
    def persistence(self) -> float:
        """Share of a shock that is left after one step."""
        return float(0.5 ** (1 / self.half_life))


@dataclass(frozen=True, kw_only=True)
class PriceLaw:
    """How a price moves around its drift; sizes are in standard deviations of a step.

    Stochastic volatility on several time scales, all fed by one shock that is correlated with the
    return of the step before (leverage), Student-t innovations, and jumps. The default is a daily
    share price; `PLAIN` is geometric Brownian motion.
    """

    scales: tuple[VolatilityScale, ...] = (
        VolatilityScale(half_life=5.0, deviation=0.20),
        VolatilityScale(half_life=50.0, deviation=0.22),
        VolatilityScale(half_life=500.0, deviation=0.26),
    )
    leverage: float = -0.45
    """Correlation of a return's innovation with the next shock of volatility, in (-1, 1)."""
    innovation_kurtosis: float = 1.25
    """Excess kurtosis of the innovations; 0 is normal, else Student with 4 + 6 / kurtosis."""
    jump_probability: float = 0.003
    """Chance per step that the price jumps."""
    jump_mean: float = -0.5
    jump_deviation: float = 4.0

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn from."""
        object.__setattr__(self, "scales", tuple(self.scales))
        check_range("leverage", self.leverage, -0.99, 0.99)
        check_range("innovation_kurtosis", self.innovation_kurtosis, 0.0, 50.0)
        check_range("jump_probability", self.jump_probability, 0.0, 1.0)
        check_range("jump_mean", self.jump_mean, -50.0, 50.0)
        check_range("jump_deviation", self.jump_deviation, 0.0, 50.0)
        if self.jump_variance >= 1:
            raise ConfigError(
                f"jumps alone have {self.jump_variance:.2f} times the variance of a step; lower "
                "jump_probability, jump_mean or jump_deviation"
            )

    @property
    def jump_variance(self) -> float:
        """Share of the variance that comes from jumps."""
        second = self.jump_mean**2 + self.jump_deviation**2
        return self.jump_probability * second - (self.jump_probability * self.jump_mean) ** 2


PLAIN = PriceLaw(scales=(), leverage=0.0, innovation_kurtosis=0.0, jump_probability=0.0)
"""Geometric Brownian motion: independent normal returns of the logarithm."""


@dataclass(frozen=True, kw_only=True)
class VolumeLaw:
    """Shares that others trade in a step: log-normal, and more where the price moves more."""

    mean: float = 1e6
    volatility_response: float = 0.6
    """Elasticity of volume to volatility, as it deviates from its mean."""
    move_response: float = 0.2
    """Rise of the logarithm of volume per standard deviation of the step's own move."""
    noise_deviation: float = 0.3
    """Standard deviation of the rest of its logarithm."""
    noise_persistence: float = 0.7
    """Correlation of that rest from one step to the next."""

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn from."""
        check_range("volume mean", self.mean, 0.0, 1e15)
        check_range("volatility_response", self.volatility_response, -3.0, 3.0)
        check_range("move_response", self.move_response, -2.0, 2.0)
        check_range("noise_deviation", self.noise_deviation, 0.0, 2.0)
        check_range("noise_persistence", self.noise_persistence, 0.0, 0.999)


@dataclass(frozen=True, kw_only=True)
class SymbolLaw:
    """How symbols differ and hang together; one entry for all, or one for each of max_symbols."""

    volatility: tuple[float, ...] = (1.0,)
    """Multiple of the regime's volatility."""
    drift: tuple[float, ...] = (0.0,)
    """Added to the regime's drift, per year."""
    loadings: tuple[tuple[float, ...], ...] = ((0.6,),)
    """Correlation with each of the common factors.

    The innovations of symbols i and j correlate by the dot product of their rows; returns a little
    less, since their volatilities are only partly shared.
    """
    shared_volatility: float = 0.5
    """Share of the shocks' variance to volatility that all symbols have in common."""
    shared_jumps: float = 0.3
    """Share of the jumps that hit all symbols at once."""

    def __post_init__(self) -> None:
        """Refuse symbols that cannot be drawn."""
        for name in ("volatility", "drift", "loadings"):
            values = tuple(getattr(self, name))
            object.__setattr__(self, name, values)
            if not values:
                raise ConfigError(f"{name} is empty; give one entry, or one for each symbol")
        object.__setattr__(self, "loadings", tuple(tuple(row) for row in self.loadings))
        for value in self.volatility:
            check_range("volatility of a symbol", value, 1e-6, 1e3)
        for value in self.drift:
            check_range("drift of a symbol", value, -10.0, 10.0)
        if len({len(row) for row in self.loadings}) != 1:
            raise ConfigError("loadings has rows of unequal length; give one value per factor")
        for row in self.loadings:
            if not sum(value**2 for value in row) <= 1:
                raise ConfigError(f"loadings {row} explain more than all variance; scale them down")
        check_range("shared_volatility", self.shared_volatility, 0.0, 1.0)
        check_range("shared_jumps", self.shared_jumps, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class SyntheticMarketConfig:
    """A synthetic market; `num_symbols`, `volatility` and `regime` are what a curriculum moves."""

    max_symbols: int = 1
    """Size of the arrays."""
    num_symbols: int | None = None
    """The first so many are traded, the others switched off; None trades them all."""
    max_steps: int = 252
    lookback: int = 60
    """Prices known before the first step, at least one."""
    steps_per_year: int = TRADING_DAYS
    regime: MarketRegime | None = MarketRegime.SIDEWAYS
    """Of the first step; None draws one for each episode, all with equal chance."""
    regime_switching: bool = False
    switch_probability: float = 0.01 * 0.30
    """Chance per step to draw a regime anew, all with equal chance, if `regime_switching`."""
    volatility: float = 1.0
    """Multiplies the volatility of every regime."""
    martingale: bool = False
    """Without any drift: the expected price is always the price."""
    first_price: tuple[float, float] = (100.0, 500.0)
    """Lowest and highest price before the first step."""
    law: PriceLaw = PriceLaw()
    volume: VolumeLaw = VolumeLaw()
    symbols: SymbolLaw = SymbolLaw()

    def __post_init__(self) -> None:
        """Refuse markets that cannot be drawn."""
        object.__setattr__(self, "first_price", tuple(self.first_price))
        for name in ("max_symbols", "max_steps", "lookback", "steps_per_year"):
            check_range(name, getattr(self, name), 1, 10**9)
        check_range("num_symbols", self.active_symbols, 1, self.max_symbols)
        check_range("switch_probability", self.switch_probability, 0.0, 1.0)
        check_range("volatility", self.volatility, 0.0, 100.0)
        low, high = self.first_price
        if not 0 < low <= high < math.inf:
            raise ConfigError(f"first_price is {self.first_price}; give 0 < lowest <= highest")
        for name in ("volatility", "drift", "loadings"):
            count = len(getattr(self.symbols, name))
            if count not in (1, self.max_symbols):
                raise ConfigError(
                    f"symbols.{name} has {count} entries; give one, or "
                    f"max_symbols={self.max_symbols}"
                )

    @property
    def active_symbols(self) -> int:
        """Number of symbols that are traded."""
        return self.max_symbols if self.num_symbols is None else self.num_symbols
