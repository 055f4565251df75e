"""Which algorithm can learn which kind of task; asked before anything is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utils.errors import ConfigError

Algorithm = Literal["ppo", "mappo", "dqn", "sac", "td3", "maddpg", "matd3", "qmix", "vdn", "apg"]
Kind = Literal["continuous", "discrete"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a world asks of a learner."""

    kind: Kind
    """Of the actions."""
    num_agents: int = 1
    state_size: int = 0
    """Length of the global state; 0 for none."""
    num_costs: int = 0
    is_differentiable: bool = False


@dataclass(frozen=True, kw_only=True)
class Capability:
    """What an algorithm can do, and what it must have."""

    kinds: tuple[Kind, ...]
    """Of actions that it chooses."""
    needs_team: bool = False
    """Two agents or more."""
    needs_state: bool = False
    """A global state."""
    needs_gradient: bool = False
    """A differentiable world."""
    limits_costs: bool = False
    learns_from: Literal["blocks", "replay", "episodes"] = "replay"
    alone: Algorithm | None = None
    """Its like for a single agent."""


BOTH: tuple[Kind, ...] = ("continuous", "discrete")
CAPABILITIES: dict[Algorithm, Capability] = {
    "ppo": Capability(kinds=BOTH, limits_costs=True, learns_from="blocks"),
    "mappo": Capability(
        kinds=BOTH, limits_costs=True, learns_from="blocks", needs_team=True, alone="ppo"
    ),
    "dqn": Capability(kinds=("discrete",)),
    "sac": Capability(kinds=("continuous",)),
    "td3": Capability(kinds=("continuous",)),
    "maddpg": Capability(kinds=BOTH, needs_team=True, alone="td3"),
    "matd3": Capability(kinds=BOTH, needs_team=True, alone="td3"),
    "qmix": Capability(kinds=("discrete",), needs_team=True, needs_state=True, alone="dqn"),
    "vdn": Capability(kinds=("discrete",), needs_team=True, alone="dqn"),
    "apg": Capability(kinds=("continuous",), needs_gradient=True, learns_from="episodes"),
}
OTHER_KIND: dict[Algorithm, Algorithm] = {
    "dqn": "sac", "sac": "dqn", "td3": "dqn", "qmix": "maddpg", "vdn": "maddpg", "apg": "ppo",
}  # fmt: skip
"""The nearest algorithm for the other kind of actions."""


def check_pairing(algorithm: Algorithm, task: Task, *, limits_costs: bool = False) -> None:
    """Refuse an algorithm that cannot learn a task.

    Args:
        algorithm: By name.
        task: What the world asks.
        limits_costs: The world's costs are to stay below limits.

    Raises:
        ConfigError: It cannot; says why, and what comes nearest.
    """
    if algorithm not in CAPABILITIES:
        raise ConfigError(f"no algorithm {algorithm!r}; there are {', '.join(CAPABILITIES)}")
    can = CAPABILITIES[algorithm]
    if can.needs_gradient and not task.is_differentiable:
        raise ConfigError(
            f"{algorithm} back-propagates through the world, and this one is not differentiable: "
            f"choose {'ppo' if task.kind == 'continuous' else 'dqn'}"
        )
    if can.needs_team and task.num_agents < 2:
        alone = _nearest_alone(can, task)
        raise ConfigError(f"{algorithm} trains a team, and this world has one agent: {alone}")
    if task.kind not in can.kinds:
        raise ConfigError(_other_actions(algorithm, task))
    if can.needs_state and task.state_size == 0:
        raise ConfigError(
            f"{algorithm} mixes by the global state, and this world has none: choose vdn"
        )
    if limits_costs and not can.limits_costs:
        raise ConfigError(f"{algorithm} cannot keep costs below a limit: choose ppo")
    if limits_costs and task.num_costs == 0:
        raise ConfigError("this world has no costs to limit: leave the limits out")


def _nearest_alone(can: Capability, task: Task) -> str:
    alone = can.alone or "ppo"
    fits = task.kind in CAPABILITIES[alone].kinds
    return f"choose {alone if fits else OTHER_KIND[alone]}"


def _other_actions(algorithm: Algorithm, task: Task) -> str:
    other = OTHER_KIND[algorithm]
    if task.kind == "discrete":
        return f"{algorithm} sets amounts, and this world wants choices: choose {other}"
    return (
        f"{algorithm} chooses, and this world wants amounts: choose {other}, or play its discrete "
        'face, with_actions(world, "binned") or "units"'
    )
