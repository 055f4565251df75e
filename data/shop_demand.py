"""Daily demand for one shop product, in multiples of its own usual sales: real or drawn.

A product's usual sales are known to whoever orders it; scaled by them to `USUAL` units a day, one
policy serves every product. Real demand is that of `data.retail_traces`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.demand_law import DemandLaw
from data.retail_traces import load_retail_demand
from data.scenario import Array, ScenarioError

USUAL = 20.0
"""Units a day that a product usually sells, after scaling."""
LARGEST = 200.0
"""Ten usual days: what a customer wants beyond that on one day is not served from stock."""
TRAIN_DAYS = 180
"""Of 305 trading days, 1 December 2010 to 21 July 2011; the rest is held out."""
UNSEEN_RANKS = (1, 3)
"""Of five products next to one another in the file, those that nothing is trained on."""


class ShopDemand(Protocol):
    """Anything that can make whole units per day."""

    def draw_units(
        self, num_episodes: int, num_steps: int, generator: np.random.Generator
    ) -> Array:
        """Return `[episode, time]`."""
        ...


@dataclass(frozen=True, kw_only=True)
class RetailDays:
    """Real trading days of some products, scaled; closed days are left out."""

    units: Array
    """`[day, product]`."""
    products: tuple[str, ...]

    def draw_units(
        self, num_episodes: int, num_steps: int, generator: np.random.Generator
    ) -> Array:
        """Cut windows at random, `[episode, time]`.

        Args:
            num_episodes: How many.
            num_steps: Trading days of each.
            generator: The only source of chance.

        Raises:
            ScenarioError: There are fewer days.
        """
        self._require(num_steps)
        first = generator.integers(0, len(self.units) - num_steps + 1, num_episodes)
        product = generator.integers(0, len(self.products), num_episodes)
        return self._cut(first, product, num_steps)

    def cut_windows(self, num_steps: int, stride: int) -> tuple[Array, NDArray[np.intp]]:
        """Cut every product from the first day on, then from `stride` days later, and so on.

        Args:
            num_steps: Trading days of each window.
            stride: Days between two beginnings.

        Returns:
            `[episode, time]`, and the product of each episode.

        Raises:
            ScenarioError: There are fewer days.
        """
        self._require(num_steps)
        begin = np.arange(0, len(self.units) - num_steps + 1, stride)
        first, product = np.meshgrid(begin, np.arange(len(self.products)), indexing="ij")
        return self._cut(first.ravel(), product.ravel(), num_steps), product.ravel()

    def _cut(self, first: NDArray[np.intp], product: NDArray[np.intp], num_steps: int) -> Array:
        days = first[:, None] + np.arange(num_steps)
        windows: Array = self.units[days, product[:, None]]
        return windows

    def _require(self, num_steps: int) -> None:
        if num_steps > len(self.units):
            raise ScenarioError(
                f"episodes of {num_steps} days do not fit in {len(self.units)} trading days; "
                "choose shorter ones"
            )


def load_shop_days(folder: Path) -> tuple[RetailDays, RetailDays]:
    """Read the days to train on, and other days of other products, which are held out.

    Sales that a product is scaled by are those of its first `TRAIN_DAYS` days: what is known when
    the held-out days begin.

    Args:
        folder: Where the traces lie.

    Raises:
        TraceError: The file is missing, cut short or malformed.
    """
    history = load_retail_demand(folder)
    units = history.units[history.is_open]
    usual = units[:TRAIN_DAYS].mean(0)
    scaled = np.minimum(np.round(units / usual * USUAL), LARGEST).astype(np.float32)
    unseen = np.isin(np.arange(units.shape[1]) % 5, UNSEEN_RANKS)
    names = np.asarray(history.names)
    train = RetailDays(units=scaled[:TRAIN_DAYS, ~unseen], products=tuple(names[~unseen].tolist()))
    held_out = RetailDays(units=scaled[TRAIN_DAYS:, unseen], products=tuple(names[unseen].tolist()))
    return train, held_out


@dataclass(frozen=True, kw_only=True)
class SyntheticShop:
    """Drawn demand of products whose sales drift, jump and come in lumps, as real ones do."""

    law: DemandLaw
    shock: float = 1.0
    """Factor from `shock_step` on."""
    shock_step: int = 40

    def draw_units(
        self, num_episodes: int, num_steps: int, generator: np.random.Generator
    ) -> Array:
        """Draw units that begin on any day of the week, `[episode, time]`.

        Args:
            num_episodes: How many.
            num_steps: Length of each.
            generator: The only source of chance.
        """
        period = len(self.law.season)
        drawn = self.law.draw(num_episodes, num_steps + period - 1, 1, generator)[..., 0]
        begin = generator.integers(0, period, num_episodes)
        units = drawn[np.arange(num_episodes)[:, None], begin[:, None] + np.arange(num_steps)]
        units[:, self.shock_step :] = np.round(units[:, self.shock_step :] * self.shock)
        served: Array = np.minimum(units, np.float32(LARGEST))
        return served
