"""Settings of QMIX and VDN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rl.algorithms.setting_checks import check_finite
from utils.errors import ConfigError

Mixing = Literal["vdn", "qmix"]
Share = Literal["sum", "mean"]

POSITIVE = (
    *("mixing_dim", "hypernet_dim", "learning_rate", "max_grad_norm", "tau", "batch_size"),
    *("target_update_frequency", "epsilon_decay_steps", "buffer_size", "max_episode_steps"),
    *("train_frequency", "gradient_steps"),
)


@dataclass(frozen=True, kw_only=True)
class QMIXConfig:
    """Settings of QMIX and VDN; the defaults are EPyMARL's where it has any."""

    mixer: Mixing = "qmix"
    """`vdn` adds the agents' values, `qmix` mixes them by weights that depend on the state."""
    recurrent: bool = False
    """Agents remember their episode: the last hidden layer is a GRU, trained on whole episodes."""
    hidden_dims: tuple[int, ...] = (64, 64)
    mixing_dim: int = 32
    """Units between the agents' values and the team's."""
    hypernet_dim: int = 64
    """Hidden units of the networks that draw the mixer's weights from the state."""
    learning_rate: float = 5e-4
    gamma: float = 0.99
    max_grad_norm: float = 10.0
    double: bool = True
    """The target network values the choices that the online network likes best."""
    target_update_frequency: int = 200
    """Optimiser steps between two moves of the target network."""
    tau: float = 1.0
    """How far the target network moves to the online one: 1 copies it."""
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_decay_steps: int = 50_000
    """Environment steps over which each agent's share of random choices falls, linearly."""
    team_reward: Share = "sum"
    """What the team learns from: the sum or the mean of its agents' rewards."""
    standardize_rewards: bool = False
    """Shift and scale the team's reward to mean 0 and deviation 1 of all that was seen. The shift
    adds to longer episodes, so use it where all are of one length."""
    buffer_size: int = 125_000
    """Steps remembered."""
    batch_size: int = 32
    """Steps in an optimiser step, or whole episodes if recurrent."""
    max_episode_steps: int = 25
    """Longest episode learnt from, if recurrent."""
    learning_starts: int = 1_000
    """Environment steps before the first update."""
    train_frequency: int = 1
    """Steps of every copy between two updates."""
    gradient_steps: int = 1
    """Optimiser steps in an update."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        check_finite(self, unlimited=("max_grad_norm",))
        for name in ("gamma", "epsilon_start", "epsilon_end", "tau"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number in [0, 1]")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number above 0")
        if any(size < 1 for size in self.hidden_dims) or not self.hidden_dims:
            raise ConfigError(f"hidden_dims={self.hidden_dims}: every layer needs a unit")
        if self.learning_starts < 0:
            raise ConfigError(f"learning_starts={self.learning_starts}: choose 0 or more")
