"""Episodes of regions whose demand grows and fluctuates, for planners of capacity."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from data.scenario import Array, ScenarioArrays, ScenarioError
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CapacityScenarios(ScenarioArrays):
    """What the outside world asks of regions."""

    demand: Array
    """`[episode, time, region]`: units, lost where there is no capacity."""
    history: Array
    """`[episode, lookback, region]`: demand before the first step, newest last."""
    initial_lumps: Array
    """`[episode, region]`: whole lumps of capacity that stand at the beginning."""
    active: Array
    """`[episode, region]`: 1 where a region is in the world; elsewhere all is 0."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        if self.demand.ndim != 3 or self.history.ndim != 3 or 0 in self.demand.shape:
            raise ScenarioError(
                f"demand has shape {self.demand.shape} and history {self.history.shape}; give "
                "[episode, time, region] and [episode, lookback, region], not empty"
            )
        episodes, _, regions = self.demand.shape
        wanted = {
            "history": (episodes, self.history.shape[1], regions),
            "initial_lumps": (episodes, regions),
            "active": (episodes, regions),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ScenarioError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        for field in fields(self):
            values = getattr(self, field.name)
            if not np.isfinite(values).all() or (values < 0).any():
                raise ScenarioError(f"{field.name} holds negative or non-finite values")
        if (self.initial_lumps != np.rint(self.initial_lumps)).any():
            raise ScenarioError("initial_lumps holds parts of lumps; round to whole ones")
        if not np.isin(self.active, (0, 1)).all():
            raise ScenarioError("active holds values other than 0 and 1")
        is_off = self.active[:, None] == 0
        if max((one * is_off).max() for one in (self.demand, self.initial_lumps[:, None])) > 0:
            raise ScenarioError("a region that is not active has demand or lumps; set them to 0")


@dataclass(frozen=True, kw_only=True)
class CapacityDemandConfig:
    """The law of demand: level x growth x season x autocorrelated noise."""

    num_regions: int = 3
    active_regions: int | None = None
    """The others are out of the world; None switches all on."""
    max_steps: int = 60
    lookback: int = 12
    """Steps of demand that are known before the first step."""
    level: tuple[float, float] = (40.0, 80.0)
    """Units at the beginning, uniform between both, per region."""
    growth: tuple[float, float] = (0.0, 0.03)
    """Relative a step, uniform between both, per region."""
    season: float = 0.15
    """Amplitude over the level."""
    season_steps: int = 12
    noise: float = 0.1
    """Standard deviation of the logarithm, in the long run."""
    noise_memory: float = 0.6
    """Autocorrelation of the logarithm from step to step."""
    lump_units: float = 10.0
    """Units of demand a lump serves; the beginning is the level in whole lumps, rounded up."""

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn."""
        for name in ("num_regions", "max_steps", "lookback", "season_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 1 <= self.in_use <= self.num_regions:
            raise ConfigError(f"active_regions={self.in_use} must lie in 1 .. {self.num_regions}")
        if not 0 < self.level[0] <= self.level[1] < np.inf or not 0 < self.lump_units < np.inf:
            raise ConfigError("level wants 0 < lowest <= highest, lump_units above 0, all finite")
        if not -1 < self.growth[0] <= self.growth[1] < 1:
            raise ConfigError(f"growth wants -1 < lowest <= highest < 1, not {self.growth}")
        if not (0 <= self.season <= 1 and 0 <= self.noise < np.inf and 0 <= self.noise_memory < 1):
            raise ConfigError(
                "season must lie in [0, 1], noise_memory in [0, 1), noise must be finite and >= 0"
            )

    @property
    def in_use(self) -> int:
        """Regions that are in the world."""
        return self.num_regions if self.active_regions is None else self.active_regions


class CapacityDemand:
    """A scenario source of growing, seasonal, noisy demand."""

    def __init__(self, config: CapacityDemandConfig) -> None:
        """Keep the law.

        Args:
            config: The law.
        """
        self._config = config

    def draw(self, num_episodes: int, generator: np.random.Generator) -> CapacityScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        config = self._config
        each = (num_episodes, 1, config.num_regions)
        level, growth = (generator.uniform(*law, each) for law in (config.level, config.growth))
        phase = generator.uniform(0.0, 2.0 * np.pi, each)
        step = np.arange(-config.lookback, config.max_steps)[:, None]
        season = 1.0 + config.season * np.sin(2.0 * np.pi * step / config.season_steps + phase)
        shock = generator.normal(0.0, config.noise, (num_episodes, len(step), config.num_regions))
        noise, spread = np.empty_like(shock), np.sqrt(1.0 - config.noise_memory**2)
        noise[:, 0] = shock[:, 0]
        for time in range(1, len(step)):
            noise[:, time] = config.noise_memory * noise[:, time - 1] + spread * shock[:, time]
        active = np.broadcast_to(np.arange(config.num_regions) < config.in_use, each[::2])
        trend = level * (1.0 + growth) ** step
        demand = trend * season * np.exp(noise - 0.5 * config.noise**2) * active[:, None]
        lumps = np.ceil(level[:, 0] / config.lump_units) * active
        return CapacityScenarios(
            demand=demand[:, config.lookback :].astype(np.float32),
            history=demand[:, : config.lookback].astype(np.float32),
            initial_lumps=lumps.astype(np.float32),
            active=active.astype(np.float32),
        )
