"""Foreign Gymnasium environments as batched environments of one agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray
from torch import Tensor

from rl.environments.base_environment import (
    ActionSpec,
    AgentGroup,
    StepRecord,
    check_action,
)
from utils.errors import ConfigError
from utils.seeding import derive_seed

Numbers = NDArray[Any]
MakeEnvironment = Callable[[], "gymnasium.Env[Any, Any]"]


class GymnasiumAdapter:
    """Steps copies of a Gymnasium environment one after the other.

    Observation: a Box, flattened. Action: a Discrete, or a Box with finite bounds to which [-1, 1]
    is stretched, clipped first. A foreign simulator cannot be saved: whoever resumes resets all
    copies with a seed not used before.
    """

    resume = "approximate"

    def __init__(self, make: str | MakeEnvironment, num_envs: int, *, seed: int = 0) -> None:
        """Make the copies.

        Args:
            make: A registered id, or a function that makes one copy.
            num_envs: How many.
            seed: Of all their episodes, unless `reset` is given another.

        Raises:
            ConfigError: A space is of another kind.
        """
        make_one: MakeEnvironment = (
            (lambda: gymnasium.make(make)) if isinstance(make, str) else make
        )
        self._envs = [make_one() for _ in range(num_envs)]
        self._first_seed: int | None = seed
        self.num_envs = num_envs
        self.num_agents = 1
        self.agent_ids: tuple[str, ...] = ("agent_0",)
        space = self._envs[0].observation_space
        self.observation_size = _observation_size(space)
        self._observations = np.empty((num_envs, *(space.shape or ())), np.float32)
        self.state_size = self.observation_size
        self.num_costs = 0
        self.device = torch.device("cpu")
        self._action_space = self._envs[0].action_space
        self._first_choice = int(getattr(self._action_space, "start", 0))
        action = _action_spec(self._action_space)
        self.groups: tuple[AgentGroup, ...] = (
            AgentGroup(
                name="agent",
                members=(0,),
                observation_size=self.observation_size,
                action=action,
            ),
        )
        self._mask = torch.ones(num_envs, 1, action.size, dtype=torch.bool)
        self._alive = torch.ones(num_envs, 1, dtype=torch.bool)
        self._no_cost = torch.zeros(num_envs, 1, 0)

    def reset(self, seed: int | None = None) -> StepRecord:
        """Begin a new episode in every copy.

        Args:
            seed: Begins the whole sequence anew; None goes on with it.
        """
        seed = self._first_seed if seed is None else seed
        self._first_seed = None
        first = np.empty_like(self._observations)
        for copy, env in enumerate(self._envs):
            first[copy], _ = env.reset(seed=_seed_of_copy(seed, copy))
        nothing = np.zeros(self.num_envs, np.float32)
        return self._record(first, first, nothing, terminated=nothing > 0, truncated=nothing > 0)

    def step(self, action: Tensor) -> StepRecord:
        """Advance every copy by one step.

        Args:
            action: `[env, 1]` choices, or `[env, 1, act]` in [-1, 1].

        Raises:
            InvalidActionError: The shape is wrong, or a value is no choice or not finite.
        """
        if not self._is_plain(action):
            check_action(action, self.groups, self._mask.shape)
        following = np.empty_like(self._observations)
        reward = np.empty(self.num_envs, np.float32)
        terminated, truncated = np.empty((2, self.num_envs), np.bool_)
        last: dict[int, Numbers] = {}
        steps = zip(self._envs, self._to_native(action), strict=True)
        for copy, (env, native) in enumerate(steps):
            seen, reward[copy], terminated[copy], truncated[copy], _ = env.step(native)
            if terminated[copy] or truncated[copy]:
                last[copy] = np.array(seen, np.float32)
                seen, _ = env.reset()
            following[copy] = seen
        final = following.copy() if last else following
        for copy, seen in last.items():
            final[copy] = seen
        return self._record(following, final, reward, terminated=terminated, truncated=truncated)

    def state_dict(self) -> dict[str, Tensor]:
        """Return nothing: a foreign simulator cannot be saved."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Accept nothing, for the same reason.

        Args:
            state: What `state_dict` returned.

        Raises:
            ConfigError: It holds something, so another environment saved it.
        """
        if state:
            raise ConfigError(f"{next(iter(state))} was saved by another kind of environment")

    def close(self) -> None:
        """Release what the copies hold."""
        for env in self._envs:
            env.close()

    def _record(
        self,
        following: Numbers,
        final: Numbers,
        reward: Numbers,
        *,
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> StepRecord:
        observation = torch.from_numpy(following).view(self.num_envs, 1, -1)
        last = observation
        if final is not following:
            last = torch.from_numpy(final).view(self.num_envs, 1, -1)
        return StepRecord(
            observation=observation,
            action_mask=self._mask,
            agent_alive=self._alive,
            reward=torch.from_numpy(reward).unsqueeze(-1),
            cost=self._no_cost,
            terminated=torch.from_numpy(terminated),
            truncated=torch.from_numpy(truncated),
            final_observation=last,
            global_state=observation[:, 0],
            final_global_state=last[:, 0],
            metrics={},
        )

    def _is_plain(self, action: Tensor) -> bool:
        """Tell at little cost that an action is fine; what is not plain may still be."""
        if isinstance(self._action_space, Box):
            is_shaped = action.shape == self._mask.shape
            return is_shaped and bool(np.isfinite(action.numpy()).all())
        if action.dtype != torch.int64 or action.shape != self._alive.shape:
            return False
        size = self.groups[0].action.size
        return all(0 <= choice < size for (choice,) in action.tolist())

    def _to_native(self, action: Tensor) -> Numbers | list[int]:
        space = self._action_space
        if isinstance(space, Box):
            share = (action[:, 0].numpy().clip(-1.0, 1.0) + 1.0) / 2.0
            share = share.reshape(-1, *space.shape)
            stretched: Numbers = (1.0 - share) * space.low + share * space.high
            return stretched.astype(space.dtype)
        return [int(choice) + self._first_choice for (choice,) in action.tolist()]


def _seed_of_copy(seed: int | None, copy: int) -> int | None:
    return None if seed is None else derive_seed(seed, "gymnasium", copy) % 2**31


def _observation_size(space: Space[Any]) -> int:
    if isinstance(space, Box):
        return int(np.prod(space.shape))
    raise ConfigError(f"observation space {space} is no Box: flatten it with a Gymnasium wrapper")


def _action_spec(space: Space[Any]) -> ActionSpec:
    if isinstance(space, Discrete):
        return ActionSpec(kind="discrete", size=int(space.n))
    if isinstance(space, Box) and space.is_bounded("both"):
        size = int(np.prod(space.shape))
        return ActionSpec(kind="continuous", size=size, low=-1.0, high=1.0)
    raise ConfigError(f"action space {space} is neither Discrete nor a Box with finite bounds")
