"""Synthetic demand for shared services: daily season, correlated noise, bursts, failures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.scenario import Array, WorkloadScenarios
from utils.errors import ConfigError

STEPS_PER_DAY = 288
"""Steps of five minutes."""


@dataclass(frozen=True, kw_only=True)
class ServiceDemand:
    """The demand law of one service, in work units per step."""

    mean: float
    daily_amplitude: float = 0.0
    """Swing of the daily season as a share of the mean, in [0, 1]."""
    noise: float = 0.1
    """Standard deviation of the logarithm of the noise."""
    noise_persistence: float = 0.3
    """Correlation of the noise from one step to the next, in [0, 1)."""
    shared_noise: float = 0.0
    """Share of the noise's variance that all services have in common, in [0, 1]."""
    bursts_per_day: float = 0.0
    burst_steps: float = 4.0
    """Mean length of a burst."""
    burst_height: float = 0.0
    """Work units per step that a burst adds."""
    burst_follows_profile: bool = False
    """Whether bursts take the shape of the burst source, or are flat."""

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn from."""
        shares = (self.daily_amplitude, self.noise_persistence, self.shared_noise)
        sizes = (self.mean, self.noise, self.bursts_per_day, self.burst_height)
        if min(shares) < 0 or max(shares) > 1 or self.noise_persistence == 1:
            raise ConfigError(f"shares must lie in [0, 1]: {self}")
        if min(sizes) < 0 or self.burst_steps < 1:
            raise ConfigError(f"sizes must not be negative, bursts last a step or more: {self}")


@dataclass(frozen=True, kw_only=True)
class FailureConfig:
    """How capacity fails: a part of one resource is gone for a while."""

    failures_per_day: float = 2.0
    mean_steps: float = 12.0
    smallest_loss: float = 0.2
    """Share of the capacity that the mildest failure takes."""
    largest_loss: float = 0.5

    def __post_init__(self) -> None:
        """Refuse impossible failures."""
        if not 0 <= self.smallest_loss <= self.largest_loss <= 1:
            raise ConfigError(f"losses must satisfy 0 <= smallest <= largest <= 1: {self}")
        if self.failures_per_day < 0 or self.mean_steps < 1:
            raise ConfigError(f"failures need a rate >= 0 and last a step or more: {self}")


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """What every episode of one world has in common, whatever its demand."""

    priority: tuple[float, ...]
    """Per service: value of a unit of served work."""
    capacity: tuple[float, ...]
    """Per resource: units per step when nothing fails."""
    price: tuple[float, ...]
    """Per resource: cost of a unit held idle for one step."""
    max_steps: int = 72
    lookback: int = 12
    failures: FailureConfig = FailureConfig()
    jitter: float = 0.0
    """Priorities and prices of an episode are multiplied by U(1 - jitter, 1 + jitter)."""
    demand_jitter: float = 0.0
    """The same for the demand of each service, so that no level is taken for granted."""

    def __post_init__(self) -> None:
        """Refuse empty or negative worlds."""
        if min(self.max_steps, self.lookback) < 1 or not (
            0 <= self.jitter < 1 and 0 <= self.demand_jitter < 1
        ):
            raise ConfigError("max_steps and lookback must be at least 1, jitters in [0, 1)")
        if not (self.priority and self.capacity) or len(self.price) != len(self.capacity):
            raise ConfigError("a world needs services, resources and one price per resource")
        if min(self.priority + self.price) < 0 or min(self.capacity) <= 0:
            raise ConfigError("priorities and prices must be >= 0, capacities > 0")


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """Demand laws and how far they vary between episodes."""

    services: tuple[ServiceDemand, ...]
    variation: float = 0.4
    """Means, noises and burst rates of an episode are multiplied by U(1 - v, 1 + v)."""

    def __post_init__(self) -> None:
        """Refuse an empty or negative world."""
        if not self.services or not 0 <= self.variation <= 1:
            raise ConfigError("give at least one service and a variation in [0, 1]")


class SyntheticWorkload:
    """A scenario source that draws everything from laws."""

    def __init__(
        self, config: SyntheticConfig, world: WorldConfig, burst_profile: Array | None = None
    ) -> None:
        """Keep the laws.

        Args:
            config: Demand laws, one per service of the world.
            world: Priorities, capacities, prices.
            burst_profile: `[bin]`: intensities of a real burst source, mean one; bursts
                of services that follow it take a random stretch. Without it all are flat.

        Raises:
            ConfigError: The numbers of services differ.
        """
        if len(config.services) != len(world.priority):
            raise ConfigError(
                f"{len(config.services)} demand laws for {len(world.priority)} services"
            )
        self._config = config
        self._world = world
        self._profile = np.ones(1, np.float32) if burst_profile is None else burst_profile

    def draw(self, num_episodes: int, generator: np.random.Generator) -> WorkloadScenarios:
        """Draw episodes at random times of the day.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        world = self._world
        steps = world.lookback + world.max_steps
        start = generator.integers(STEPS_PER_DAY, size=(num_episodes, 1))
        time_of_day = (start + np.arange(steps)) % STEPS_PER_DAY / STEPS_PER_DAY
        shared = _persistent_noise(num_episodes, steps, 0.3, generator)
        demand = [
            self._draw_service(law, time_of_day, shared, generator) for law in self._config.services
        ]
        return finish_scenarios(np.stack(demand, axis=-1), time_of_day, world, generator)

    def _draw_service(
        self,
        law: ServiceDemand,
        time_of_day: np.ndarray,
        shared: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        episodes, steps = time_of_day.shape
        v = self._config.variation
        mean, noise, rate, phase = (
            generator.uniform(1 - v, 1 + v, (episodes, 1)) for _ in range(4)
        )
        season = 1 + law.daily_amplitude * np.sin(2 * np.pi * (time_of_day - 0.4 - 0.1 * phase))
        own = _persistent_noise(episodes, steps, law.noise_persistence, generator)
        mixed = np.sqrt(law.shared_noise) * shared + np.sqrt(1 - law.shared_noise) * own
        sigma = law.noise * noise
        level = law.mean * mean * season * np.exp(sigma * mixed - sigma**2 / 2)
        probability = np.minimum(1, law.bursts_per_day / STEPS_PER_DAY * rate)
        active = _draw_spells(probability, law.burst_steps, steps, generator)
        profile = self._profile if law.burst_follows_profile else np.ones(1)
        offset = generator.integers(len(profile), size=(episodes, 1))
        shape = profile[(offset + np.arange(steps)) % len(profile)]
        height = law.burst_height * generator.uniform(0.7, 1.1, (episodes, 1))
        demand: np.ndarray = level + active * shape * height
        return demand


def finish_scenarios(
    demand: np.ndarray,
    time_of_day: np.ndarray,
    world: WorldConfig,
    generator: np.random.Generator,
) -> WorkloadScenarios:
    """Add capacities with failures, priorities and prices to demand.

    Args:
        demand: `[episode, lookback + time, service]`.
        time_of_day: `[episode, lookback + time]`.
        world: What the episodes have in common.
        generator: The only source of chance.
    """
    episodes = len(demand)
    lookback = world.lookback

    def factors(jitter: float, count: int) -> np.ndarray:
        return generator.uniform(1 - jitter, 1 + jitter, (episodes, count))

    def varied(base: tuple[float, ...]) -> Array:
        values: Array = (np.asarray(base) * factors(world.jitter, len(base))).astype(np.float32)
        return values

    capacity = [
        nominal * _draw_availability(episodes, world, generator) for nominal in world.capacity
    ]
    demand = demand * factors(world.demand_jitter, demand.shape[-1])[:, None]
    return WorkloadScenarios(
        history=demand[:, :lookback].astype(np.float32),
        demand=demand[:, lookback:].astype(np.float32),
        capacity=np.stack(capacity, axis=-1).astype(np.float32),
        priority=varied(world.priority),
        price=varied(world.price),
        time_of_day=time_of_day[:, lookback:].astype(np.float32),
    )


def _draw_availability(
    episodes: int, world: WorldConfig, generator: np.random.Generator
) -> np.ndarray:
    failures = world.failures
    probability = np.full((episodes, 1), failures.failures_per_day / STEPS_PER_DAY)
    failed = _draw_spells(probability, failures.mean_steps, world.max_steps, generator)
    loss = generator.uniform(failures.smallest_loss, failures.largest_loss, (episodes, 1))
    return 1 - failed * loss


def _persistent_noise(
    episodes: int, steps: int, persistence: float, generator: np.random.Generator
) -> np.ndarray:
    """Draw first-order autoregressive noise of unit variance, `[episode, time]`."""
    shocks = generator.standard_normal((episodes, steps))
    noise = np.empty_like(shocks)
    noise[:, 0] = shocks[:, 0]
    for t in range(1, steps):
        noise[:, t] = persistence * noise[:, t - 1] + np.sqrt(1 - persistence**2) * shocks[:, t]
    return noise


def _draw_spells(
    start_probability: np.ndarray, mean_steps: float, steps: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw an on-off process with geometric spells, `[episode, time]` of booleans."""
    episodes = len(start_probability)
    starts = generator.random((episodes, steps)) < start_probability
    ends = generator.random((episodes, steps)) < 1 / mean_steps
    active = np.zeros((episodes, steps), bool)
    on = np.zeros(episodes, bool)
    for t in range(steps):
        on = (on & ~ends[:, t]) | starts[:, t]
        active[:, t] = on
    return active
