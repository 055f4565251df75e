"""Ways to try what does not look best: schedules, epsilon-greedy choices, noise on actions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rl.algorithms.policy_state import TensorDict, take_tensor
from utils.errors import ConfigError


def linear_schedule(start: float, end: float, progress: float) -> float:
    """Return start + (end - start) * progress, staying at the end once there.

    Args:
        start: Value at progress 0.
        end: Value from progress 1 on.
        progress: Share of the way done, at least 0.
    """
    return start + (end - start) * min(progress, 1.0)


def epsilon_greedy(
    q: Float[Tensor, "*batch act"],
    mask: Bool[Tensor, "*batch act"] | None,
    epsilon: float,
    generator: torch.Generator,
) -> Int64[Tensor, "*batch"]:
    """Take the best choice, or with probability epsilon any, all alike; both as the mask allows.

    Args:
        q: Values of the choices.
        mask: True where a choice may be taken; None where all may. A row without any gives 0.
        epsilon: In [0, 1]; each row draws for itself.
        generator: Source of chance, on the device of the values; any epsilon draws as much.
    """
    shape = (*q.shape[:-1], q.shape[-1] + 1)
    chance = torch.rand(shape, generator=generator, device=q.device, dtype=q.dtype)
    explores = chance[..., :1] < epsilon
    score = torch.where(explores, chance[..., 1:], q)
    if mask is not None:
        score = score.masked_fill_(~mask, -torch.inf)
    return score.argmax(-1)


def gaussian_noise(
    action: Float[Tensor, "*batch act"], sigma: float, generator: torch.Generator
) -> Float[Tensor, "*batch act"]:
    """Return the action plus independent normal noise; nothing is clipped.

    Args:
        action: Any.
        sigma: Deviation of the noise, in units of the action.
        generator: Source of chance, on the device of the action.
    """
    return action + sigma * torch.empty_like(action).normal_(generator=generator)


def ornstein_uhlenbeck_step(
    noise: Float[Tensor, "*batch act"],
    draw: Float[Tensor, "*batch act"],
    *,
    theta: float,
    sigma: float,
    dt: float,
) -> Float[Tensor, "*batch act"]:
    """Return x - theta x dt + sigma sqrt(dt) n, noise that remembers (Uhlenbeck, Ornstein 1930).

    Its deviation settles at sigma sqrt(dt / (1 - (1 - theta dt)^2)).

    Args:
        noise: x, of the step before.
        draw: n, standard normal.
        theta: Rate at which it returns to zero.
        sigma: Size of the disturbances.
        dt: Time between two steps.
    """
    return noise * (1.0 - theta * dt) + sigma * math.sqrt(dt) * draw


class OrnsteinUhlenbeckNoise:
    """Noise that drifts from step to step, one process per copy and action dimension."""

    def __init__(self, *, sigma: float, theta: float = 0.15, dt: float = 1.0) -> None:
        """Start at rest; the shape comes with the first action.

        Args:
            sigma: Size of the disturbances, in units of the action.
            theta: Rate at which the noise returns to zero.
            dt: Time between two steps.

        Raises:
            ConfigError: The process would not settle.
        """
        if sigma < 0 or not 0 < theta * dt < 2:
            raise ConfigError(
                f"sigma={sigma}, theta={theta}, dt={dt}: choose sigma >= 0 and 0 < theta * dt < 2"
            )
        self.sigma, self.theta, self.dt = sigma, theta, dt
        self._noise = torch.zeros(0)

    def __call__(
        self, action: Float[Tensor, "env agent act"], generator: torch.Generator
    ) -> Float[Tensor, "env agent act"]:
        """Move one step on and return the action with the noise added; nothing is clipped.

        Args:
            action: Of all agents of all copies; the same shape every time.
            generator: Source of chance, on the device of the action.
        """
        if self._noise.shape != action.shape:
            self._noise = torch.zeros_like(action)
        self._noise = self._noise.to(action.device)  # elsewhere if it was just loaded
        draw = torch.empty_like(action).normal_(generator=generator)
        self._noise = ornstein_uhlenbeck_step(
            self._noise, draw, theta=self.theta, sigma=self.sigma, dt=self.dt
        )
        return action + self._noise

    def reset(self, ended: Bool[Tensor, " env"]) -> None:
        """Begin at rest again in the copies whose episode ended.

        Args:
            ended: One flag per copy.
        """
        if len(self._noise):
            self._noise = self._noise.to(ended.device).masked_fill(ended.view(-1, 1, 1), 0.0)

    def state_dict(self) -> TensorDict:
        """Return a copy of the noise of the last step."""
        return {"noise": self._noise.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state, whatever the number of copies was.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: Nothing was saved.
        """
        self._noise = take_tensor(state, "noise").to(self._noise.device, copy=True)
