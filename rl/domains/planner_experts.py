"""The best known rule for a network with one planner: base stock per echelon."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rl.domains.network_planner import PlannerConfig, PlannerView
from rl.domains.supply_chain import SupplyConfig, SupplyView
from rl.domains.supply_experts import SupplyExperts
from rl.domains.supply_network import UNLIMITED

EXPERT = "echelon_base_stock"


def as_supply_view(view: PlannerView, config: SupplyConfig) -> SupplyView:
    """Say in the words of a supply network what a planner knows.

    Args:
        view: What is known, NumPy, with one batch axis.
        config: The same network.
    """
    network, rows = config.network, len(view.stock)
    signals = len(network.markets) + len(network.shelves)
    lookback = config.forecasts.lookback
    history = np.zeros((rows, lookback, signals), np.float32)
    history[..., 0] = view.history[:, -lookback:]
    none = np.zeros((rows, 0), np.float32)
    return SupplyView(
        stock=view.stock,
        in_transit=view.in_transit,
        unmet=view.unmet[:, None],
        history=history,
        smoothed=np.zeros((rows, signals), np.float32),
        sentiment=view.sentiment,
        steps_taken=view.steps_taken,
        known_mean=view.known_mean[..., None],
        shortage=none,
        delay=none,
        quality_loss=none,
        capacity_loss=none,
        node_active=np.ones((rows, len(network.nodes)), np.float32),
        product_active=np.ones((rows, 1), np.float32),
    )


class PlannerExpert:
    """Orders each place, with all below it, up to the critical fractile of demand on the way.

    The rule is the one published with gym-invmgmt, but for one thing: no demand is expected after
    the last step.
    """

    def __init__(self, config: PlannerConfig) -> None:
        """Look up costs and ways.

        Args:
            config: The network, and what is known of demand.
        """
        links = tuple(replace(link, max_order=UNLIMITED) for link in config.network.links)
        leaves, waits = (
            SupplyConfig(
                network=replace(config.network, links=links),
                max_steps=config.max_steps,
                known_horizon=config.horizon,
                unit_scale=config.unit_scale,
                backlog=backlog,
            )
            for backlog in (False, True)
        )
        informed = config.horizon > 0
        self._rules = [SupplyExperts(one, informed=informed) for one in (leaves, waits)]

    def __call__(self, view: PlannerView) -> NDArray[np.float64]:
        """Return orders in units, `[row, link]`.

        Args:
            view: What is known, NumPy, with one batch axis.
        """
        orders = []
        for row in range(len(view.stock)):
            rule = self._rules[int(view.waits[row] > 0)]
            one = PlannerView(**{name: part[row : row + 1] for name, part in vars(view).items()})
            orders.append(rule.echelon_base_stock(as_supply_view(one, rule.config))[0])
        return np.stack(orders)
