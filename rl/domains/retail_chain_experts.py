"""What experts order in a chain of stages: up to so many days of forecast demand, per echelon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rl.domains.echelon_levels import EchelonLevels
from rl.domains.supply_chain import SupplyConfig, SupplyDomain, SupplyView
from utils.errors import ConfigError

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Covers:
    """How far stock has to reach; one row per episode where several are played side by side."""

    cover: Numbers
    """`[..., stage]`: days of demand that stage and all below hold, goods on the way included."""
    trust: Numbers
    """`[...]` in [0, 1]: weight of smoothed demand, against the product's usual sales."""
    gap: Numbers
    """`[...]`: days below the cover at which an order is placed; 0 orders every day."""

    def __post_init__(self) -> None:
        """Refuse covers and gaps that are no numbers, and trust outside [0, 1]."""
        for name, values in vars(self).items():
            if not np.isfinite(values).all() or (np.asarray(values) < 0).any():
                raise ConfigError(f"{name} must be finite and not negative: {values}")
        if (np.asarray(self.trust) > 1).any():
            raise ConfigError(f"trust must lie in [0, 1]: {self.trust}")


class CoverRule:
    """Base stock of a chain, in days of demand; with a gap, (s, S).

    Nobody orders for days after the end. Demand is forecast as a mix of the product's usual sales
    and smoothed demand.
    """

    def __init__(self, config: SupplyConfig, covers: Covers) -> None:
        """Keep the rule.

        Args:
            config: A chain; shelves and links run from the shop upstream.
            covers: Its parameters.

        Raises:
            ConfigError: The network is no such chain, or covers and stages differ in number.
        """
        self._levels = EchelonLevels(SupplyDomain(config))
        stages = self._levels.domain.index.num_shelves
        if covers.cover.shape[-1] != stages:
            raise ConfigError(f"{covers.cover.shape[-1]} covers for {stages} stages")
        self._config, self._covers = config, covers

    def __call__(self, view: SupplyView) -> Numbers:
        """Return orders in units, `[episode, stage]`.

        Args:
            view: What is known, NumPy.
        """
        covers, usual = self._covers, self._config.unit_scale
        smoothed = np.where(view.steps_taken > 0, view.smoothed[..., 0], usual)
        rate = (usual + covers.trust * (smoothed - usual))[..., None]
        left = (self._config.max_steps - view.steps_taken)[..., None]
        cover = np.minimum(covers.cover, left)
        low = self._levels.position(view) <= rate * (cover - np.asarray(covers.gap)[..., None])
        wanted = self._levels.order_up_to(rate * cover, view)
        orders: Numbers = np.where(low, wanted, 0.0).astype(np.float64)
        return orders
