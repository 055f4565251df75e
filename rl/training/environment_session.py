"""One episode of a world, played by somebody outside: the child's side, one question at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from rl.environments.base_environment import AgentGroup, EpisodeEndedError
from rl.environments.catalog import make_world, with_actions
from rl.environments.faces import DictEnvironment
from utils.errors import QuartermasterError

MOST_STEPS = 10_000
LARGEST_TRAJECTORY_BYTES = 64 << 20
LARGEST_PAGE_BYTES = 512 << 10
"""A page must fit into one frame."""


class Asker(Protocol):
    """What the supervisor gives a child that serves."""

    def next_question(self) -> dict[str, Any] | None:
        """Wait for a question; None means stop."""
        ...

    def emit(self, type_: str, payload: Mapping[str, Any]) -> None:
        """Answer."""
        ...


class PlayedEpisode:
    """A world in its one episode, and all that has happened in it."""

    def __init__(self, environment: str, actions: Any, seed: int) -> None:
        """Build the world and begin.

        Args:
            environment: Its name in the catalog.
            actions: `own`, `binned` or `units`.
            seed: Of the scenarios.

        Raises:
            ConfigError: There is no such world, or the actions do not fit it.
        """
        core = with_actions(make_world(environment, num_envs=1, seed=seed), actions)
        self._world = DictEnvironment(core)
        observations, infos = self._world.reset(seed)
        self._groups = core.groups
        self._lines: list[str] = []
        self._bytes = 0
        self._has_ended = False
        self._first = {"observations": _plain(observations), "info": _plain(infos)}

    def describe(self) -> dict[str, Any]:
        """Return who acts, what they see and may do, and their first observations."""
        names = self._world.possible_agents
        agents = {names[i]: _describe(group) for group in self._groups for i in group.members}
        return {"agents": agents, **self._first}

    def step(self, actions: Mapping[str, Any]) -> dict[str, Any]:
        """Let all agents act once.

        Args:
            actions: Per agent; one that is left out acts zero.

        Raises:
            EpisodeEndedError: The episode is over, or too long to be kept.
            InvalidActionError: An action has the wrong size or is not finite.
            UnknownAgentError: An action names an agent that does not exist.
        """
        if len(self._lines) >= MOST_STEPS or self._bytes > LARGEST_TRAJECTORY_BYTES:
            raise EpisodeEndedError("the trajectory is full; open another session")
        if self._has_ended:
            raise EpisodeEndedError("the episode has ended; open another session")
        observations, rewards, terminated, truncated, infos = self._world.step(actions)
        self._has_ended = not self._world.agents
        step = {
            "step": len(self._lines) + 1,
            "observations": _plain(observations),
            "rewards": _plain(rewards),
            "terminated": terminated,
            "truncated": truncated,
            "has_ended": self._has_ended,
            "info": _plain(infos),
        }
        line = json.dumps({"actions": _plain(dict(actions)), **step})
        self._lines.append(line)
        self._bytes += len(line)
        return step

    def trajectory(self, offset: int, limit: int) -> dict[str, Any]:
        """Return some of the steps so far; fewer than asked for where they are large.

        Args:
            offset: How many to leave out at the beginning.
            limit: At most so many.
        """
        steps: list[Any] = []
        size = 0
        for line in self._lines[offset : offset + limit]:
            size += len(line)
            if steps and size > LARGEST_PAGE_BYTES:
                break
            steps.append(json.loads(line))
        return {"total": len(self._lines), "offset": offset, "steps": steps}


def serve(spec: Mapping[str, Any], context: Asker) -> dict[str, Any]:
    """Play one episode as asked, until told to stop.

    Args:
        spec: Environment, actions and seed.
        context: Of the child.
    """
    try:
        episode = PlayedEpisode(spec["environment"], spec["actions"], spec["seed"])
    except QuartermasterError as error:
        context.emit("refused", _problem(error))
        return {}
    context.emit("answer", episode.describe())
    while (question := context.next_question()) is not None:
        try:
            if question["ask"] == "step":
                answer = episode.step(question["actions"])
            else:
                answer = episode.trajectory(question["offset"], question["limit"])
            context.emit("answer", answer)
        except (QuartermasterError, ValueError, TypeError) as error:
            context.emit("refused", _problem(error))
    return {}


def _describe(group: AgentGroup) -> dict[str, Any]:
    action = group.action
    return {
        "observation_size": group.observation_size,
        "action": {
            "kind": action.kind,
            "size": action.size,
            "low": action.low,
            "high": action.high,
        },
    }


def _problem(error: Exception) -> dict[str, Any]:
    return {"message": str(error), "is_conflict": isinstance(error, EpisodeEndedError)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
