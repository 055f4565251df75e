"""Settings of soft actor-critic."""

from __future__ import annotations

from dataclasses import dataclass

from rl.algorithms.experience_config import check_experience_config
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SACConfig:
    """Settings of SAC; the defaults are the paper's."""

    hidden_dims: tuple[int, ...] = (256, 256)
    """Hidden layers of the actor, and of each critic."""
    learning_rate: float = 3e-4
    """Of actor, critics and temperature."""
    gamma: float = 0.99
    tau: float = 0.005
    """Share of the way that the target critics go to the critics at every optimiser step."""
    buffer_size: int = 1_000_000
    batch_size: int = 256
    learning_starts: int = 1000
    """Env steps of uniformly random actions before learning."""
    train_frequency: int = 1
    """Steps of every copy between updates."""
    gradient_steps: int = 1
    """Optimiser steps of an update."""
    temperature: float | None = None
    """Worth of one nat of entropy; None learns it, beginning with 1."""
    target_entropy: float = -1.0
    """What a learnt temperature holds the policy at, in nats per dimension in use, as if actions
    lay in [-1, 1]."""
    noise_correlation: float = 0.0
    """Of the noise of successive actions while training; near 1 explores far where it is needed
    to push in one direction for long."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        check_experience_config(self)
        if self.temperature is not None and not self.temperature >= 0.0:
            raise ConfigError(f"temperature={self.temperature}: give a number from 0 on, or None")
