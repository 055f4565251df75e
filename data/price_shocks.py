"""Price shocks of execution episodes: what the market does whatever the trader sells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.scenario import Array, ScenarioArrays, ScenarioError
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ExecutionScenarios(ScenarioArrays):
    """Episodes of one price; a shock of one is a move of one standard deviation per step."""

    shocks: Array
    """`[episode, time]`: standard normal, the move after the slice of each step was sold."""

    def __post_init__(self) -> None:
        """Check shape and values once, where scenarios enter."""
        if self.shocks.ndim != 2:
            raise ScenarioError(f"shocks has shape {self.shocks.shape}, not [episode, time]")
        if not np.isfinite(self.shocks).all():
            raise ScenarioError("shocks holds non-finite values; drop those episodes")


@dataclass(frozen=True, kw_only=True)
class ShockConfig:
    """How shocks are drawn."""

    num_steps: int = 5
    antithetic: bool = False
    """Every second episode mirrors the one before, so that the shocks of a pair sum to zero."""

    def __post_init__(self) -> None:
        """Refuse empty episodes."""
        if self.num_steps < 1:
            raise ConfigError(f"num_steps must be at least 1, not {self.num_steps}")


class NormalShocks:
    """A scenario source of independent standard normal shocks: the price is a martingale."""

    def __init__(self, config: ShockConfig) -> None:
        """Keep the law.

        Args:
            config: Length of the episodes and how they are drawn.
        """
        self._config = config

    def draw(self, num_episodes: int, generator: np.random.Generator) -> ExecutionScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        config = self._config
        drawn = (num_episodes + 1) // 2 if config.antithetic else num_episodes
        shocks = generator.standard_normal((drawn, config.num_steps), dtype=np.float32)
        if config.antithetic:
            shocks = np.stack([shocks, -shocks], axis=1).reshape((2 * drawn, config.num_steps))
        return ExecutionScenarios(shocks=shocks[:num_episodes])
