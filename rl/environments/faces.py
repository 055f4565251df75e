"""Faces over any batched environment: dict API and PettingZoo, Gymnasium, Gymnasium vector.

The core resets itself on the last step; the faces of one copy do not show that: they return the
last observation and want `reset`, which then shows the episode that the core has begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from torch import Tensor

from rl.environments.base_environment import (
    BatchedEnvironment,
    EpisodeEndedError,
    InvalidActionError,
    StepRecord,
)
from rl.environments.rendering import (
    RENDER_MODES,
    EpisodeHistory,
    check_render_mode,
    render_picture,
    render_text,
)
from rl.environments.spaces import (
    AgentSpaces,
    UnknownAgentError,
    make_action_space,
    make_observation_space,
)
from utils.errors import ConfigError

Actions = Mapping[str, Any]
AgentInfo = dict[str, Any]


class SingleCopy:
    """A core of one copy that waits for a reset after its episode ended."""

    def __init__(self, core: BatchedEnvironment) -> None:
        """Keep the core.

        Args:
            core: With one copy.

        Raises:
            ConfigError: It has more than one copy.
        """
        if core.num_envs != 1:
            raise ConfigError(f"this face shows one copy, the environment has {core.num_envs}")
        self.core = core
        self.has_ended = True
        self._last: StepRecord | None = None

    @property
    def last(self) -> StepRecord:
        """The newest record."""
        if self._last is None:
            raise EpisodeEndedError("no episode has begun; call reset first")
        return self._last

    def reset(self, seed: int | None) -> StepRecord:
        """Begin an episode: the one the core has begun by itself, if the last one ended.

        Args:
            seed: Begins the sequence of episodes anew.
        """
        continues = seed is None and self.has_ended and self._last is not None
        record = _as_first(self.last) if continues else self.core.reset(seed)
        self._last, self.has_ended = record, False
        return record

    def step(self, action: Tensor) -> StepRecord:
        """Advance by one step.

        Args:
            action: As the core takes it.

        Raises:
            EpisodeEndedError: The episode has ended, or none has begun.
        """
        if self.has_ended:
            reason = "the episode has ended" if self._last else "no episode has begun"
            raise EpisodeEndedError(
                f"{reason}; call reset first, and after every step look at terminated and truncated"
            )
        record = self.core.step(action)
        self._last = record
        self.has_ended = bool(record.terminated[0] | record.truncated[0])
        return record


class Screen:
    """Shows the episode of a face, where somebody asked for it."""

    def __init__(self, core: BatchedEnvironment, mode: str | None) -> None:
        """Begin with an empty episode.

        Args:
            core: Whose episodes; its `charts` say what belongs together.
            mode: None keeps and shows nothing.

        Raises:
            ConfigError: The mode is unknown.
        """
        check_render_mode(mode)
        self._mode = mode
        self._title = f"{type(core).__name__.removeprefix('Batched')}, one episode"
        self._history = EpisodeHistory(getattr(core, "charts", ()))

    def begin(self) -> None:
        """Forget the episode before."""
        self._history.begin()

    def show(self, record: StepRecord) -> None:
        """Keep a step, if anybody looks.

        Args:
            record: Of the step.
        """
        if self._mode is not None:
            self._history.add(record)

    def render(self) -> str | NDArray[np.uint8] | None:
        """Return text or a picture of the episode so far."""
        if self._mode == "ansi":
            return render_text(self._history)
        if self._mode == "rgb_array":
            return render_picture(self._history, self._title)
        return None


class DictEnvironment(ParallelEnv):  # type: ignore[misc]
    """One copy, spoken to in dicts keyed by agent; a PettingZoo `ParallelEnv`.

    Actions: agents left out act zero. Info, per agent: `metrics` of the step, `reward_terms` that
    sum to the agent's reward, `truncated`, and `final_observation` at the end; `action_mask` for
    discrete actions. Render modes: `ansi`, text of the episode so far; `rgb_array`, its picture.
    """

    metadata = {  # noqa: RUF012
        "name": "quartermaster",
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
    }

    def __init__(self, core: BatchedEnvironment, render_mode: str | None = None) -> None:
        """Wrap a batched environment.

        Args:
            core: With one copy.
            render_mode: What `render` returns: text for `ansi`, a picture for `rgb_array`.

        Raises:
            ConfigError: It has more than one copy, or the render mode is unknown.
        """
        self._copy = SingleCopy(core)
        self._screen = Screen(core, render_mode)
        self.render_mode = render_mode
        self.possible_agents = list(core.agent_ids)
        self.agents: list[str] = []
        self._group = {
            core.agent_ids[member]: group for group in core.groups for member in group.members
        }
        groups = self._group.items()
        self.observation_space = AgentSpaces({a: make_observation_space(g) for a, g in groups})
        self.action_space = AgentSpaces({a: make_action_space(g.action) for a, g in groups})
        self._sums: dict[str, float] = {}
        self._steps = 0

    @property
    def core(self) -> BatchedEnvironment:
        """The batched environment behind."""
        return self._copy.core

    @property
    def record(self) -> StepRecord:
        """What the batched environment behind told last."""
        return self._copy.last

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, AgentInfo]]:
        """Begin an episode.

        Args:
            seed: Begins the sequence of episodes anew.
            options: Not used.
        """
        del options
        record = self._copy.reset(seed)
        self.agents = self._alive(record)
        self._screen.begin()
        self._sums, self._steps = {}, 0
        infos = {agent: self._info(record, agent) for agent in self.agents}
        return self._observations(record.observation, self.agents), infos

    def step(
        self, actions: Actions
    ) -> tuple[
        dict[str, NDArray[np.float32]],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, AgentInfo],
    ]:
        """Let every living agent act at once.

        Args:
            actions: Per agent; one that is left out acts zero.

        Raises:
            EpisodeEndedError: The episode has ended, or none has begun.
            UnknownAgentError: An action names an agent that does not exist.
            InvalidActionError: An action has the wrong size or is not finite.
        """
        before = self.agents
        record = self._copy.step(self._joint_action(actions))
        self._screen.show(record)
        ended = self._copy.has_ended
        alive = [] if ended else self._alive(record)
        reward = record.reward[0].tolist()
        position = {agent: index for index, agent in enumerate(self.possible_agents)}
        terminated, truncated = bool(record.terminated[0]), bool(record.truncated[0])
        self.agents = [agent for agent in before if agent in alive]
        self._steps += 1
        for name, values in record.metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(values[0])
        return (
            self._observations(record.final_observation, before),
            {agent: reward[position[agent]] for agent in before},
            {agent: terminated or (not ended and agent not in alive) for agent in before},
            dict.fromkeys(before, truncated),
            {agent: self._info(record, agent) for agent in before},
        )

    def state(self) -> NDArray[np.float32]:
        """Return the global state, for learners with a central critic."""
        return to_numpy(self._copy.last.global_state[0])

    def get_performance_metrics(self) -> dict[str, float]:
        """Return the sums of all metrics since the episode began, and its `steps`."""
        return {"steps": float(self._steps), **self._sums}

    def render(self) -> str | NDArray[np.uint8] | None:
        """Return the episode so far as the render mode says; nothing without one."""
        return self._screen.render()

    def close(self) -> None:
        """Hold nothing open."""

    def _alive(self, record: StepRecord) -> list[str]:
        alive = record.agent_alive[0].tolist()
        return [agent for agent, lives in zip(self.possible_agents, alive, strict=True) if lives]

    def _observations(
        self, observation: Tensor, agents: list[str]
    ) -> dict[str, NDArray[np.float32]]:
        rows = to_numpy(observation[0])
        return {
            agent: rows[self.possible_agents.index(agent), : self._group[agent].observation_size]
            for agent in agents
        }

    def _info(self, record: StepRecord, agent: str) -> AgentInfo:
        index = self.possible_agents.index(agent)
        group = self._group[agent]
        info: AgentInfo = {
            "metrics": {name: float(values[0]) for name, values in record.metrics.items()},
            "reward_terms": {
                name: float(values[0, index]) for name, values in record.reward_terms.items()
            },
            "truncated": bool(record.truncated[0]),
        }
        if self._copy.has_ended:
            final = record.final_observation[0, index, : group.observation_size]
            info["final_observation"] = to_numpy(final)
        if group.action.kind == "discrete":
            mask = record.action_mask[0, index, : group.action.size]
            info["action_mask"] = to_numpy(mask).astype(np.int8)
        return info

    def _joint_action(self, actions: Actions) -> Tensor:
        unknown = set(actions) - set(self.possible_agents)
        if unknown:
            raise UnknownAgentError(
                f"no agents {', '.join(sorted(map(str, unknown)))}; "
                f"there are {', '.join(self.possible_agents)}"
            )
        core = self.core
        if core.groups[0].action.kind == "discrete":
            choices = [np.asarray(actions.get(agent, 0)) for agent in self.possible_agents]
            for agent, choice in zip(self.possible_agents, choices, strict=True):
                if choice.shape or choice.dtype.kind not in "biuf":
                    raise InvalidActionError(
                        f"the action of {agent} must be one whole number, not {actions[agent]!r}"
                    )
            return torch.as_tensor(np.stack(choices)[None], device=core.device)
        width = max(group.action.size for group in core.groups)
        joint = np.zeros((1, core.num_agents, width), np.float32)
        for agent, action in actions.items():
            size = self._group[agent].action.size
            given = np.asarray(action, np.float32)
            if given.shape != (size,):
                raise InvalidActionError(
                    f"the action of {agent} has shape {given.shape}, not {(size,)}"
                )
            joint[0, self.possible_agents.index(agent), :size] = given
        return torch.as_tensor(joint, device=core.device)


def to_numpy(values: Tensor) -> NDArray[Any]:
    """Copy a tensor off its device.

    Args:
        values: Any tensor.
    """
    return values.detach().cpu().numpy().copy()


def _as_first(record: StepRecord) -> StepRecord:
    """Return the record as if the episode that its step began had come from a reset."""
    return StepRecord(
        observation=record.observation,
        action_mask=record.action_mask,
        agent_alive=record.agent_alive,
        reward=torch.zeros_like(record.reward),
        cost=torch.zeros_like(record.cost),
        terminated=torch.zeros_like(record.terminated),
        truncated=torch.zeros_like(record.truncated),
        final_observation=record.observation,
        global_state=record.global_state,
        final_global_state=record.global_state,
        metrics={},
    )
