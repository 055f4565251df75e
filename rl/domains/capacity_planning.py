"""Capacity that is built in lumps and comes late: what is observed, and what can be built.

The same lines run in training (torch), evaluation and serving (NumPy).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import ConfigError

OBSERVATION_LIMIT = 10.0


@dataclass(frozen=True, kw_only=True)
class CapacityConfig:
    """Regions, lumps and what they cost, in currency."""

    num_regions: int = 3
    max_steps: int = 60
    lookback: int = 12
    """Steps of past demand that are seen."""
    lead_time: int = 3
    """Steps from the decision until a lump serves; at least 1."""
    lump_units: float = 10.0
    """Units of demand that a lump serves in a step."""
    max_lumps: int = 4
    """Most that are built or removed in a region and step."""
    build_cost: float = 200.0
    """Per lump, when it is decided."""
    step_cost: float = 50.0
    """Per region and step in which anything is built."""
    removal_cost: float = 20.0
    """Per lump; it is gone at once."""
    idle_cost: float = 0.5
    """Per unit of capacity and step that serves nobody."""
    unmet_penalty: float = 3.0
    """Per unit of demand that is lost."""
    reference_units: float = 100.0
    """Demand of a region that is observed as 1."""

    def __post_init__(self) -> None:
        """Refuse empty worlds and negative costs."""
        for name in ("num_regions", "max_steps", "lookback", "lead_time", "max_lumps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("lump_units", "reference_units"):
            if not 0 < getattr(self, name) < np.inf:
                raise ConfigError(f"{name} must be finite and above 0, not {getattr(self, name)}")
        for name in ("build_cost", "step_cost", "removal_cost", "idle_cost", "unmet_penalty"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(
                    f"{name} must be finite and not negative, not {getattr(self, name)}"
                )

    @property
    def observation_size(self) -> int:
        """Numbers that are observed."""
        return self.num_regions * (2 + self.lead_time + self.lookback) + 1


@dataclass(frozen=True, kw_only=True)
class CapacityView:
    """What is known before a step; any leading batch axes, NumPy or torch."""

    lumps: Any
    """`[..., region]`: standing, without those that come in this step."""
    coming: Any
    """`[..., region, lead]`: lumps that come in this step, the next, and so on."""
    recent_demand: Any
    """`[..., lookback, region]`: units, newest last."""
    active: Any
    """`[..., region]`: 1 where a region is in the world."""
    steps_left: Any
    """`[...]`: this one included."""


class CapacityDomain:
    """Observation and feasibility, on NumPy or torch arrays."""

    def __init__(self, config: CapacityConfig, xp: Any = np) -> None:
        """Keep the rules.

        Args:
            config: The world.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.config = config
        self._xp = xp

    def encode(self, view: CapacityView) -> Any:
        """Observe capacity, what is coming, and past demand.

        Args:
            view: What is known.

        Returns:
            `[..., observation_size]` in [0, 10]: standing capacity, capacity to come by step, and
            recent demand, all over `reference_units`; active regions; share of steps left.
        """
        xp, config = self._xp, self.config
        scale = config.lump_units / config.reference_units
        lead = view.lumps.shape[:-1]
        parts = [
            view.lumps * scale,
            view.coming.reshape((*lead, -1)) * scale,
            view.recent_demand.reshape((*lead, -1)) / config.reference_units,
            view.active,
            (view.steps_left / config.max_steps)[..., None],
        ]
        return xp.clip(xp.concatenate(parts, -1), 0.0, OBSERVATION_LIMIT)

    def project(self, action: Any, view: CapacityView) -> Any:
        """Turn an action into whole lumps.

        Args:
            action: `[..., region]` in [-1, 1], share of `max_lumps`: above 0 built, below removed.
            view: What is known.

        Returns:
            `[..., region]`: never more removed than stands; 0 in regions that are not active.
        """
        xp = self._xp
        wanted = xp.round(xp.clip(action, -1.0, 1.0) * self.config.max_lumps)
        return xp.maximum(wanted, -(view.lumps + view.coming[..., 0])) * view.active
