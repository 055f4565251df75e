"""What is seen of a supply network, by a planner and by each agent."""

from __future__ import annotations

from typing import Any

from rl.domains.array_tools import pad_rows
from rl.domains.supply_chain import SupplyDomain, SupplyView

Owners = tuple[int, ...] | None
"""Nodes that see a column; None is all of them."""


class SupplyObserver:
    """Encodes views; an agent's observation is a selection of the planner's columns."""

    def __init__(self, domain: SupplyDomain) -> None:
        """Decide who sees which column.

        Args:
            domain: The network.
        """
        self.domain = domain
        self._owners = _assign_owners(domain)
        self._columns = [
            [c for c, owners in enumerate(self._owners) if owners is None or set(nodes) & {*owners}]
            for nodes in domain.index.agents.values()
        ]
        table = pad_rows(self._columns, len(self._owners))
        self._selection = domain.tools.as_index(table)

    @property
    def observation_size(self) -> int:
        """Columns of the planner."""
        return len(self._owners)

    def agent_sizes(self) -> tuple[int, ...]:
        """Return how many columns each agent sees."""
        return tuple(len(columns) for columns in self._columns)

    def encode(self, view: SupplyView) -> Any:
        """Observe everything, in multiples of `unit_scale`.

        Args:
            view: What is known.

        Returns:
            `[..., column]`, not negative: shelves; what is on the way, by flow and step of receipt;
            units that wait; what was asked of each market and shelf in the last steps, newest
            last; the three forecasts of each; mean demand of the coming steps as far as it is
            known, sentiment included; shortages, delays (in longest delays), quality and capacity
            losses; nodes and products that are in the world; sentiment and share of time left.
        """
        domain, xp = self.domain, self.domain.tools.xp
        config = domain.config
        lead = view.stock.shape[:-1]
        window = config.forecasts.window
        scale = 1.0 / config.unit_scale
        worth = (view.sentiment * scale)[..., None, None]
        units = [
            view.stock * scale,
            view.in_transit * scale,
            domain.waiting(view) * scale,
            (view.history[..., -window:, :] * scale).reshape((*lead, -1)),
            (domain.forecasts(view) * scale).reshape((*lead, -1)),
            (view.known_mean[..., : config.known_horizon, :] * worth).reshape((*lead, -1)),
        ]
        left = 1.0 - view.steps_taken / config.max_steps
        shares = [
            view.shortage,
            view.delay / max(config.max_delay, 1),
            view.quality_loss,
            view.capacity_loss,
            view.node_active,
            view.product_active,
            xp.stack([view.sentiment, left], -1),
        ]
        return xp.concatenate([*units, *shares], -1)

    def encode_agents(self, everything: Any) -> Any:
        """Select what each agent sees.

        Args:
            everything: `[..., column]`, as `encode` returns it.

        Returns:
            `[..., agent, column]`: its nodes' shelves, what is on the way to them, their customers,
            what was asked of them, disruptions at them and on the way to them, and what all see;
            zero padded.
        """
        tools = self.domain.tools
        return tools.take(tools.pad(everything), self._selection)


def _assign_owners(domain: SupplyDomain) -> list[Owners]:
    """Return who sees each column, in the order of `encode`."""
    config, index = domain.config, domain.index
    network = config.network
    shelves: list[Owners] = [(node,) for node in index.shelf_node]
    markets: list[Owners] = [(index.node[one.retailer],) for one in network.markets]
    seen_markets: list[Owners] = [None] * len(markets) if config.share_demand else markets
    nodes: list[Owners] = [(number,) for number in range(len(network.nodes))]
    flows: list[Owners] = [(flow.buyer,) for flow in index.flows]
    asked = [*seen_markets, *shelves]
    owners = [
        *shelves,
        *((index.flows[flow].buyer,) for flow, _ in domain.slots),
        *markets,
        *(asked * config.forecasts.window),
        *(asked * 3),
        *(seen_markets * config.known_horizon),
    ]
    if config.disruptions:
        owners += [*nodes, *flows, *nodes, *nodes]
    return [*owners, *nodes, *([None] * len(network.products)), None, None]
