"""Settings of twin delayed deterministic policy gradient."""

from __future__ import annotations

from dataclasses import dataclass

from rl.algorithms.experience_config import check_experience_config
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TD3Config:
    """Settings of TD3; the defaults are the paper's. Noise is in units in which actions span 2."""

    hidden_dims: tuple[int, ...] = (256, 256)
    """Hidden layers of the actor, and of each critic."""
    learning_rate: float = 3e-4
    """Of actor and critics."""
    gamma: float = 0.99
    tau: float = 0.005
    """Share of the way that the targets go at every update of the policy."""
    buffer_size: int = 1_000_000
    batch_size: int = 256
    learning_starts: int = 1000
    """Env steps of uniformly random actions before learning."""
    train_frequency: int = 1
    """Steps of every copy between updates."""
    gradient_steps: int = 1
    """Optimiser steps of the critics in an update."""
    policy_delay: int = 2
    """Steps of the critics for each step of policy and targets."""
    smoothing_noise: float = 0.2
    """Deviation of the noise on the target policy's action."""
    smoothing_clip: float = 0.5
    """Largest size of that noise."""
    exploration_noise: float = 0.1
    """Deviation of the noise on actions while training."""
    noise_correlation: float = 0.0
    """Of that noise in successive steps: 0 is Gaussian, above it is Ornstein-Uhlenbeck."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        check_experience_config(self)
        noise = (self.smoothing_noise, self.smoothing_clip, self.exploration_noise)
        if self.policy_delay < 1 or min(noise) < 0.0:
            raise ConfigError(f"policy_delay must be at least 1 and noise not negative: {self}")
