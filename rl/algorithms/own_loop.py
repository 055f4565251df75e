"""PPO in somebody's own loop: one environment, NumPy in and out, the promised names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from rl.algorithms.actor_critic import ActorCritic
from rl.algorithms.heads import ActionSample
from rl.algorithms.policy_state import StateMismatchError, TensorDict
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.rollout_buffer import Rollout
from utils.errors import ConfigError


class OwnStep(NamedTuple):
    """One step of one agent in one environment."""

    observation: Float[Tensor, " obs"]
    action: Shaped[Tensor, ...]
    log_prob: Float[Tensor, ""]
    reward: Float[Tensor, ""]
    terminated: Float[Tensor, ""]
    truncated: Float[Tensor, ""]
    final_observation: Float[Tensor, " obs"]
    """The last one of the episode where it was truncated; not looked at elsewhere."""


class OwnLoop(ABC):
    """Gathers single steps until there are enough for an update.

    Where a step led to is known once the next one is stored, so an update wants one step more than
    it learns from, and keeps that one.
    """

    config: PPOConfig
    device: torch.device
    discrete: bool
    network: ActorCritic
    _steps: list[OwnStep]

    @abstractmethod
    def act(
        self,
        observation: Float[Tensor, "*batch obs"],
        action_mask: Bool[Tensor, "*batch act"] | None,
        *,
        deterministic: bool = False,
    ) -> ActionSample:
        """Choose an action."""

    @abstractmethod
    def value(self, observation: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch"]:
        """Estimate the return from here."""

    def select_action(self, state: NDArray[Any], evaluation: bool = False) -> Any:  # noqa: FBT001, FBT002  # promised
        """Choose for one observation.

        Args:
            state: `[obs]`.
            evaluation: Take the likeliest action.

        Returns:
            A choice as an integer, choices as an integer array, or numbers `[act]`, not clipped.
        """
        action = self.act(self._tensor(state), None, deterministic=evaluation).action
        return int(action) if action.dim() == 0 else action.cpu().numpy()

    def select_action_with_info(self, state: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
        """Draw an action for one observation, and say what is thought of both.

        Args:
            state: `[obs]`.

        Returns:
            The action as `select_action` gives it; the value of the state, and the log-probability.
        """
        observation = self._tensor(state)
        sample = self.act(observation, None)
        action = sample.action
        info = {"value": float(self.value(observation)), "log_prob": float(sample.log_prob)}
        return (int(action) if action.dim() == 0 else action.cpu().numpy()), info

    def store_experience(  # noqa: PLR0917  # promised
        self,
        state: NDArray[Any],
        action: Any,
        reward: float,
        done: bool,  # noqa: FBT001
        info: Mapping[str, Any],
    ) -> None:
        """Keep one step.

        Args:
            state: `[obs]`, before it.
            action: What was done.
            reward: What came of it.
            done: The episode terminated.
            info: `truncated` where it was cut; then `final_observation` is what was seen last.

        Raises:
            ConfigError: A truncated episode comes without its last observation, or the action is
                none that this agent takes.
        """
        truncated = bool(info.get("truncated", False)) and not done
        if truncated and info.get("final_observation") is None:
            raise ConfigError(
                'info["truncated"] needs info["final_observation"], what was seen last: its value '
                "stands for the rest of the episode"
            )
        observation = self._tensor(state)
        last = self._tensor(info["final_observation"]) if truncated else observation
        taken = self._taken(action)
        with torch.no_grad():
            likely = self.network.policy(observation, None).log_prob(taken)
        gain, terminated, cut = observation.new_tensor([float(reward), done, truncated])
        self._steps.append(OwnStep(observation, taken, likely, gain, terminated, cut, last))

    def should_update(self) -> bool:
        """Say whether more than `batch_size` steps are waiting."""
        return len(self._steps) > self.config.batch_size

    def _own_rollout(self) -> Rollout:
        """Return the steps that are waiting as a block `[time, 1, 1, ...]`, and forget them.

        Raises:
            ConfigError: No step is complete.
        """
        if not self._steps:
            raise ConfigError("no experience is stored: call store_experience before update()")
        newest = self._steps[-1]
        is_open = not bool(newest.terminated + newest.truncated)
        if is_open and len(self._steps) == 1:
            raise ConfigError("one step that led nowhere yet: store another before update()")
        columns = OwnStep(
            *(torch.stack(column)[:, None, None] for column in zip(*self._steps, strict=True))
        )
        self._steps = [newest] if is_open else []
        value = self.value(columns.observation)
        following = torch.where(
            columns.truncated > 0.0, self.value(columns.final_observation), value.roll(-1, 0)
        )
        ones, nothing = torch.ones_like(value), value.new_zeros((*value.shape, 0))
        block = Rollout(
            observation=columns.observation,
            action_mask=ones.unsqueeze(-1) > 0.0,
            alive=ones > 0.0,
            action=columns.action,
            log_prob=columns.log_prob,
            reward=columns.reward,
            discount=self.config.gamma * (1.0 - columns.terminated),
            ended=(columns.terminated + columns.truncated) > 0.0,
            value=value,
            next_value=following,
            cost=nothing,
            cost_value=nothing,
            next_cost_value=nothing,
            memory=nothing[0],
        )
        known = len(value) - is_open
        return block.first(known)

    def _own_state(self) -> TensorDict:
        """Return copies of the steps that are waiting; empty if there are none."""
        if not self._steps:
            return {}
        columns = (torch.stack(column) for column in zip(*self._steps, strict=True))
        return dict(zip(OwnStep._fields, columns, strict=True))

    def _load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue with saved steps.

        Raises:
            StateMismatchError: Some columns are absent.
        """
        self._steps = []
        if not state:
            return
        if set(state) != set(OwnStep._fields):
            raise StateMismatchError(
                f"steps of an own loop hold {OwnStep._fields}, not {set(state)}"
            )
        columns = [state[name].to(self.device, copy=True).unbind() for name in OwnStep._fields]
        self._steps = [OwnStep(*step) for step in zip(*columns, strict=True)]

    def _taken(self, action: Any) -> Shaped[Tensor, ...]:
        """Return an action as a tensor.

        Raises:
            ConfigError: It has another length, or is no choice.
        """
        shape = self.network.shape
        choices = (shape.num_choices or (shape.action_size,)) if self.discrete else ()
        given = np.asarray(action)
        if given.size != (len(choices) or shape.action_size):
            raise ConfigError(
                f"action={action!r}: give {len(choices) or shape.action_size} numbers"
            )
        kind = torch.int64 if self.discrete else torch.float32
        taken = torch.tensor(given, dtype=kind, device=self.device).flatten()
        pairs = zip(given.ravel().tolist(), choices, strict=False)  # numbers have no choices
        if any(not 0 <= choice < size for choice, size in pairs):
            raise ConfigError(f"action={action!r}: choose below {choices}, from 0 on")
        return taken if shape.num_choices or not self.discrete else taken[0]

    def _tensor(self, state: NDArray[Any]) -> Float[Tensor, " obs"]:
        return torch.tensor(np.asarray(state), dtype=torch.float32, device=self.device)
