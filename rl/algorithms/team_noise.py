"""How a team explores with continuous actions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.exploration import OrnsteinUhlenbeckNoise, gaussian_noise, linear_schedule
from rl.algorithms.maddpg_config import MADDPGConfig
from rl.algorithms.policy_state import TensorDict, take_tensor


class TeamNoise:
    """Noise that falls with training; at first actions are uniform."""

    def __init__(self, config: MADDPGConfig) -> None:
        """Begin at rest.

        Args:
            config: Names the kind and the deviations.
        """
        self.progress = 0.0
        """Share of training done, in [0, 1]."""
        self._config = config
        self._drift = OrnsteinUhlenbeckNoise(sigma=config.exploration_noise)

    def __call__(
        self,
        action: Float[Tensor, "agent env act"],
        generator: torch.Generator,
        *,
        is_early: bool,
    ) -> Float[Tensor, "agent env act"]:
        """Return what to try instead of the actions, in [-1, 1].

        Args:
            action: Of the policies.
            generator: Source of chance, on the device of the actions.
            is_early: Learning has not begun.
        """
        if is_early:
            return torch.empty_like(action).uniform_(-1.0, 1.0, generator=generator)
        first, last = self._config.exploration_noise, self._config.final_exploration_noise
        sigma = linear_schedule(first, last, self.progress)
        if self._config.exploration == "gaussian":
            return gaussian_noise(action, sigma, generator).clamp(-1.0, 1.0)
        self._drift.sigma = sigma
        return self._drift(action.transpose(0, 1), generator).transpose(0, 1).clamp(-1.0, 1.0)

    def reset(self, ended: Bool[Tensor, " env"]) -> None:
        """Begin at rest again in the copies whose episode ended.

        Args:
            ended: One flag per copy.
        """
        self._drift.reset(ended)

    def state_dict(self) -> TensorDict:
        """Return copies of the noise of the last step and of the progress."""
        progress = torch.tensor(self.progress, dtype=torch.float64)
        return {**self._drift.state_dict(), "progress": progress}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: Something is absent.
        """
        self._drift.load_state_dict(state)
        self.progress = float(take_tensor(state, "progress"))
