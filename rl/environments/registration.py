"""Gymnasium ids of our worlds, registered only when asked for."""

from __future__ import annotations

import gymnasium

from rl.environments.base_environment import BatchedEnvironment
from rl.environments.catalog import PRESETS, Actions, make_world, with_actions
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


def id_of(name: str) -> str:
    """Return the Gymnasium id of a world of one agent.

    Args:
        name: In the catalog.
    """
    return f"quartermaster/{name.title().replace('_', '')}-v0"


def register_environments() -> None:
    """Make `gymnasium.make` and `make_vec` know our ids; a second call changes nothing.

    Worlds of many agents have no id; wrap them with `DictEnvironment`, a PettingZoo environment.
    """
    entries: dict[str, tuple[str, str, dict[str, str]]] = {
        RESOURCE_ALLOCATION_ID: ("make_planner", "make_planners", {})
    }
    entries |= {
        id_of(name): ("make_single", "make_vector", {"world": name})
        for name, preset in PRESETS.items()
        if not preset.has_many_agents
    }
    here = "rl.environments.registration"
    for name, (single, vector, kwargs) in entries.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point=f"{here}:{single}",
                vector_entry_point=f"{here}:{vector}",
                kwargs=kwargs,
            )


def make_single(
    world: str, seed: int = 0, actions: Actions = "own", render_mode: str | None = None
) -> SingleAgentEnvironment:
    """Build one copy of a world of the catalog.

    Args:
        world: Its name.
        seed: Of the scenarios.
        actions: As the world takes them, or one of the discrete faces.
        render_mode: What `render` returns: text for `ansi`, a picture for `rgb_array`.

    Raises:
        ConfigError: There is no such world, or it has many agents.
    """
    core: BatchedEnvironment = with_actions(make_world(world, num_envs=1, seed=seed), actions)
    return SingleAgentEnvironment(core, render_mode)


def make_vector(
    num_envs: int, world: str, seed: int = 0, actions: Actions = "own"
) -> VectorEnvironment:
    """Build copies of a world of the catalog.

    Args:
        num_envs: How many copies.
        world: Its name.
        seed: Of the scenarios.
        actions: As the world takes them, or one of the discrete faces.

    Raises:
        ConfigError: There is no such world, or it has many agents.
    """
    core = with_actions(make_world(world, num_envs=num_envs, seed=seed), actions)
    return VectorEnvironment(core)


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
