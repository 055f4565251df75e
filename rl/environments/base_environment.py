"""What every batched environment says: agents in groups, one step record, one protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from numbers import Integral
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from utils.errors import ConfigError, QuartermasterError


class EpisodeEndedError(QuartermasterError):
    """A step was taken after the end of the episode; call reset first."""


class InvalidActionError(QuartermasterError, ValueError):
    """An action has the wrong shape or is not finite."""


MOST_STEPS = 1_000_000
"""Of an episode whose scenarios are drawn whole before it begins."""


def check_names(what: str, names: Sequence[Any]) -> tuple[str, ...]:
    """Return names that tell things apart.

    Args:
        what: They name, for the error.
        names: One at least.

    Raises:
        ConfigError: There is none, or one is no text, blank or repeated.
    """
    found: tuple[Any, ...] = (names,) if isinstance(names, str) else tuple(names)
    texts = all(isinstance(name, str) and name.strip() for name in found)
    if isinstance(names, str) or not found or not texts or len(set(found)) < len(found):
        raise ConfigError(f"{what}={names!r}: give one name or more, each a text of its own")
    return found


def check_length(max_steps: int) -> None:
    """Refuse episodes that nobody can draw.

    Args:
        max_steps: Of an episode.

    Raises:
        ConfigError: It is no whole number from 1 to `MOST_STEPS`.
    """
    if not (isinstance(max_steps, Integral) and 1 <= max_steps <= MOST_STEPS):
        raise ConfigError(f"max_steps={max_steps!r}: choose a whole number, 1 to {MOST_STEPS:,}")


class AgentRole(Enum):
    """What an agent is there for."""

    COORDINATOR = "coordinator"
    EXECUTOR = "executor"
    ANALYZER = "analyzer"
    MONITOR = "monitor"


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """One agent of an environment with the dict API."""

    agent_id: str
    role: AgentRole | str = AgentRole.EXECUTOR
    """A role or its name in lower case."""
    initial_balance: float = 100_000.0
    """Money the agent begins with, in worlds where agents own any."""

    def __post_init__(self) -> None:
        """Turn the name of a role into the role."""
        check_names("agent_id", (self.agent_id,))
        if not (math.isfinite(self.initial_balance) and self.initial_balance > 0):
            raise ConfigError(
                f"initial_balance of {self.agent_id!r} is {self.initial_balance}; give a finite "
                "amount above 0"
            )
        try:
            object.__setattr__(self, "role", AgentRole(self.role))
        except ValueError as error:
            known = ", ".join(role.value for role in AgentRole)
            raise ConfigError(f"role {self.role!r} of {self.agent_id!r}; known: {known}") from error


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """What one agent may do."""

    kind: Literal["continuous", "discrete"]
    size: int
    """Dimensions of a continuous action; number of choices of a discrete one."""
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an empty action."""
        if self.size < 1 or self.low >= self.high:
            raise ConfigError(f"an action needs size >= 1 and low < high, not {self}")


@dataclass(frozen=True, kw_only=True)
class AgentGroup:
    """Agents of one kind: the same spaces, one stack of parameters."""

    name: str
    members: tuple[int, ...]
    """Positions on the agent axis."""
    observation_size: int
    action: ActionSpec
    observation_low: float = -math.inf
    """No observation of these agents is smaller."""
    observation_high: float = math.inf


def check_action(
    action: Tensor, groups: tuple[AgentGroup, ...], shape: torch.Size | tuple[int, ...]
) -> None:
    """Refuse an action that no copy can take.

    Args:
        action: Of all agents of all copies.
        groups: All continuous or all discrete.
        shape: `[env, agent, act]`; choices have no last axis.

    Raises:
        InvalidActionError: The shape is wrong, a value is not finite, or a choice is unknown or not
            a whole number.
    """
    discrete = groups[0].action.kind == "discrete"
    wanted = tuple(shape[:2] if discrete else shape)
    if action.shape != wanted:
        raise InvalidActionError(f"action has shape {tuple(action.shape)}, not {wanted}")
    # The sum is cheaper to look at, and finite only if all are; it may overflow if they are.
    if not torch.isfinite(action.sum()) and not torch.isfinite(action).all():
        raise InvalidActionError("action holds a value that is not finite")
    if not discrete:
        return
    if action.is_floating_point() and (action != action.round()).any():
        raise InvalidActionError("choices must be whole numbers; action holds a fraction")
    for group in groups:
        choices = action[:, list(group.members)]
        if ((choices < 0) | (choices >= group.action.size)).any():
            raise InvalidActionError(
                f"choices of {group.name} must lie in 0 .. {group.action.size - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Figures of a step that belong in one panel of a picture."""

    title: str
    metrics: tuple[str, ...]
    """Names in the metrics or reward terms of the step record."""
    unit: str = ""
    is_sum: bool = False
    """Show what has come together since the episode began, such as money, not each step alone."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """All that one step of every copy tells; sizes are padded to the largest agent."""

    observation: Float[Tensor, "env agent obs"]
    """After an episode's end: the first observation of the next one (autoreset SAME_STEP)."""
    action_mask: Bool[Tensor, "env agent act"]
    """True where a dimension or choice is in use."""
    agent_alive: Bool[Tensor, "env agent"]
    reward: Float[Tensor, "env agent"]
    cost: Float[Tensor, "env agent constraint"]
    terminated: Bool[Tensor, " env"]
    truncated: Bool[Tensor, " env"]
    final_observation: Float[Tensor, "env agent obs"]
    """The last observation of the episode where one ended, else `observation`."""
    global_state: Float[Tensor, "env state"]
    final_global_state: Float[Tensor, "env state"]
    """The last one of the episode where one ended, else `global_state`."""
    metrics: Mapping[str, Tensor]
    """Named figures of the step, `[env]` each."""
    reward_terms: Mapping[str, Tensor] = field(default_factory=dict)
    """Named parts that sum to the reward, `[env, agent]` each; empty where it has none."""


@runtime_checkable
class BatchedEnvironment(Protocol):
    """Many copies of one world, stepped as one program."""

    num_envs: int
    num_agents: int
    agent_ids: tuple[str, ...]
    groups: tuple[AgentGroup, ...]
    observation_size: int
    state_size: int
    num_costs: int
    device: torch.device

    def reset(self, seed: int | None = None) -> StepRecord:
        """Begin a new episode in every copy; a seed begins the whole sequence anew."""
        ...

    def step(self, action: Tensor) -> StepRecord:
        """Advance every copy by one step."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that is needed to continue bit for bit."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that `state_dict` returned."""
        ...
