"""Every world by name, as a preset that plays at once on synthetic scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rl.domains.world_sizes import WORLDS, WorldSizes, check_sizes
from rl.environments.discrete_faces import BinnedActions, UnitActions
from rl.environments.world_builders import BUILDERS, Build, World
from utils.errors import ConfigError

Actions = Literal["own", "binned", "units"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One world."""

    about: str
    """What is decided in it."""
    build: Build
    """Builds so many copies from a seed, of chosen sizes."""
    has_many_agents: bool = False

    def make(self, num_envs: int, seed: int) -> World:
        """Build copies of the usual sizes.

        Args:
            num_envs: How many.
            seed: Of the scenarios and of the choice among them.
        """
        return self.build(num_envs, seed, WorldSizes())


def make_world(
    name: str, *, num_envs: int = 64, seed: int = 0, sizes: WorldSizes | None = None
) -> World:
    """Build copies of a world.

    Args:
        name: In `PRESETS`.
        num_envs: How many copies.
        seed: Of the scenarios and of the choice among them.
        sizes: Of the world; None for those of the preset.

    Raises:
        ConfigError: There is no such world, or it has no such sizes.
    """
    if name not in PRESETS:
        raise ConfigError(f"no world {name!r}; there are {', '.join(PRESETS)}")
    chosen = sizes or WorldSizes()
    check_sizes(name, chosen)
    return PRESETS[name].build(num_envs, seed, chosen)


def with_actions(world: World, actions: Actions) -> World | BinnedActions | UnitActions:
    """Return the world as agents see it that set amounts, or that choose.

    Args:
        world: Any.
        actions: `own` are the world's; `binned` a grid of joint actions, `units` one unit at a
            time, both for worlds of continuous actions.

    Raises:
        ConfigError: The actions are unknown or do not fit the world.
    """
    if actions == "own":
        return world
    if actions == "binned":
        return BinnedActions(world)
    if actions == "units":
        return UnitActions(world)
    raise ConfigError(f"actions {actions!r}; known: own, binned, units")


MANY_AGENTS = frozenset(
    {
        "service_agents",
        "service_market",
        "distributed_nodes",
        "distributed_nodes_deadlines",
        "trading",
    }
)
PRESETS: dict[str, Preset] = {
    name: Preset(about=about, build=BUILDERS[name], has_many_agents=name in MANY_AGENTS)
    for name, about in WORLDS.items()
}
"""In the order of `WORLDS`."""
