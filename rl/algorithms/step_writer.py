"""Turns calls of `store_experience` of people who write their own loop into steps of one copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rl.algorithms.policy_state import TensorDict
from rl.algorithms.replay_buffer import Step
from utils.errors import ConfigError


class StepWriter:
    """Holds back each step until the next one shows where it led to."""

    def __init__(self, action_dim: int, device: torch.device, *, discrete: bool = False) -> None:
        """Begin with nothing held back.

        Args:
            action_dim: Continuous dimensions, or number of choices.
            device: Where steps go.
            discrete: True for choices; else whole numbers are numbers, too.
        """
        self._discrete = discrete
        self._mask = torch.ones(1, 1, action_dim, dtype=torch.bool, device=device)
        self._device = device
        self.held: TensorDict = {}

    def write(
        self, state: Any, action: Any, *, reward: float, done: bool, info: Mapping[str, Any]
    ) -> Step | None:
        """Take note of a step and return the one before, now that its successor is known.

        Args:
            state: What the agent saw, `[obs]`.
            action: What it did, `[act]` or a choice.
            reward: What it got.
            done: True where the episode terminated.
            info: `truncated` where the episode was cut; then `final_observation` is what it saw
                last.

        Raises:
            ConfigError: A truncated episode comes without its last observation.
        """
        observation = self._as_row(state)
        before = self._finish(observation)
        truncated = bool(info.get("truncated", False))
        final = info.get("final_observation")
        if truncated and not done and final is None:
            raise ConfigError(
                "info['truncated'] is set without info['final_observation']: give the last "
                "observation of the episode, whose value the return goes on with"
            )
        self.held = {
            "observation": observation,
            "action": self._as_action(action),
            "reward": torch.full((1, 1), float(reward), device=self._device),
            "terminated": torch.tensor([bool(done)], device=self._device),
            "truncated": torch.tensor([truncated], device=self._device),
        }
        if final is not None and (done or truncated):
            self.held["final_observation"] = self._as_row(final)
        return before

    def _finish(self, following: Tensor) -> Step | None:
        if not self.held:
            return None
        held = self.held
        alive = torch.ones_like(held["reward"], dtype=torch.bool)
        none = torch.zeros(1, 0, device=self._device)
        return Step(
            observation=held["observation"],
            action_mask=self._mask,
            alive=alive,
            action=held["action"],
            reward=held["reward"],
            terminated=held["terminated"],
            truncated=held["truncated"],
            next_observation=following,
            next_action_mask=self._mask,
            next_alive=alive,
            final_observation=held.get("final_observation", following),
            state=none,
            next_state=none,
            final_state=none,
        )

    def _as_action(self, action: Any) -> Tensor:
        row = torch.tensor(np.asarray(action), device=self._device)[None, None]
        return row if self._discrete else row.float()

    def load(self, held: Mapping[str, Tensor]) -> None:
        """Go on from what a saved writer held back.

        Args:
            held: On any device.
        """
        self.held = {name: tensor.to(self._device) for name, tensor in held.items()}

    def _as_row(self, observation: Any) -> Tensor:
        row = np.asarray(observation, dtype=np.float32)
        return torch.tensor(row, device=self._device)[None, None]
