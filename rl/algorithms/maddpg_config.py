"""Settings of MADDPG and MATD3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rl.algorithms.setting_checks import check_finite
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MADDPGConfig:
    """Settings; the defaults suit teams of a few agents."""

    variant: Literal["maddpg", "matd3"] = "maddpg"
    """matd3: two critics an agent and the lower one believed, noise on the target actions, and
    actors that move at every `policy_delay`-th step."""
    shared: bool = False
    """One set of weights for all agents, which are told who they are."""
    hidden_dims: tuple[int, ...] = (128, 128)
    """Hidden layers of each actor, and of each critic."""
    layer_norm: bool = True
    """Normalise what the critics' first layer, the joint one, computes."""
    learning_rate: float = 1e-3
    """Of the critics."""
    actor_learning_rate: float = 1e-3
    gamma: float = 0.95
    tau: float = 0.01
    """Share of the way that targets go to actors and critics when these have moved."""
    buffer_size: int = 1_000_000
    batch_size: int = 256
    learning_starts: int = 1000
    """Env steps of random actions before learning."""
    train_frequency: int = 1
    """Steps of every copy between updates."""
    gradient_steps: int = 1
    """Optimiser steps of an update."""
    output_penalty: float = 1e-3
    """Cost of squared logits, or squared actions before the tanh."""
    exploration_noise: float = 0.3
    """Deviation of the noise on continuous actions at first, as a share of half their range."""
    final_exploration_noise: float = 0.05
    """The same at the end of training; it falls linearly."""
    exploration: Literal["gaussian", "ornstein_uhlenbeck"] = "gaussian"
    """Whether that noise is new at every step, or drifts on within an episode."""
    policy_delay: int = 2
    target_noise: float = 0.2
    target_noise_clip: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        check_finite(self)
        positive = ("learning_rate", "actor_learning_rate", "buffer_size", "batch_size")
        for name in (*positive, "train_frequency", "gradient_steps", "policy_delay"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number above 0")
        for name in ("gamma", "tau"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number in [0, 1]")
        noises = ("exploration_noise", "final_exploration_noise", "target_noise")
        for name in (*noises, "target_noise_clip", "output_penalty", "learning_starts"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number from 0 on")
        if not self.hidden_dims or min(self.hidden_dims) < 1:
            raise ConfigError(f"hidden_dims={self.hidden_dims}: give at least one layer with units")
        choices = {
            "variant": ("maddpg", "matd3"),
            "exploration": ("gaussian", "ornstein_uhlenbeck"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}={getattr(self, name)!r}: choose one of {known}")
