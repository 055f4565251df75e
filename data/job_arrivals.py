"""Episodes of jobs that arrive at a cluster: how long each runs and how much it occupies.

The law is DeepRM's (Mao et al., Resource management with deep reinforcement learning, HotNets 2016;
parameters.py and job_distribution.py of its repository).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from data.scenario import Array, ScenarioArrays, ScenarioError
from utils.errors import ConfigError

Steps = NDArray[np.int16]


@dataclass(frozen=True, kw_only=True)
class JobScenarios(ScenarioArrays):
    """What arrives at a cluster; at most one job in each step, all amounts in whole units."""

    length: Steps
    """`[episode, time]`: steps that the job arriving at this time runs; 0 where none arrives."""
    need: Array
    """`[episode, time, resource]`: units it occupies while it runs."""
    capacity: Array
    """`[episode, resource]`: units there are; 0 switches a resource off."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        if self.length.ndim != 2 or 0 in self.length.shape:
            raise ScenarioError(
                f"length has shape {self.length.shape}; give [episode, time], not empty"
            )
        if self.need.ndim != 3 or self.need.shape[:2] != self.length.shape:
            raise ScenarioError(
                f"need has shape {self.need.shape}, not {(*self.length.shape, 'resource')}"
            )
        wanted = (len(self.length), self.need.shape[2])
        if self.capacity.shape != wanted:
            raise ScenarioError(f"capacity has shape {self.capacity.shape}, not {wanted}")
        for field in fields(self):
            values = getattr(self, field.name)
            if not np.isfinite(values).all() or (values < 0).any():
                raise ScenarioError(f"{field.name} holds negative or non-finite values")
            if (values != np.rint(values)).any():
                raise ScenarioError(f"{field.name} holds parts of units; round to whole ones")
        if not (self.capacity > 0).any(1).all():
            raise ScenarioError("capacity is 0 everywhere; switch on one resource at least")
        is_job = self.length[..., None] > 0
        if (is_job & (self.need > self.capacity[:, None])).any():
            raise ScenarioError("need exceeds capacity; such a job can never run, drop it")
        if ((self.need.sum(-1) > 0) != is_job[..., 0]).any():
            raise ScenarioError("need must be above 0 exactly where length is: a job needs both")


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """The law of arrivals and jobs; the defaults are DeepRM's."""

    arrival_rate: float = 0.7
    """Chance that a job arrives in a step."""
    num_arrival_steps: int = 50
    """Jobs arrive as steps pass: none is there in the first, as in DeepRM's code."""
    num_resources: int = 2
    active_resources: int | None = None
    """The others have no capacity and are not needed; None switches all on."""
    capacity: int = 10
    """Units of every resource."""
    long_share: float = 0.2
    """Chance that a job is a long one."""
    short_length: tuple[int, int] = (1, 3)
    """Uniform between both, steps."""
    long_length: tuple[int, int] = (10, 15)
    dominant_need: tuple[int, int] = (5, 10)
    """Of one resource, drawn with equal chance; uniform, units."""
    other_need: tuple[int, int] = (1, 2)

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn."""
        if not (0 <= self.arrival_rate <= 1 and 0 <= self.long_share <= 1):
            raise ConfigError(
                f"arrival_rate and long_share are chances in [0, 1], not {self.arrival_rate} and "
                f"{self.long_share}; for a load over what one job a step brings, lengthen the jobs"
            )
        if self.num_arrival_steps < 2 or min(self.num_resources, self.num_active) < 1:
            raise ConfigError(
                "num_arrival_steps must be at least 2, num_resources and active_resources 1"
            )
        if self.num_active > self.num_resources:
            raise ConfigError(
                f"active_resources={self.num_active} exceeds num_resources={self.num_resources}"
            )
        for name in ("short_length", "long_length", "dominant_need", "other_need"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ConfigError(f"{name} must be (low, high) with 1 <= low <= high")
        if max(self.dominant_need[1], self.other_need[1]) > self.capacity:
            raise ConfigError("a need exceeds capacity; lower the need or raise capacity")

    @property
    def num_active(self) -> int:
        """Resources that are in the world."""
        return self.num_resources if self.active_resources is None else self.active_resources

    @property
    def work_per_job(self) -> float:
        """Expected share of one resource's capacity times steps that a job occupies.

        Mean length times mean need over capacity; a resource is dominant once in `num_active`.
        DeepRM's: (.8 x 2 + .2 x 12.5) x (7.5 + 1.5) / 2 / 10 = 1.845.
        """
        short, long, dominant, other = (
            (low + high) / 2
            for low, high in (
                self.short_length,
                self.long_length,
                self.dominant_need,
                self.other_need,
            )
        )
        length = (1 - self.long_share) * short + self.long_share * long
        need = (dominant + (self.num_active - 1) * other) / self.num_active
        return length * need / self.capacity

    @property
    def load(self) -> float:
        """Expected work that arrives in a step as a share of what is there."""
        return self.arrival_rate * self.work_per_job


def rate_for_load(load: float, config: JobConfig) -> float:
    """Return the arrival rate that makes a load; DeepRM's jobs at 50 % and 130 %: .271 and .705.

    Args:
        load: Work arriving in a step as a share of the capacity.
        config: The law; its own rate is not used.

    Raises:
        ConfigError: More than one job a step would be needed, or the load is negative.
    """
    rate = load / config.work_per_job
    if not 0 <= rate <= 1:
        raise ConfigError(
            f"a load of {load:.0%} wants {rate:.2f} jobs a step; ask for 0 to "
            f"{config.work_per_job:.0%}, or lengthen the jobs"
        )
    return rate


class JobArrivals:
    """A scenario source of independent jobs that arrive with the same chance in every step."""

    def __init__(self, config: JobConfig) -> None:
        """Keep the law.

        Args:
            config: The law.
        """
        self._config = config

    def draw(self, num_episodes: int, generator: np.random.Generator) -> JobScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        config = self._config
        shape = (num_episodes, config.num_arrival_steps)
        arrives = generator.random(shape) < config.arrival_rate
        arrives[:, 0] = False
        is_long = generator.random(shape) < config.long_share

        def uniform(bounds: tuple[int, int], size: tuple[int, ...]) -> NDArray[np.int64]:
            return generator.integers(bounds[0], bounds[1] + 1, size)

        length = np.where(
            is_long, uniform(config.long_length, shape), uniform(config.short_length, shape)
        )
        each = (*shape, config.num_resources)
        dominant = generator.integers(0, config.num_active, shape)[..., None]
        number = np.arange(config.num_resources)
        need = np.where(
            number == dominant,
            uniform(config.dominant_need, each),
            uniform(config.other_need, each),
        )
        is_active = number < config.num_active
        return JobScenarios(
            length=(length * arrives).astype(np.int16),
            need=(need * is_active * arrives[..., None]).astype(np.float32),
            capacity=np.tile(config.capacity * is_active, (num_episodes, 1)).astype(np.float32),
        )
