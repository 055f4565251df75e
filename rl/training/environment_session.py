"""One episode of a world, played by somebody outside: the child's side, one question at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rl.domains.action_labels import action_labels
from rl.domains.world_rules import rules_of
from rl.domains.world_sizes import WorldSizes
from rl.environments.base_environment import AgentGroup, BatchedEnvironment, EpisodeEndedError
from rl.environments.catalog import make_world, with_actions
from rl.environments.faces import DictEnvironment
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.players import Player
from rl.training.session_comparison import Comparison, ComparisonOrder
from rl.training.session_players import Decider, action_of, make_player
from utils.clock import SystemClock
from utils.config import to_json
from utils.errors import QuartermasterError

MOST_STEPS = 10_000
LARGEST_TRAJECTORY_BYTES = 64 << 20
LARGEST_PAGE_BYTES = 512 << 10
"""A page must fit into one frame."""
PLAY_SECONDS = 3.0
"""After which somebody who plays many steps is told how far they came."""
LARGEST_SHOWN = 512
"""Numbers of one array of a state."""


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

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Build the world and begin.

        Args:
            spec: `environment`, its name in the catalog; `actions`, that is `own`, `binned` or
                `units`; `seed` of the scenarios; `sizes`, those that were chosen.

        Raises:
            ConfigError: There is no such world, or sizes or actions do not fit it.
        """
        self._name, self._seed = str(spec["environment"]), int(spec["seed"])
        self._actions, self._sizes = spec["actions"], WorldSizes(**spec.get("sizes", {}))
        self._world = DictEnvironment(self._build())
        observations, infos = self._world.reset(self._seed)
        self._groups = self._world.core.groups
        self._players: dict[Decider, Player] = {}
        self._references: dict[Decider, _Reference] = {}
        self._comparison: Comparison | None = None
        self._lines: list[str] = []
        self._bytes = 0
        self._has_ended = False
        self._first = {"observations": _plain(observations), "info": _plain(infos)}

    def describe(self) -> dict[str, Any]:
        """Return who acts, what they see and may do, and their first observations."""
        names = self._world.possible_agents
        core: Any = self._world.core
        plays_own = hasattr(core, "view")
        agents: dict[str, dict[str, Any]] = {}
        for group in self._groups:
            size = group.action.size
            labels = action_labels(self._name, core.config, size) if plays_own else []
            agents |= {names[i]: {**_describe(group), "labels": labels} for i in group.members}
        return {
            "agents": agents,
            "charts": [to_json(chart) for chart in getattr(core, "charts", ())],
            "experts": list(rules_of(self._name)) if plays_own else [],
            "num_costs": core.num_costs,
            **self._first,
        }

    def look(self) -> dict[str, Any]:
        """Return what is known now, array by array; large ones are left out.

        After the end it is the last observation, for the world has begun its next episode.
        """
        core: Any = self._world.core
        state = {"observation": self._world.record.final_observation[0].numpy()}
        if hasattr(core, "view") and not self._has_ended:
            state = _flatten(view_to_numpy(core.view))
        return {
            "step": len(self._lines),
            "state": {
                name: {"shape": list(values.shape), "values": _plain(values.ravel().astype(float))}
                for name, values in state.items()
                if values.size <= LARGEST_SHOWN
            },
        }

    def play(self, decider: Decider, steps: int) -> dict[str, Any]:
        """Let somebody decide for all agents for some steps; stops early after some seconds.

        Args:
            decider: Who.
            steps: At most so many.

        Raises:
            EpisodeEndedError: The episode is over, or too long to be kept.
            ConfigError: There is no such rule, or the agent does not fit the world.
        """
        self._require_more()
        if decider not in self._players:
            self._players[decider] = make_player(self._name, decider, self._world.core, self._seed)
        clock, played = SystemClock(), 0
        until = clock.monotonic() + PLAY_SECONDS
        with torch.no_grad():
            while played < steps and not self._has_ended and clock.monotonic() < until:
                joint = self._players[decider](self._world.core, self._world.record)
                self.step(action_of(self._world.core, joint, self._world.agents))
                played += 1
        return {"played": played, "total": len(self._lines), "has_ended": self._has_ended}

    def reference(self, decider: Decider) -> dict[str, Any]:
        """Return what somebody earns step by step in the same episode, played apart from this one.

        Args:
            decider: Who. Asked again, it plays on where the time was over.

        Raises:
            ConfigError: There is no such rule, or the agent does not fit the world.
        """
        if decider not in self._references:
            core = self._build()
            player = make_player(self._name, decider, core, self._seed)
            self._references[decider] = _Reference(core, player, self._seed)
        return self._references[decider].advance(PLAY_SECONDS)

    def compare(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Play some deciders over many episodes for some seconds; tells how far it is.

        Args:
            order: Who, and how many episodes. The same one again goes on; another begins anew.

        Raises:
            ConfigError: Somebody cannot play the world.
        """
        wanted = ComparisonOrder.from_json(order)
        if self._comparison is None or self._comparison.order != wanted:
            self._comparison = Comparison(self._name, self._sizes, self._seed, wanted)
        return self._comparison.advance(PLAY_SECONDS)

    def step(self, actions: Mapping[str, Any]) -> dict[str, Any]:
        """Let all agents act once.

        Args:
            actions: Per agent; one that is left out acts zero.

        Raises:
            EpisodeEndedError: The episode is over, or too long to be kept.
            InvalidActionError: An action has the wrong size or is not finite.
            UnknownAgentError: An action names an agent that does not exist.
        """
        self._require_more()
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

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Answer any question.

        Args:
            question: `ask` says which; the rest is what it needs.

        Raises:
            EpisodeEndedError: The episode is over, or too long to be kept.
            ConfigError: Something of the question does not fit.
        """
        match question["ask"]:
            case "step":
                return self.step(question["actions"])
            case "look":
                return self.look()
            case "play":
                return self.play(Decider(**question["decider"]), question["steps"])
            case "reference":
                return self.reference(Decider(**question["decider"]))
            case "compare":
                return self.compare(question["order"])
            case _:
                return self.trajectory(question["offset"], question["limit"])

    def _build(self) -> Any:
        world = make_world(self._name, num_envs=1, seed=self._seed, sizes=self._sizes)
        return with_actions(world, self._actions)

    def _require_more(self) -> None:
        if len(self._lines) >= MOST_STEPS or self._bytes > LARGEST_TRAJECTORY_BYTES:
            raise EpisodeEndedError("the trajectory is full; open another session")
        if self._has_ended:
            raise EpisodeEndedError("the episode has ended; open another session")


class _Reference:
    """The same episode, played by somebody else."""

    def __init__(self, core: BatchedEnvironment, player: Player, seed: int) -> None:
        self._core, self._player = core, player
        self._record = core.reset(seed)
        self._rewards: list[float] = []
        self._has_ended = False

    def advance(self, seconds: float) -> dict[str, Any]:
        clock = SystemClock()
        until = clock.monotonic() + seconds
        with torch.no_grad():
            while not self._has_ended and clock.monotonic() < until:
                record = self._core.step(self._player(self._core, self._record))
                self._record = record
                self._rewards.append(float(record.reward[0].mean()))
                self._has_ended = bool((record.terminated | record.truncated)[0])
        return {"rewards": _plain(self._rewards), "has_ended": self._has_ended}


def serve(spec: Mapping[str, Any], context: Asker) -> dict[str, Any]:
    """Play one episode as asked, until told to stop.

    Args:
        spec: Of the episode; see `PlayedEpisode`.
        context: Of the child.
    """
    try:
        episode = PlayedEpisode(spec)
    except QuartermasterError as error:
        context.emit("refused", _problem(error))
        return {}
    context.emit("answer", episode.describe())
    while (question := context.next_question()) is not None:
        try:
            context.emit("answer", episode.answer(question))
        except (QuartermasterError, ValueError, TypeError, OSError) as error:
            context.emit("refused", _problem(error))
    return {}


def _flatten(view: Any, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Name all arrays of a view of one copy, and of the views in it."""
    found: dict[str, NDArray[Any]] = {}
    for name, value in vars(view).items():
        if is_dataclass(value):
            found |= _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, np.ndarray) and value.ndim:
            found[prefix + name] = value[0]
    return found


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
