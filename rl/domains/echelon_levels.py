"""Actions of a chain as order-up-to levels per echelon; a constant action is a base-stock policy.

The same lines run in training (torch), evaluation and serving (NumPy).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rl.domains.supply_chain import SupplyDomain, SupplyView
from utils.errors import ConfigError

HIGHEST = 1.5
"""An action of 1 holds so many times the demand that comes between materials and customer."""

END_SHARES = (0.25, 0.5, 0.75, 1.0, 1.5)
"""Of the days between materials and customer: from when on an end in so many days is seen."""
MOST_DAYS = 100.0


class EchelonLevels:
    """What each stage orders so that it and all below hold a level, goods on the way included."""

    def __init__(self, domain: SupplyDomain) -> None:
        """Look at the chain.

        Args:
            domain: Without branches; shelves and links run from the market upstream.

        Raises:
            ConfigError: The network branches or runs otherwise, or has several markets.
        """
        flows, tools = domain.index.flows, domain.tools
        stages = domain.index.num_shelves
        suppliers = [shelf for flow in flows for shelf, _ in flow.takes]
        in_order = [flow.target for flow in flows] == list(range(stages))
        if not in_order or suppliers != list(range(1, stages)) or domain.index.num_markets != 1:
            raise ConfigError(
                "levels need a chain: one market, every stage ordering from the next one, shelves "
                "and links from the market upstream"
            )
        self.domain = domain
        slot = np.array([flow for flow, _ in domain.slots])
        below = slot[:, None] <= np.arange(stages)
        self._on_the_way = tools.as_array(below.astype(np.float32).tolist())
        self._on_shelves = tools.as_array(np.triu(np.ones((stages, stages))).tolist())
        into = slot[:, None] == np.arange(stages)
        self._inbound = tools.as_array(into.astype(np.float32).tolist())
        way = sum(flow.origin.lead_time + 1 for flow in flows)
        self.highest_days = HIGHEST * way
        """Days of usual sales that an action of 1 stands for."""
        self._ends = [share * way for share in END_SHARES]
        self._end_days = tools.as_array(self._ends)

    def position(self, view: SupplyView) -> Any:
        """Return what each stage and all below have, or will get, for the customers.

        Args:
            view: What is known.

        Returns:
            `[..., stage]`: units.
        """
        position = view.stock @ self._on_shelves + view.in_transit @ self._on_the_way
        return position - self.domain.waiting(view)

    @property
    def observation_size(self) -> int:
        """Numbers that `encode` returns."""
        stages = self.domain.index.num_shelves
        return 3 * stages + self.domain.config.forecasts.window + 2 + len(self._ends) + 1

    def encode(self, view: SupplyView) -> Any:
        """Observe what levels depend on, in days of usual sales; disruptions are left out.

        Args:
            view: What is known.

        Returns:
            `[..., observation]`, not negative: shelves, goods on the way to each stage, positions;
            demand of the last days, its average and smoothing; the share of time left, and days
            left up to some numbers of days, as shares of these.
        """
        xp, config = self.domain.tools.xp, self.domain.config
        recent = view.history[..., -config.forecasts.window :, 0]
        forecasts = self.domain.forecasts(view)[..., 0]
        units = [
            view.stock,
            view.in_transit @ self._inbound,
            self.position(view),
            recent,
            forecasts[..., 0:1],
            forecasts[..., 2:3],
        ]
        days = xp.clip(xp.concatenate(units, -1) / config.unit_scale, 0.0, MOST_DAYS)
        left = (config.max_steps - view.steps_taken)[..., None]
        ends = xp.clip(left / self._end_days, 0.0, 1.0)
        return xp.concatenate([days, left / config.max_steps, ends], -1)

    def order_up_to(self, level: Any, view: SupplyView) -> Any:
        """Order what lacks, no more than the supplier has and the largest order.

        Args:
            level: `[..., stage]`: units.
            view: What is known.

        Returns:
            `[..., stage]`: units.
        """
        xp, most = self.domain.tools.xp, self.domain.max_order
        room = xp.minimum(view.stock[..., 1:], most[:-1])
        source = xp.broadcast_to(most[-1:], (*room.shape[:-1], 1))
        lacking = xp.clip(level - self.position(view), 0.0, None)
        return xp.minimum(lacking, xp.concatenate([room, source], -1))

    def orders(self, action: Any, view: SupplyView) -> Any:
        """Turn an action into orders.

        Args:
            action: `[..., stage]`: level as a share of `highest_days` of usual sales; clipped to
                [0, 1].
            view: What is known.

        Returns:
            `[..., stage]`: units.
        """
        usual = self.domain.config.unit_scale
        level = self.domain.tools.xp.clip(action, 0.0, 1.0) * (self.highest_days * usual)
        return self.order_up_to(level, view)
