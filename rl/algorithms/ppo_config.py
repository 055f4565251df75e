"""Settings of proximal policy optimisation, with and without a memory."""

from __future__ import annotations

from dataclasses import dataclass

from rl.algorithms.constraints import MultiplierConfig
from rl.algorithms.networks import Activation
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of PPO; the defaults suit a few dozen copies and short rollouts."""

    hidden_dims: tuple[int, ...] = (64, 64)
    """Hidden layers of the actor, and of the critic."""
    activation: Activation = "tanh"
    learning_rate: float = 3e-4
    decay_learning_rate: bool = False
    """Fall linearly to zero at the end of training."""
    gamma: float = 0.99
    gae_lambda: float = 0.95
    epsilon_clip: float = 0.2
    decay_epsilon_clip: bool = False
    """Fall linearly to zero at the end of training."""
    value_clip: float | None = None
    """How far a value may move in one update, in units of (scaled) reward; None for no limit."""
    ppo_epochs: int = 4
    num_minibatches: int = 4
    entropy_coeff: float = 0.0
    value_loss_coeff: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    """End the update after an epoch whose mean KL divergence exceeds this."""
    normalize_advantages: bool = True
    normalize_observations: bool = True
    scale_rewards: bool = False
    """Divide by the running deviation of the discounted return."""
    initial_log_std: float = 0.0
    initial_action_mean: float = 0.0
    """What a new continuous policy does in every dimension, before noise."""
    cost: MultiplierConfig | None = None
    """Limits on the environment's costs; None for no limit."""
    tail_share: float | None = None
    """Raise the mean of this share of the worst episodes; None for the mean of all."""
    memory_size: int = 0
    """Units of the recurrent memories of `RecurrentPPOAgent`; 0 for none."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        positive = ("learning_rate", "epsilon_clip", "max_grad_norm", "ppo_epochs")
        optional = [n for n in ("value_clip", "target_kl") if getattr(self, n) is not None]
        for name in ("gamma", "gae_lambda"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number in [0, 1]")
        for name in (*positive, *optional, "num_minibatches"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number above 0")
        if self.tail_share is not None and not 0.0 < self.tail_share <= 1.0:
            raise ConfigError(f"tail_share={self.tail_share}: choose a number in (0, 1], or None")
        if self.memory_size < 0:
            raise ConfigError(f"memory_size={self.memory_size}: choose 0 or more")
        if any(size < 1 for size in self.hidden_dims):
            raise ConfigError(f"hidden_dims={self.hidden_dims}: every layer needs a unit")
