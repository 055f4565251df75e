"""What of a world can be chosen, as people and jobs give it; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from rl.domains.constrained_allocation import ConstrainedConfig


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """One place for each world with sizes to choose; an empty one plays as the catalogue says."""

    constrained_allocation: ConstrainedConfig | None = None

    def episode_steps(self, environment: str) -> int | None:
        """Return the steps of an episode where they were chosen here, else None.

        Args:
            environment: The world.
        """
        if environment == "constrained_allocation" and self.constrained_allocation is not None:
            return self.constrained_allocation.episode_length
        return None
