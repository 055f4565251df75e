"""The settings that SAC and TD3 share, and their check."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from rl.algorithms.setting_checks import check_finite
from utils.errors import ConfigError


@runtime_checkable
class ExperienceConfig(Protocol):
    """The settings that SAC and TD3 share."""

    @property
    def hidden_dims(self) -> tuple[int, ...]:
        """Hidden layers of each network."""
        ...

    @property
    def learning_rate(self) -> float:
        """Of all networks."""
        ...

    @property
    def gamma(self) -> float:
        """Discount."""
        ...

    @property
    def tau(self) -> float:
        """Share of the way that targets go."""
        ...

    @property
    def buffer_size(self) -> int:
        """Most transitions remembered."""
        ...

    @property
    def batch_size(self) -> int:
        """Transitions of an optimiser step."""
        ...

    @property
    def learning_starts(self) -> int:
        """Env steps before learning."""
        ...

    @property
    def train_frequency(self) -> int:
        """Steps of every copy between updates."""
        ...

    @property
    def gradient_steps(self) -> int:
        """Optimiser steps of an update."""
        ...

    @property
    def noise_correlation(self) -> float:
        """Of the noise of successive actions."""
        ...


def check_experience_config(config: ExperienceConfig) -> None:
    """Refuse settings that cannot work.

    Args:
        config: Of SAC or TD3.

    Raises:
        ConfigError: A field is out of range.
    """
    check_finite(config)
    counts = ("buffer_size", "batch_size", "train_frequency", "gradient_steps")
    for name in ("learning_rate", *counts):
        if not getattr(config, name) > 0:
            raise ConfigError(f"{name}={getattr(config, name)}: choose a number above 0")
    for name, value in (("gamma", config.gamma), ("tau", config.tau)):
        if not 0.0 <= value <= 1.0:
            raise ConfigError(f"{name}={value}: choose a number in [0, 1]")
    if not 0.0 <= config.noise_correlation < 1.0:
        raise ConfigError(
            f"noise_correlation={config.noise_correlation}: choose a number in [0, 1)"
        )
    if any(size < 1 for size in config.hidden_dims):
        raise ConfigError(f"hidden_dims={config.hidden_dims}: every layer needs a unit")
    if config.learning_starts < 0:
        raise ConfigError(f"learning_starts={config.learning_starts}: choose 0 or more")
