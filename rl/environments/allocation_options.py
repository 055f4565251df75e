"""How the shared-services world is played."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rl.domains.service_market import EnergyConfig, MarketConfig
from rl.environments.lockstep import LockstepOptions
from rl.environments.mechanisms import MECHANISMS
from utils.errors import ConfigError

AUCTION = "auction"
MECHANISM_NAMES = (*MECHANISMS, AUCTION)


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig(LockstepOptions):
    """How the world is played."""

    view: Literal["planner", "services"] = "planner"
    """One agent splits every capacity, or each service asks for itself."""
    action: Literal["shares", "coverage"] = "shares"
    """Actions are shares of the capacities, or coverage of waiting work and recent demand."""
    reward: Literal["kpi", "losses"] = "kpi"
    """Served value, or minus lost value; both less the holding cost. They differ by the value of
    what arrived, which no action changes, and of what still waits; losses vary far less, so they
    are what training learns from."""
    mechanism: Literal["proportional", "priority", "max_min", "auction"] = "proportional"
    """How requests of services that exceed a capacity are resolved."""
    market: MarketConfig | None = None
    """What services pay and from which budget; None has neither."""
    energy: EnergyConfig | None = None
    """What units held cost in energy and carbon; None counts neither."""
    counts_sharing: bool = False
    """Whether the metrics hold the Jain index of a step and the share of the capacities that
    served; wanted where a weight follows."""
    fairness_weight: float = 0.0
    """Reward, split equally, for the Jain index of the served parts of all pending work."""
    efficiency_weight: float = 0.0
    """Reward, split equally, for the part of the units held that served."""

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        super().__post_init__()
        if self.view not in {"planner", "services"}:
            raise ConfigError(f"view {self.view!r}; known: planner, services")
        if self.mechanism not in MECHANISM_NAMES:
            known = ", ".join(MECHANISM_NAMES)
            raise ConfigError(f"mechanism {self.mechanism!r}; known: {known}")
        if self.mechanism == AUCTION and self.market is None:
            raise ConfigError("an auction needs budgets and bids; give market=MarketConfig()")
        if self.market is not None and self.view != "services":
            raise ConfigError("a planner pays nobody; leave market out, or take view='services'")
        if max(self.fairness_weight, self.efficiency_weight) > 0 and not self.counts_sharing:
            raise ConfigError("fairness_weight and efficiency_weight need counts_sharing=True")
        weights = (self.fairness_weight, self.efficiency_weight)
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
            raise ConfigError(
                "fairness_weight and efficiency_weight must be finite and not negative, not "
                f"{weights}"
            )
