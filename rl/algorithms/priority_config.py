"""Settings of prioritised replay."""

from __future__ import annotations

from dataclasses import dataclass

from rl.algorithms.setting_checks import check_finite
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PriorityConfig:
    """How strongly large errors are preferred, and how far that is corrected."""

    alpha: float = 0.6
    """Exponent of the priority: 0 draws uniformly, 1 in proportion to the error."""
    beta: float = 0.4
    """Exponent of the correction at first."""
    final_beta: float = 1.0
    """At last; 1 corrects the bias in full."""
    beta_batches: int = 100_000
    """Batches over which the correction grows, linearly."""
    epsilon: float = 1e-6
    """Added to every error, so that none is forgotten."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_finite(self)
        if not 0.0 <= self.alpha <= 1.0:
            raise ConfigError(f"alpha is {self.alpha}: it lies in [0, 1]; 0 draws uniformly")
        if not 0.0 <= self.beta <= self.final_beta <= 1.0:
            raise ConfigError(
                f"beta is {self.beta} and final_beta {self.final_beta}: "
                "both lie in [0, 1] and the second is not the smaller"
            )
        if self.beta_batches < 1:
            raise ConfigError(f"beta_batches is {self.beta_batches}: it is at least 1")
        if self.epsilon <= 0.0:
            raise ConfigError(
                f"epsilon is {self.epsilon}: with none a transition without error is never seen"
            )

    def beta_at(self, batches: int) -> float:
        """Return the exponent of the correction.

        Args:
            batches: Drawn so far.
        """
        done = min(batches / self.beta_batches, 1.0)
        return self.beta + (self.final_beta - self.beta) * done
