"""Settings of deep Q-learning."""

from __future__ import annotations

from dataclasses import dataclass

from rl.algorithms.activation import Activation
from rl.algorithms.priority_config import PriorityConfig
from rl.algorithms.setting_checks import check_finite
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DQNConfig:
    """Settings of DQN; the defaults suit small tasks of some ten thousand steps."""

    hidden_dims: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    learning_rate: float = 3e-4
    gamma: float = 0.99
    buffer_size: int = 100_000
    """Transitions over all copies; the oldest are forgotten first."""
    batch_size: int = 64
    learning_starts: int = 1_000
    """Env steps before the first update."""
    train_frequency: int = 4
    """Steps of every copy between two updates."""
    gradient_steps: int = 1
    """Optimiser steps of one update."""
    n_step: int = 1
    """Rewards that are summed before the value of a later observation stands for the rest."""
    priority: PriorityConfig | None = None
    """Sample what surprised more often; None samples all alike."""
    double: bool = True
    """The online network chooses the next action that the target network judges."""
    dueling: bool = True
    """Value and advantages apart."""
    target_update_frequency: int = 250
    """Optimiser steps between two updates of the target network."""
    tau: float = 1.0
    """How far the target network then moves towards the online one; 1 copies it."""
    epsilon_start: float = 1.0
    epsilon_end: float = 0.01
    epsilon_decay_steps: int = 10_000
    """Env steps over which the share of random actions falls, along a line."""
    max_grad_norm: float = 10.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        check_finite(self, unlimited=("max_grad_norm",))
        counts = ["buffer_size", "batch_size", "train_frequency", "gradient_steps", "n_step"]
        counts += ["target_update_frequency", "epsilon_decay_steps"]
        for name in (*counts, "learning_rate", "max_grad_norm", "tau"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number above 0")
        for name in ("gamma", "tau", "epsilon_start", "epsilon_end"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number in [0, 1]")
        if any(size < 1 for size in self.hidden_dims):
            raise ConfigError(f"hidden_dims={self.hidden_dims}: every layer needs a unit")
        if self.learning_starts < 0:
            raise ConfigError(f"learning_starts={self.learning_starts}: choose 0 or more")
