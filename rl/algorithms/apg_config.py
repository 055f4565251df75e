"""Settings of the analytic policy gradient."""

from __future__ import annotations

from dataclasses import dataclass

from rl.algorithms.activation import PlainActivation
from rl.algorithms.setting_checks import check_finite
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class APGConfig:
    """Settings; the defaults suit episodes of some dozens of steps."""

    hidden_dims: tuple[int, ...] = (64, 64)
    activation: PlainActivation = "tanh"
    learning_rate: float = 6e-3
    warmup_updates: int = 20
    """Updates over which the rate rises; then it falls along a cosine to a fiftieth."""
    max_grad_norm: float = 0.01
    """Of the gradient of the loss, which is in units of the batch's mean return; small enough to
    cut most gradients, so that a few steep episodes do not decide."""
    averaging: float = 0.95
    """Weight of the past in the averaged policy, which is what acts deterministically."""
    normalizer_updates: int = 30
    """The observation normaliser learns during so many first updates, then stays; 0 takes
    observations as they are."""
    observation_clip: float = 10.0
    """Largest magnitude that the normaliser lets through."""
    initial_action_mean: float = 0.5
    range_penalty: float = 1e-2
    """Cost of squared distance of an action from its range, where the simulation has no slope."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        check_finite(self, unlimited=("max_grad_norm", "observation_clip"))
        if any(size < 1 for size in self.hidden_dims):
            raise ConfigError(f"hidden_dims={self.hidden_dims}: every layer needs a unit")
        if min(self.learning_rate, self.max_grad_norm) <= 0 or not 0 <= self.averaging < 1:
            raise ConfigError(f"rates and norms must be above 0, averaging in [0, 1): {self}")
        if self.warmup_updates < 1 or min(self.normalizer_updates, self.range_penalty) < 0:
            raise ConfigError(f"warmup_updates >= 1, others not negative, are needed: {self}")
        if not self.observation_clip > 0:
            raise ConfigError(f"observation_clip must be above 0, not {self.observation_clip}")
