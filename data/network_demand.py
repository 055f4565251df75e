"""Customers of a network of stock, from laws drawn at random: what learning has to cope with."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from data.scenario import Array, ScenarioArrays, ScenarioError
from data.supply_demand import LEAST_MEAN
from utils.errors import ConfigError

Span = tuple[float, float]
KINDS = (0.2, 0.4, 0.4)
"""Shares of stationary demand, of trend with season, and of both with a shock."""


@dataclass(frozen=True, kw_only=True)
class NetworkDemand(ScenarioArrays):
    """Episodes of one market."""

    mean: Array
    """`[episode, time]`: of Poisson demand at neutral goodwill."""
    normal: Array
    """`[episode, time]`: standard normal numbers, the chance in demand."""
    waits: Array
    """`[episode]`: 1 where customers wait for what is not delivered, 0 where they leave."""
    remembers: Array
    """`[episode]`: 1 where customers remember how they were served, 0 where not."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        episodes, steps = self.mean.shape
        wanted = {"normal": (episodes, steps), "waits": (episodes,), "remembers": (episodes,)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ScenarioError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        for field in fields(self):
            if not np.isfinite(getattr(self, field.name)).all():
                raise ScenarioError(f"{field.name} holds numbers that are not finite")
        if (self.mean <= 0).any():
            raise ScenarioError("mean holds numbers that are not above 0")
        for name in ("waits", "remembers"):
            if not np.isin(getattr(self, name), (0, 1)).all():
                raise ScenarioError(f"{name} must hold 0 or 1 only")


@dataclass(frozen=True, kw_only=True)
class DemandSpread:
    """Between which bounds the numbers of a law are drawn; a span of equal bounds is one number.

    The defaults are wide; `FAMILY` is gym-invmgmt's own law.
    """

    base: Span = (12.0, 30.0)
    trend: Span = (-0.01, 0.07)
    season: Span = (0.1, 0.7)
    period: Span = (8.0, 40.0)
    shock_step: Span = (5.0, 24.0)
    shock: Span = (0.5, 2.5)

    def __post_init__(self) -> None:
        """Refuse spans that run backwards and means below nothing."""
        for field in fields(self):
            low, high = getattr(self, field.name)
            if not low <= high:
                raise ConfigError(f"{field.name} must run from low to high, not {low} to {high}")
        if min(self.base[0], self.period[0]) <= 0 or self.shock[0] < 0:
            raise ConfigError(f"base, period > 0 and shock >= 0 are needed: {self}")

    def draw(
        self, num_episodes: int, num_steps: int, generator: np.random.Generator
    ) -> NDArray[np.float64]:
        """Draw the mean of demand, `[episode, time]`.

        Args:
            num_episodes: How many.
            num_steps: Of every episode.
            generator: The only source of chance.
        """
        shape, steps = (num_episodes, 1), np.arange(num_steps)
        kind = generator.choice(len(KINDS), size=shape, p=KINDS)
        spans: dict[str, Span] = {field.name: getattr(self, field.name) for field in fields(self)}
        drawn = {name: generator.uniform(*span, shape) for name, span in spans.items()}
        wave = np.sin(2 * np.pi / drawn["period"] * steps)
        moving = (1 + drawn["trend"] * steps) * (1 + drawn["season"] * wave)
        mean = drawn["base"] * np.where(kind >= 1, moving, 1.0)
        is_shocked = (kind == 2) & (steps >= np.floor(drawn["shock_step"]))
        mean = mean * np.where(is_shocked, drawn["shock"], 1.0)
        return np.asarray(np.maximum(LEAST_MEAN, mean), np.float64)


FAMILY = DemandSpread(
    base=(20.0, 20.0),
    trend=(0.05, 0.05),
    season=(0.5, 0.5),
    period=(30.0, 30.0),
    shock_step=(15.0, 15.0),
    shock=(2.0, 2.0),
)


@dataclass(frozen=True, kw_only=True)
class NetworkDemandSource:
    """A scenario source: some episodes of the family, the others of laws drawn wide."""

    num_steps: int = 30
    wide_share: float = 0.5
    wide: DemandSpread = DemandSpread()

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1] and empty episodes."""
        if self.num_steps < 1 or not 0 <= self.wide_share <= 1:
            raise ConfigError(f"num_steps >= 1 and wide_share in [0, 1] are needed: {self}")

    def draw(self, num_episodes: int, generator: np.random.Generator) -> NetworkDemand:
        """Draw episodes; half of them wait, and half of them remember, independently.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        is_wide = generator.random((num_episodes, 1)) < self.wide_share
        size = (num_episodes, self.num_steps)
        mean = np.where(is_wide, self.wide.draw(*size, generator), FAMILY.draw(*size, generator))
        return NetworkDemand(
            mean=mean.astype(np.float32),
            normal=generator.standard_normal(size).astype(np.float32),
            waits=generator.integers(0, 2, num_episodes).astype(np.float32),
            remembers=generator.integers(0, 2, num_episodes).astype(np.float32),
        )
