"""Market episodes: what prices do by themselves, before anybody's orders move them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from data.scenario import Array, ScenarioArrays, ScenarioError

TRADING_DAYS = 252
"""Steps a year of a daily market."""


class MarketRegime(Enum):
    """Condition of a market: how much prices move, and where they tend to."""

    BULL = "bull"
    BEAR = "bear"
    SIDEWAYS = "sideways"
    VOLATILE = "volatile"
    CRISIS = "crisis"

    @property
    def volatility(self) -> float:
        """Standard deviation of the logarithm of the price over a year."""
        return _ANNUAL[self][0]

    @property
    def drift(self) -> float:
        """Rate at which the expected price grows, continuously compounded, per year."""
        return _ANNUAL[self][1]


_ANNUAL = {
    MarketRegime.BULL: (0.15, 0.15),
    MarketRegime.BEAR: (0.25, -0.15),
    MarketRegime.SIDEWAYS: (0.10, 0.0),
    MarketRegime.VOLATILE: (0.35, 0.0),
    MarketRegime.CRISIS: (0.50, -0.25),
}
REGIMES = tuple(MarketRegime)
"""In the order of their index in `MarketScenarios.regime`."""


@dataclass(frozen=True, kw_only=True)
class MarketScenarios(ScenarioArrays):
    """Episodes of a market; symbols that a stage does not use are switched off, not removed."""

    history: Array
    """`[episode, lookback, symbol]`: prices before the first step, newest last; above 0."""
    log_return: Array
    """`[episode, time, symbol]`: what the price does during each step, own impact apart."""
    volume: Array
    """`[episode, time, symbol]`: shares that others trade during each step."""
    regime: NDArray[np.int8]
    """`[episode, time]`: position in `REGIMES`."""
    noise: Array
    """`[episode, time, symbol]`: standard normal numbers for those whose trades are chance."""
    symbol_active: Array
    """`[episode, symbol]`: 1 where the symbol is traded, else 0."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        if self.log_return.ndim != 3 or self.log_return.size == 0:
            raise ScenarioError(
                f"log_return has shape {self.log_return.shape}; give [episode, time, symbol], "
                "none of them empty"
            )
        episodes, steps, symbols = self.log_return.shape
        expected = {
            "history": (episodes, self.history.shape[1], symbols),
            "volume": (episodes, steps, symbols),
            "regime": (episodes, steps),
            "noise": (episodes, steps, symbols),
            "symbol_active": (episodes, symbols),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ScenarioError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        for field in fields(self):
            if not np.isfinite(getattr(self, field.name)).all():
                raise ScenarioError(f"{field.name} holds values that are not finite; clean them")
        if (self.history <= 0).any() or (self.volume < 0).any():
            raise ScenarioError("prices in history must be above 0 and volume not negative")
        if not np.isin(self.symbol_active, (0.0, 1.0)).all():
            raise ScenarioError("symbol_active must hold zeros and ones only")
        if (self.regime < 0).any() or (self.regime >= len(REGIMES)).any():
            raise ScenarioError(f"regime must lie in 0 .. {len(REGIMES) - 1}")
