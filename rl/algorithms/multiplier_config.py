"""Settings of the Lagrange multipliers on costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from rl.algorithms.setting_checks import check_finite
from utils.errors import ConfigError

Method = Literal["projected", "softplus", "pid"]


@dataclass(frozen=True, kw_only=True)
class MultiplierConfig:
    """Limits on the mean cost of a step, and how their multipliers move."""

    cost_limits: tuple[float, ...]
    """d: highest mean cost per step and agent, one for each of the environment's costs."""
    method: Method = "pid"
    """Gradient ascent kept at zero or above, or on z with multiplier = softplus(z), or PID."""
    learning_rate: float = 0.1
    """Step of the gradient, and the gain of the integral term (K_I) of PID."""
    proportional_gain: float = 0.0
    """K_P of PID."""
    derivative_gain: float = 0.0
    """K_D of PID."""
    initial_multiplier: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        check_finite(self)
        if not self.cost_limits:
            raise ConfigError("cost_limits=(): give one limit for each cost of the environment")
        if self.method not in get_args(Method):
            raise ConfigError(f"method={self.method!r}: choose from {get_args(Method)}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate={self.learning_rate}: choose a number above 0")
        for name in ("proportional_gain", "derivative_gain", "initial_multiplier"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose 0 or more")
            if name.endswith("gain") and getattr(self, name) > 0 and self.method != "pid":
                raise ConfigError(
                    f"{name}={getattr(self, name)} with method={self.method}: only pid has gains; "
                    "choose method=pid or leave the gain at 0"
                )
        if self.method == "softplus" and self.initial_multiplier == 0:
            raise ConfigError(
                "initial_multiplier=0.0 with method=softplus: its gradient vanishes there; choose "
                "a number above 0, such as 0.1"
            )
