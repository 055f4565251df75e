"""Gymnasium ids of our worlds, registered only when asked for."""

from __future__ import annotations

import gymnasium

from rl.environments.gymnasium_faces import SingleAgentEnvironment, VectorEnvironment
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from rl.environments.synthetic_services import (
    DEFAULT_SERVICES,
    DEFAULT_STEPS,
    make_synthetic_services,
)

RESOURCE_ALLOCATION_ID = "quartermaster/ResourceAllocation-v0"


def register_environments() -> None:
    """Make `gymnasium.make` and `make_vec` know our ids; a second call changes nothing."""
    if RESOURCE_ALLOCATION_ID in gymnasium.registry:
        return
    gymnasium.register(
        RESOURCE_ALLOCATION_ID,
        entry_point="rl.environments.registration:make_planner",
        vector_entry_point="rl.environments.registration:make_planners",
    )


def make_planner(
    num_services: int = DEFAULT_SERVICES,
    max_steps: int = DEFAULT_STEPS,
    seed: int = 0,
    render_mode: str | None = None,
) -> SingleAgentEnvironment:
    """Build one copy of the shared services, seen by a planner.

    Args:
        num_services: How many services share the capacities.
        max_steps: Steps of an episode.
        seed: Of the synthetic episodes.
        render_mode: What `render` returns: text for `ansi`, a picture for `rgb_array`.

    Raises:
        ConfigError: A setting is out of range.
    """
    return SingleAgentEnvironment(_make_core(1, num_services, max_steps, seed), render_mode)


def make_planners(
    num_envs: int,
    num_services: int = DEFAULT_SERVICES,
    max_steps: int = DEFAULT_STEPS,
    seed: int = 0,
) -> VectorEnvironment:
    """Build copies of the shared services, each seen by a planner.

    Args:
        num_envs: How many copies.
        num_services: How many services share the capacities.
        max_steps: Steps of an episode.
        seed: Of the synthetic episodes.

    Raises:
        ConfigError: A setting is out of range.
    """
    return VectorEnvironment(_make_core(num_envs, num_services, max_steps, seed))


def _make_core(
    num_envs: int, num_services: int, max_steps: int, seed: int
) -> BatchedResourceAllocation:
    config, bank = make_synthetic_services(
        num_services=num_services, max_steps=max_steps, seed=seed
    )
    return BatchedResourceAllocation(config, bank, EnvironmentConfig(num_envs=num_envs), seed)
