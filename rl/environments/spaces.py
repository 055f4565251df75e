"""Gymnasium spaces of agents, as the faces of an environment show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, Space

from rl.environments.base_environment import ActionSpec, AgentGroup, InvalidActionError
from utils.errors import ConfigError


class UnknownAgentError(InvalidActionError):
    """An action names an agent that the environment does not have."""


class AgentSpaces(Space[Any]):
    """The space of one agent, and of each: `space.sample()` and `space(agent)` both work."""

    def __init__(self, spaces: Mapping[str, Space[Any]]) -> None:
        """Keep the spaces.

        Args:
            spaces: Per agent; the same object is handed out on every call.
        """
        self._spaces = dict(spaces)
        self._first = next(iter(self._spaces.values()))
        super().__init__(self._first.shape, self._first.dtype)

    def __call__(self, agent: str) -> Space[Any]:
        """Return the space of one agent.

        Args:
            agent: Its name.

        Raises:
            UnknownAgentError: There is no such agent.
        """
        if agent not in self._spaces:
            raise UnknownAgentError(f"no agent {agent!r}; there are {', '.join(self._spaces)}")
        return self._spaces[agent]

    @property
    def is_np_flattenable(self) -> bool:
        """Whether an element can be flattened to a Box."""
        return self._first.is_np_flattenable

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> Any:
        """Draw an element for any one agent.

        Args:
            mask: As in the space of one agent.
            probability: As in the space of one agent.

        Raises:
            ConfigError: The agents have different spaces.
        """
        return self._one().sample(mask, probability)

    def seed(self, seed: int | None = None) -> Any:
        """Seed the space of every agent, each differently.

        Args:
            seed: Any number.
        """
        return {
            agent: space.seed(None if seed is None else seed + position)
            for position, (agent, space) in enumerate(self._spaces.items())
        }

    def contains(self, x: Any) -> bool:
        """Return whether a value lies in the space of any one agent.

        Args:
            x: The value.
        """
        return self._one().contains(x)

    def _one(self) -> Space[Any]:
        if any(space != self._first for space in self._spaces.values()):
            raise ConfigError("the agents have different spaces; ask for one by space(agent)")
        return self._first


def make_observation_space(group: AgentGroup) -> Box:
    """Return what agents of one kind observe.

    Args:
        group: The kind.
    """
    size = (group.observation_size,)
    return Box(group.observation_low, group.observation_high, size, np.float32)


def make_action_space(action: ActionSpec) -> Box | Discrete:
    """Return what an agent may do.

    Args:
        action: In the terms of the batched environment.
    """
    if action.kind == "discrete":
        return Discrete(action.size)
    return Box(action.low, action.high, (action.size,), np.float32)
