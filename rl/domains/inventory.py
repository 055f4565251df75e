"""A serial supply chain of one product: what is observed and what can be shipped.

Stage 0 sells to customers; every stage orders from the next one, the last from a source that never
runs dry. The same lines run in training (torch), evaluation and serving (NumPy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.demand import PoissonDemand
from utils.errors import ConfigError

OBSERVATION_LIMIT = 40.0
UNIT_TOLERANCE = 1e-3
"""Orders this little below a whole unit count as whole: shares of a capacity are rounded floats."""


@dataclass(frozen=True, kw_only=True)
class InventoryConfig:
    """The chain; tuples run from the retailer upstream, `stage` entries unless said otherwise."""

    initial_stock: tuple[float, ...]
    capacity: tuple[float, ...]
    """Largest shipment to the stage in one step, set by its supplier's production."""
    lead_time: tuple[int, ...]
    """Steps from shipment to receipt; 0 is received in the same step."""
    price: float
    """Customers pay this per unit; a stage pays its supplier its own replenishment cost."""
    replenishment_cost: tuple[float, ...]
    """`stage + 1` entries: per unit bought; the last is the source's cost of making one."""
    penalty: tuple[float, ...]
    """`stage + 1` entries: per unit asked of the stage (the last: the source) and not delivered."""
    holding_cost: tuple[float, ...]
    """Per unit on the shelf after each step."""
    setup_cost: tuple[float, ...] = ()
    """Per order a stage places, whatever its size; empty: orders cost nothing by themselves."""
    discount: float = 1.0
    """A step's profit counts `discount ** step`."""
    lost_sales: bool = False
    """What is not delivered is forgotten, customers' demand and stages' orders; else it waits."""
    whole_units: bool = True
    """Orders are rounded down to whole units."""
    max_steps: int = 30
    lookback: int = 5

    def __post_init__(self) -> None:
        """Check that sizes fit and values make sense, naming the field."""
        stages = len(self.initial_stock)
        if not stages:
            raise ConfigError("initial_stock is empty; give one entry per stage")
        for name, size, least in (
            ("initial_stock", stages, 0.0),
            ("lead_time", stages, 0.0),
            ("holding_cost", stages, 0.0),
            ("capacity", stages, 1e-6),
            ("replenishment_cost", stages + 1, 0.0),
            ("penalty", stages + 1, 0.0),
            ("setup_cost", stages if self.setup_cost else 0, 0.0),
        ):
            values = np.asarray(getattr(self, name), np.float64)
            if len(values) != size:
                raise ConfigError(f"{name} has {len(values)} entries; give {size}")
            if not np.isfinite(values).all() or values.min(initial=least) < least:
                raise ConfigError(f"{name} must be finite and at least {least}: {values.tolist()}")
        if any(steps != int(steps) for steps in self.lead_time):
            raise ConfigError(f"lead_time must be whole steps, not {self.lead_time}; round it")
        if not 0 <= self.price < np.inf or not 0 < self.discount <= 1:
            raise ConfigError(f"a finite price >= 0 and discount in (0, 1] are needed: {self}")
        if min(self.max_steps, self.lookback) < 1:
            raise ConfigError("max_steps and lookback must be at least 1")

    @property
    def num_stages(self) -> int:
        """Stages that hold stock and order."""
        return len(self.initial_stock)

    @property
    def num_slots(self) -> int:
        """Steps ahead for which receipts are on their way: the longest lead time, at least 1."""
        return max(1, *self.lead_time)


def inv_management(*, lost_sales: bool) -> InventoryConfig:
    """Return OR-Gym's InvManagement, version 0.5.0.

    Args:
        lost_sales: False gives v0 (unmet demand and orders wait), True v1 (they are lost).
    """
    return InventoryConfig(
        initial_stock=(100.0, 100.0, 200.0),
        capacity=(100.0, 90.0, 80.0),
        lead_time=(3, 5, 10),
        price=2.0,
        replenishment_cost=(1.5, 1.0, 0.75, 0.5),
        penalty=(0.10, 0.075, 0.05, 0.025),
        holding_cost=(0.15, 0.10, 0.05),
        discount=0.97,
        lost_sales=lost_sales,
    )


def inv_management_demand() -> PoissonDemand:
    """Return the demand law of OR-Gym's InvManagement: 20 units a step over 30 steps."""
    return PoissonDemand(mean=20.0, max_steps=30)


