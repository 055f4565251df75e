"""Scenarios as arrays, and the bank that holds a batch of them.

A scenario is all that the outside world does to an episode; whatever agents cause is not in here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError, QuartermasterError
from utils.seeding import make_generator

Array = NDArray[np.float32]


class ScenarioError(QuartermasterError, ValueError):
    """A scenario has a wrong shape or holds a value the world cannot have."""


@dataclass(frozen=True, kw_only=True)
class ScenarioArrays:
    """Base of scenario records: frozen dataclasses of arrays, their first axis the episode."""

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(getattr(self, fields(self)[0].name))

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays, in bytes."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def take(self, index: NDArray[np.intp]) -> Self:
        """Return the episodes at the given positions.

        Args:
            index: Positions, `[chosen]`.
        """
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


Scenarios = TypeVar("Scenarios", bound=ScenarioArrays)
Drawn_co = TypeVar("Drawn_co", bound=ScenarioArrays, covariant=True)


@dataclass(frozen=True, kw_only=True)
class WorkloadScenarios(ScenarioArrays):
    """Episodes of services that share capacities; work and capacity in units per step."""

    history: Array
    """`[episode, lookback, service]`: demand before the first step, newest last."""
    demand: Array
    """`[episode, time, service]`: work arriving during each step."""
    capacity: Array
    """`[episode, time, resource]`: what is there to be shared, failures taken off."""
    priority: Array
    """`[episode, service]`: value of one unit of served work."""
    price: Array
    """`[episode, resource]`: cost of one unit held idle for one step."""
    time_of_day: Array
    """`[episode, time]`, in [0, 1)."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        episodes, steps, services = self.demand.shape
        resources = self.capacity.shape[-1]
        expected = {
            "history": (episodes, self.history.shape[1], services),
            "capacity": (episodes, steps, resources),
            "priority": (episodes, services),
            "price": (episodes, resources),
            "time_of_day": (episodes, steps),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ScenarioError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        for field in fields(self):
            values = getattr(self, field.name)
            if not np.isfinite(values).all() or (values < 0).any():
                raise ScenarioError(f"{field.name} holds negative or non-finite values")


def join_scenarios(parts: list[Scenarios]) -> Scenarios:
    """Put the episodes of several sets behind one another.

    Args:
        parts: At least one; all of one kind and of equal sizes but for the episodes.
    """
    names = [field.name for field in fields(parts[0])]
    return type(parts[0])(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def hash_scenarios(scenarios: ScenarioArrays) -> str:
    """Return a sha256 over all arrays, in hexadecimal.

    Args:
        scenarios: The episodes.
    """
    digest = hashlib.sha256()
    for field in fields(scenarios):
        values = np.ascontiguousarray(getattr(scenarios, field.name))
        digest.update(f"{field.name}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


@runtime_checkable
class ScenarioSource(Protocol[Drawn_co]):
    """Anything that can make episodes from a generator of random numbers."""

    def draw(self, num_episodes: int, generator: np.random.Generator) -> Drawn_co:
        """Make episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class BankConfig:
    """How many episodes are held, and how long."""

    num_episodes: int = 256
    refresh_every_episodes: int = 2048
    """Episodes played (summed over copies) before the bank is drawn anew."""
    max_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        """Refuse empty banks."""
        if min(self.num_episodes, self.refresh_every_episodes, self.max_bytes) < 1:
            raise ConfigError(f"bank sizes must be at least 1: {self}")


class ScenarioBank(Generic[Scenarios]):
    """A batch of episodes drawn from (source, seed, refresh counter), and from nothing else."""

    def __init__(self, source: ScenarioSource[Scenarios], config: BankConfig, seed: int) -> None:
        """Draw the first batch.

        Args:
            source: Where episodes come from.
            config: Sizes.
            seed: Seed of the run.

        Raises:
            ConfigError: The batch would exceed the byte cap.
        """
        self.config = config
        self.seed = seed
        self.refresh_counter = 0
        self._source = source
        self._check_size()
        self._draw()

    @property
    def source(self) -> ScenarioSource[Scenarios]:
        """Where episodes come from."""
        return self._source

    def refresh(self) -> None:
        """Replace all episodes by the next batch."""
        self.refresh_counter += 1
        self._draw()

    def restart(self) -> None:
        """Return to the first batch."""
        self.refresh_counter = 0
        self._draw()

    def restore(self, seed: int, refresh_counter: int, expected_hash: str) -> None:
        """Draw the batch that a checkpoint names.

        Args:
            seed: Seed the batch was drawn with.
            refresh_counter: Which batch of that seed.
            expected_hash: Hash the batch had.

        Raises:
            ScenarioError: The source no longer gives the same episodes.
        """
        before = vars(self).copy()
        self.seed, self.refresh_counter = seed, refresh_counter
        self._draw()
        if self.hash != expected_hash:
            vars(self).update(before)
            raise ScenarioError(
                "the scenario source gives other episodes than when the checkpoint was written "
                "(changed traces or generator); start a new run"
            )

    def _check_size(self) -> None:
        """Refuse a batch over the cap before it is drawn; every batch has the same size."""
        per_episode = self._source.draw(1, make_generator(self.seed, "probe")).num_bytes
        size = per_episode * self.config.num_episodes
        if size > self.config.max_bytes:
            raise ConfigError(
                f"a bank of {self.config.num_episodes} episodes takes {size} bytes, more than the "
                f"cap of {self.config.max_bytes}; hold fewer episodes or raise max_bytes"
            )

    def _draw(self) -> None:
        generator = make_generator(self.seed, "bank", self.refresh_counter)
        self.scenarios = self._source.draw(self.config.num_episodes, generator)
        self.hash = hash_scenarios(self.scenarios)


class FixedSource(Generic[Scenarios]):
    """Episodes that exist already, such as a held-out set, served in order."""

    def __init__(self, scenarios: Scenarios) -> None:
        """Keep the episodes.

        Args:
            scenarios: The set; a larger batch repeats it.
        """
        self._scenarios = scenarios

    def draw(self, num_episodes: int, generator: np.random.Generator) -> Scenarios:
        """Return the first episodes, repeating the set if it is too small.

        Args:
            num_episodes: How many.
            generator: Not used; nothing is left to chance.
        """
        del generator
        return self._scenarios.take(np.arange(num_episodes) % self._scenarios.num_episodes)


def fixed_bank(scenarios: Scenarios) -> ScenarioBank[Scenarios]:
    """Return a bank that holds given episodes, in their order, whatever their size.

    Args:
        scenarios: In memory already, so no cap applies.
    """
    size = BankConfig(num_episodes=scenarios.num_episodes, max_bytes=max(1, scenarios.num_bytes))
    return ScenarioBank(FixedSource(scenarios), size, 0)


class MixedSource(Generic[Scenarios]):
    """Episodes from several sources in fixed shares."""

    def __init__(
        self, sources: tuple[ScenarioSource[Scenarios], ...], weights: tuple[float, ...]
    ) -> None:
        """Keep the sources.

        Args:
            sources: Where episodes come from.
            weights: Share of each, positive.

        Raises:
            ConfigError: Numbers differ or a weight is not positive.
        """
        if len(sources) != len(weights) or not sources or min(weights) <= 0:
            raise ConfigError("a mixture needs one positive weight per source")
        self._sources = sources
        self._weights = np.asarray(weights) / sum(weights)

    def draw(self, num_episodes: int, generator: np.random.Generator) -> Scenarios:
        """Draw from each source its share, in shuffled order.

        Args:
            num_episodes: How many in all.
            generator: The only source of chance.
        """
        bounds = np.round(np.cumsum(self._weights) * num_episodes).astype(int)
        counts = np.diff(bounds, prepend=0)
        parts = [
            source.draw(int(count), generator)
            for source, count in zip(self._sources, counts, strict=True)
            if count
        ]
        return join_scenarios(parts).take(generator.permutation(num_episodes))
