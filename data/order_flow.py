"""Order flow of market-making episodes: moves of the mid price and the chance behind each fill."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from data.scenario import Array, ScenarioArrays, ScenarioError
from utils.errors import ConfigError

SIDES = ("bid", "ask")
"""Order of the last axis of everything that has two sides."""


@dataclass(frozen=True, kw_only=True)
class OrderFlowScenarios(ScenarioArrays):
    """Episodes of one asset whose mid price moves by volatility times square root of time."""

    shocks: Array
    """`[episode, time]`: standard normal, the move of the mid price at the end of each step."""
    fill_uniform: Array
    """`[episode, time, 2]` in [0, 1): a quote is filled if this is below its fill probability."""
    volatility: Array
    """`[episode]`: standard deviation of the mid price per unit of time, in currency."""
    arrival_rate: Array
    """`[episode]`: orders per unit of time that meet a quote at the mid price, on each side."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        if self.shocks.ndim != 2 or self.shocks.size == 0:
            raise ScenarioError(
                f"shocks has shape {self.shocks.shape}; give [episode, time], neither empty"
            )
        episodes, steps = self.shocks.shape
        expected = {
            "fill_uniform": (episodes, steps, len(SIDES)),
            "volatility": (episodes,),
            "arrival_rate": (episodes,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ScenarioError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        for field in fields(self):
            if not np.isfinite(getattr(self, field.name)).all():
                raise ScenarioError(f"{field.name} holds values that are not finite; clean them")
        if (self.fill_uniform < 0).any() or (self.fill_uniform >= 1).any():
            raise ScenarioError("fill_uniform must lie in [0, 1)")
        if (self.volatility < 0).any() or (self.arrival_rate < 0).any():
            raise ScenarioError("volatility and arrival_rate must not be negative")


@dataclass(frozen=True, kw_only=True)
class OrderFlowConfig:
    """How order flow is drawn; a curriculum stage is another one of equal `num_steps`."""

    num_steps: int = 200
    volatility: float = 2.0
    arrival_rate: float = 140.0

    def __post_init__(self) -> None:
        """Refuse empty episodes and negative rates."""
        if self.num_steps < 1:
            raise ConfigError(f"num_steps must be at least 1, not {self.num_steps}")
        for name in ("volatility", "arrival_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be finite and not negative, not {value}")


class PoissonOrderFlow:
    """A scenario source of independent normal moves and independent fills: a fair market."""

    def __init__(self, config: OrderFlowConfig) -> None:
        """Keep the law.

        Args:
            config: Length of the episodes and the rates.
        """
        self._config = config

    def draw(self, num_episodes: int, generator: np.random.Generator) -> OrderFlowScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        config, shape = self._config, (num_episodes, self._config.num_steps)
        return OrderFlowScenarios(
            shocks=generator.standard_normal(shape, dtype=np.float32),
            fill_uniform=generator.random((*shape, len(SIDES)), dtype=np.float32),
            volatility=np.full(num_episodes, config.volatility, np.float32),
            arrival_rate=np.full(num_episodes, config.arrival_rate, np.float32),
        )