@dataclass(frozen=True, kw_only=True)
class InventoryView:
    """What is known before orders are placed; any leading batch axes, NumPy or torch."""

    stock: Any
    """`[..., stage]`: units on the shelf."""
    in_transit: Any
    """`[..., stage, slot]`: units received in so many further steps; slot 0 in this step."""
    unmet: Any
    """`[..., stage + 1]`: units asked of each stage that still wait; customers' first, the orders
    that wait at the source last."""
    recent_demand: Any
    """`[..., lookback]`: newest last; zero before the episode began."""
    time_left: Any
    """`[...]`: share of the horizon that is left, in [0, 1]."""


class InventoryDomain:
    """Observation and feasibility of one chain, on NumPy or torch arrays."""

    def __init__(
        self,
        config: InventoryConfig,
        xp: Any = np,
        as_array: Callable[[Any], Any] = lambda values: np.asarray(values, np.float32),
    ) -> None:
        """Prepare the constants.

        Args:
            config: The chain.
            xp: Array namespace, `numpy` or `torch`.
            as_array: Turns nested lists into a float32 array of that namespace.
        """
        self.config = config
        self._xp = xp
        capacity, lead = np.asarray(config.capacity), np.asarray(config.lead_time)
        self.capacity = as_array(capacity)
        self._scale = float(capacity.max())
        self._static = as_array(
            np.stack([capacity / self._scale, lead / config.num_slots], axis=-1)
        )

    @property
    def stage_features(self) -> int:
        """Numbers observed per stage."""
        return self.config.num_slots + 6

    @property
    def shared_features(self) -> int:
        """Numbers observed once: recent demand and the time left."""
        return self.config.lookback + 1

    @property
    def observation_size(self) -> int:
        """Size of the planner's observation."""
        return self.config.num_stages * self.stage_features + self.shared_features

    def encode_stages(self, view: InventoryView) -> Any:
        """Observe each stage, in multiples of the largest capacity.

        Args:
            view: What is known.

        Returns:
            `[..., stage, feature]`: receipts by step, stock, units asked of it that wait, its own
            orders that wait at the supplier, what the supplier can ship now, capacity, lead time
            over the longest; all in [0, 40].
        """
        xp = self._xp
        waiting = view.unmet / self._scale
        numbers = [
            view.in_transit / self._scale,
            (view.stock / self._scale)[..., None],
            waiting[..., :-1, None],
            waiting[..., 1:, None],
            (self.shippable(view.stock) / self._scale)[..., None],
            xp.broadcast_to(self._static, (*view.stock.shape, 2)),
        ]
        return xp.clip(xp.concatenate(numbers, axis=-1), 0.0, OBSERVATION_LIMIT)

    def encode_shared(self, view: InventoryView) -> Any:
        """Observe what all stages have in common.

        Args:
            view: What is known.

        Returns:
            `[..., feature]`: recent demand over the largest capacity, the share of time left.
        """
        xp = self._xp
        recent = xp.clip(view.recent_demand / self._scale, 0.0, OBSERVATION_LIMIT)
        return xp.concatenate([recent, view.time_left[..., None]], axis=-1)

    def encode(self, view: InventoryView) -> Any:
        """Observe everything, for a planner.

        Args:
            view: What is known.

        Returns:
            `[..., observation]`: all stages one after another, then what they share.
        """
        stages = self.encode_stages(view)
        flat = stages.reshape((*stages.shape[:-2], -1))
        return self._xp.concatenate([flat, self.encode_shared(view)], axis=-1)

    def scale_orders(self, action: Any) -> Any:
        """Turn an action into orders before rounding.

        Args:
            action: `[..., stage]`: share of the capacity; clipped to [0, 1].
        """
        return self._xp.clip(action, 0.0, 1.0) * self.capacity

    def round_orders(self, orders: Any) -> Any:
        """Cut orders to whole units where the chain deals in them.

        Args:
            orders: `[..., stage]`: units.
        """
        return self._xp.floor(orders + UNIT_TOLERANCE) if self.config.whole_units else orders

    def shippable(self, stock: Any) -> Any:
        """Return the most that can be shipped to each stage now.

        Args:
            stock: `[..., stage]`: shelves at the beginning of the step; what is received in this
                step cannot be passed on in it.
        """
        xp = self._xp
        source = xp.broadcast_to(self.capacity[-1:], (*stock.shape[:-1], 1))
        return xp.minimum(xp.concatenate([stock[..., 1:], source], axis=-1), self.capacity)

    def project(self, action: Any, view: InventoryView) -> Any:
        """Return what is shipped to each stage in answer to an action.

        Args:
            action: `[..., stage]`: new orders as shares of the capacities, clipped to [0, 1].
            view: What is known; orders that wait are served with the new ones.

        Returns:
            `[..., stage]`: units, cut to capacity and to the supplier's shelf.
        """
        orders = self.round_orders(self.scale_orders(action))
        return self._xp.minimum(orders + view.unmet[..., 1:], self.shippable(view.stock))
