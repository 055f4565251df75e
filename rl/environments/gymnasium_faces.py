"""Gymnasium `Env` and `VectorEnv` over batched environments of one agent."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from rl.environments.base_environment import (
    AgentGroup,
    BatchedEnvironment,
    InvalidActionError,
    StepRecord,
)
from rl.environments.faces import Screen, SingleCopy, to_numpy
from rl.environments.rendering import RENDER_MODES
from rl.environments.spaces import make_action_space, make_observation_space
from utils.errors import ConfigError


class SingleAgentEnvironment(gymnasium.Env[NDArray[Any], Any]):
    """One copy with one agent as a Gymnasium environment.

    Info: `metrics` and `reward_terms` of the step. Render modes: `ansi`, text of the episode so
    far; `rgb_array`, its picture.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012

    def __init__(self, core: BatchedEnvironment, render_mode: str | None = None) -> None:
        """Wrap a batched environment.

        Args:
            core: With one copy and one agent.
            render_mode: What `render` returns.

        Raises:
            ConfigError: It has more, or the render mode is unknown.
        """
        self._copy = SingleCopy(core)
        self._screen = Screen(core, render_mode)
        self.render_mode = render_mode
        group = _only_group(core)
        self.observation_space = make_observation_space(group)
        self.action_space = make_action_space(group.action)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Begins the sequence of episodes anew.
            options: Not used.
        """
        super().reset(seed=seed, options=options)
        record = self._copy.reset(seed)
        self._screen.begin()
        return to_numpy(record.observation[0, 0]), self._info(record)

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Act once.

        Args:
            action: In the action space.

        Raises:
            EpisodeEndedError: The episode has ended, or none has begun.
            InvalidActionError: The action has the wrong size or is not finite.
        """
        joint = _to_action(self._copy.core, np.asarray(action)[None])
        record = self._copy.step(joint)
        self._screen.show(record)
        return (
            to_numpy(record.final_observation[0, 0]),
            float(record.reward[0, 0]),
            bool(record.terminated[0]),
            bool(record.truncated[0]),
            self._info(record),
        )

    def render(self) -> Any:
        """Return the episode so far as the render mode says; nothing without one."""
        return self._screen.render()

    def _info(self, record: StepRecord) -> dict[str, Any]:
        info = {
            "metrics": {name: float(values[0]) for name, values in record.metrics.items()},
            "reward_terms": {
                name: float(values[0, 0]) for name, values in record.reward_terms.items()
            },
        }
        return info | _mask_info(self._copy.core, record, slice(0, 1), squeeze=True)


class VectorEnvironment(VectorEnv[NDArray[np.float32], Any, NDArray[Any]]):
    """All copies of a world with one agent as a Gymnasium vector environment.

    Autoreset SAME_STEP. Metrics of copies whose episode ended are in `final_info`, their last
    observations in `final_obs`, each with its mask.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, core: BatchedEnvironment) -> None:
        """Wrap a batched environment.

        Args:
            core: With one agent and any number of copies.

        Raises:
            ConfigError: It has more agents.
        """
        group = _only_group(core)
        self.core = core
        self.num_envs = core.num_envs
        self.single_observation_space = make_observation_space(group)
        self.single_action_space = make_action_space(group.action)
        self.observation_space = batch_space(self.single_observation_space, core.num_envs)
        self.action_space = batch_space(self.single_action_space, core.num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in every copy.

        Args:
            seed: One for all copies.
            options: Not used.

        Raises:
            ConfigError: A seed per copy is given.
        """
        if isinstance(seed, list):
            raise ConfigError("the copies are seeded together; give one number")
        super().reset(seed=seed, options=options)
        record = self.core.reset(seed)
        mask = _mask_info(self.core, record, slice(None), squeeze=False)
        return to_numpy(record.observation[:, 0]), mask

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.bool_],
        dict[str, Any],
    ]:
        """Act once in every copy.

        Args:
            actions: One per copy.

        Raises:
            InvalidActionError: The actions have the wrong shape or are not finite.
        """
        record = self.core.step(_to_action(self.core, actions))
        terminated, truncated = to_numpy(record.terminated), to_numpy(record.truncated)
        ended = terminated | truncated
        infos: dict[str, Any] = {} if ended.all() else _vector_info(record, ~ended)
        if ended.any():
            final = np.full(self.num_envs, None, dtype=object)
            last = to_numpy(record.final_observation[:, 0])
            for copy in np.flatnonzero(ended):
                final[copy] = last[copy]
            infos |= {"final_obs": final, "_final_obs": ended}
            infos |= {"final_info": _vector_info(record, ended), "_final_info": ended.copy()}
        infos |= _mask_info(self.core, record, slice(None), squeeze=False)
        reward = to_numpy(record.reward[:, 0]).astype(np.float64)
        return to_numpy(record.observation[:, 0]), reward, terminated, truncated, infos


def _only_group(core: BatchedEnvironment) -> AgentGroup:
    if core.num_agents != 1:
        raise ConfigError(f"this face shows one agent, the environment has {core.num_agents}")
    return core.groups[0]


def _to_action(core: BatchedEnvironment, actions: NDArray[Any]) -> Tensor:
    action = core.groups[0].action
    wanted = (core.num_envs,) if action.kind == "discrete" else (core.num_envs, action.size)
    if actions.shape != wanted:
        raise InvalidActionError(f"the action has shape {actions.shape}, not {wanted}")
    if actions.dtype.kind not in "biuf":
        raise InvalidActionError(f"the action must hold numbers, not {actions.dtype}")
    dtype = None if action.kind == "discrete" else torch.float32
    return torch.as_tensor(actions, dtype=dtype, device=core.device)[:, None]


def _vector_info(record: StepRecord, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return metrics of the chosen copies, each with its mask."""
    infos: dict[str, Any] = {}
    for name, values in record.metrics.items():
        infos[name] = np.where(mask, to_numpy(values), 0).astype(np.float64)
        infos[f"_{name}"] = mask.copy()
    return infos


def _mask_info(
    core: BatchedEnvironment, record: StepRecord, copies: slice, *, squeeze: bool
) -> dict[str, Any]:
    """Return the mask of the choices before the next step, for discrete actions."""
    if core.groups[0].action.kind != "discrete":
        return {}
    mask = to_numpy(record.action_mask[copies, 0]).astype(np.int8)
    return {"action_mask": mask[0] if squeeze else mask}
