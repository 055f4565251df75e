"""The settings of a training run, as people and jobs give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utils.errors import ConfigError

STEPS_PER_EPISODE = 72
"""Six hours of five minutes."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One run: what is trained, on what, for how long."""

    environment: Literal["resource_allocation"] = "resource_allocation"
    algorithm: Literal["apg", "ppo"] = "apg"
    """Analytic policy gradient through the simulation, or proximal policy optimisation."""
    num_agents: int = 4
    """Services that share the capacities."""
    total_episodes: int = 44_800
    num_envs: int = 128
    """Copies played at once."""
    eval_frequency: int = 4_480
    """Episodes between evaluations on validation windows."""
    checkpoint_frequency: int = 1_280
    """Episodes between checkpoints."""
    use_synthetic_data: bool = True
    """Mix synthetic demand into the real one; without traces all demand is synthetic."""
    real_share: float = 0.8
    """Share of real windows in the mix."""
    traces: str | None = None
    """Folder of the trace files; None looks where `data.traces.locate_traces` says."""
    seed: int = 0
    experiment_name: str = "resource_allocation"

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        for name in ("num_agents", "total_episodes", "num_envs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: choose at least 1")
        for name in ("eval_frequency", "checkpoint_frequency", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose 0 or more")
        if not 0 < self.real_share < 1:
            raise ConfigError(f"real_share={self.real_share}: choose a share between 0 and 1")
        if not self.experiment_name.strip():
            raise ConfigError("experiment_name is empty: give the question a name")

    @property
    def total_env_steps(self) -> int:
        """Steps over all copies; whole rounds of all copies."""
        rounds = -(-self.total_episodes // self.num_envs)
        return rounds * self.num_envs * STEPS_PER_EPISODE

    def in_updates(self, episodes: int) -> int:
        """Return how many updates so many episodes take; 0 stays 0.

        Args:
            episodes: Summed over copies.
        """
        return 0 if episodes == 0 else max(1, round(episodes / self.num_envs))
