"""Stages of a curriculum over shared services: other worlds in arrays of the same shapes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from data.scenario import Array, ScenarioError, ScenarioSource, WorkloadScenarios
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StagedScenarios(WorkloadScenarios):
    """Workloads in which some services and resources do not exist."""

    service_active: Array
    """`[episode, service]`: one where the service exists, else zero."""
    resource_active: Array
    """`[episode, resource]`: one where the resource exists, else zero."""
    price_response: Array
    """`[episode]`: part of the configured price moves that happens; zero keeps prices fixed."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        super().__post_init__()
        expected = {
            "service_active": self.priority.shape,
            "resource_active": self.price.shape,
            "price_response": self.priority.shape[:1],
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ScenarioError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        for active in (self.service_active, self.resource_active):
            if not np.isin(active, (0, 1)).all() or (active.sum(-1) < 1).any():
                raise ScenarioError(
                    "service_active and resource_active must hold 0 and 1, and a 1 in every episode"
                )


@dataclass(frozen=True, kw_only=True)
class WorkloadStage:
    """What a stage makes of the episodes of a source; the defaults change nothing."""

    active_services: int | None = None
    """The first so many exist; None is all."""
    active_resources: int | None = None
    capacity_scale: float = 1.0
    demand_scale: float = 1.0
    demand_variability: float = 1.0
    """Distance of demand from its mean over the episode is multiplied by this; never below 0."""
    price_response: float = 1.0
    """Part of the configured price moves that happens."""

    def __post_init__(self) -> None:
        """Refuse empty and negative stages."""
        counts = (self.active_services, self.active_resources)
        if any(count is not None and count < 1 for count in counts):
            raise ConfigError(f"active_services and active_resources must be at least 1: {self}")
        scales = (self.capacity_scale, self.demand_scale, self.demand_variability)
        if not all(np.isfinite(scale) and scale >= 0 for scale in scales):
            raise ConfigError(f"scales must be finite and not negative: {self}")
        if not 0 <= self.price_response <= 1:
            raise ConfigError(f"price_response must lie in [0, 1], not {self.price_response}")


class StagedWorkload:
    """A scenario source that plays the episodes of another one at a stage of a curriculum."""

    def __init__(
        self, source: ScenarioSource[WorkloadScenarios], stage: WorkloadStage | None = None
    ) -> None:
        """Keep the source.

        Args:
            source: Of the largest world.
            stage: What is left of it; None is all.
        """
        self._source = source
        self._stage = stage or WorkloadStage()

    def draw(self, num_episodes: int, generator: np.random.Generator) -> StagedScenarios:
        """Draw episodes and cut them to the stage.

        Args:
            num_episodes: How many.
            generator: The only source of chance.

        Raises:
            ConfigError: The stage has more services or resources than the source.
        """
        drawn, stage = self._source.draw(num_episodes, generator), self._stage
        services = _exist(drawn.priority, stage.active_services, "services")
        resources = _exist(drawn.price, stage.active_resources, "resources")
        mean = drawn.demand.mean(1, keepdims=True)

        def scaled(demand: Array) -> Array:
            varied = demand
            if stage.demand_variability != 1:
                varied = np.maximum(mean + stage.demand_variability * (demand - mean), 0.0)
            values: Array = (stage.demand_scale * varied * services[:, None]).astype(np.float32)
            return values

        same = {field.name: getattr(drawn, field.name) for field in fields(WorkloadScenarios)}
        changed = {
            "history": scaled(drawn.history),
            "demand": scaled(drawn.demand),
            "capacity": (stage.capacity_scale * drawn.capacity * resources[:, None]).astype(
                np.float32
            ),
            "priority": drawn.priority * services,
            "price": drawn.price * resources,
        }
        return StagedScenarios(
            **(same | changed),
            service_active=services,
            resource_active=resources,
            price_response=np.full(num_episodes, stage.price_response, np.float32),
        )


def _exist(like: Array, count: int | None, what: str) -> Array:
    size = like.shape[1]
    if count is not None and count > size:
        raise ConfigError(f"active_{what} is {count}, the source has {size}; draw a larger world")
    active = np.arange(size) < (size if count is None else count)
    return np.tile(active.astype(np.float32), (len(like), 1))
