"""The two trained worlds of replenishment: levels in a supply chain, orders in a serial one."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ai_agents.policy_checks import check_policy
from ai_agents.replenishment_state import KINDS, Array64, ChainState, ChainTerms, Limit
from rl.artifacts import Figure, PolicyArtifact
from rl.deployment.guardrails import finite_rows
from rl.deployment.inventory_exporter import ORDERS, ServedInventory
from rl.deployment.policy_runtime import PolicyRuntime
from rl.deployment.supply_exporter import LEVELS
from rl.domains.echelon_levels import EchelonLevels
from rl.domains.inventory import InventoryDomain, InventoryView
from rl.domains.inventory_experts import base_stock
from rl.domains.retail_chain_experts import CoverRule, Covers
from rl.domains.supply_chain import SupplyConfig, SupplyDomain, SupplyView
from rl.domains.supply_network import UNLIMITED
from utils.config import from_json
from utils.errors import ConfigError

Usable = NDArray[np.bool_]
Float32 = NDArray[np.float32]


class LevelChain:
    """A supply chain whose policy sets an order-up-to level per echelon; see `EchelonLevels`."""

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read the world and the expert.

        Args:
            artifact: Of domain `supply_chain`.

        Raises:
            ConfigError: The world is no chain, or network or expert do not fit it.
        """
        config = from_json(SupplyConfig, json.loads(artifact.domain_config))
        self._levels = levels = EchelonLevels(SupplyDomain(config))
        check_policy(artifact, LEVELS, levels.observation_size, levels.domain.index.num_shelves)
        self._config, index = config, levels.domain.index
        self._expert = CoverRule(config, _read_covers(artifact.card.baseline.parameters))
        self.expert_name = artifact.card.baseline.expert
        nodes = config.network.nodes
        self._supplier = np.array([flow.supplier for flow in index.flows])
        self._buyer = np.array([flow.buyer for flow in index.flows])
        self._yield = np.array([nodes[node].output_yield for node in self._supplier])
        self._node_capacity = np.array([nodes[node].capacity for node in self._supplier])
        self._capacity = np.array([flow.origin.capacity for flow in index.flows])
        self._slot_place = np.array([flow for flow, _ in levels.domain.slots])
        self._slot_day = np.array([day for _, day in levels.domain.slots])
        self.terms = self._make_terms()

    def wish(self, runtime: PolicyRuntime, state: ChainState) -> tuple[Array64, Usable]:
        """Order up to the levels that the policy sets.

        Args:
            runtime: The policy.
            state: Products.
        """
        view = self.view(state)
        output = runtime.output(self._levels.encode(view))
        usable = finite_rows(output)
        level = runtime.choose(np.where(usable[:, None], output, np.float32(0)))
        height = self._levels.highest_days * self._config.unit_scale
        lacking = np.maximum(level * np.float32(height) - self._levels.position(view), 0.0)
        return lacking.astype(np.float64) / state.scale[:, None], usable

    def ask_expert(self, state: ChainState) -> Array64:
        """Order up to so many days of forecast demand.

        Args:
            state: Products.
        """
        return np.asarray(self._expert(self.view(state)) / state.scale[:, None])

    def limits(self, state: ChainState) -> list[Limit]:
        """Return what suppliers have and can ship, and the largest orders.

        Args:
            state: Products.
        """
        per_unit = state.scale[:, None]
        works = 1.0 - self._trouble(state, "capacity_loss")[:, self._supplier]
        on_shelf = state.stock[:, 1:] * self._yield[:-1]
        too_much = on_shelf / self._yield[:-1] > state.stock[:, 1:]
        on_shelf = np.where(too_much, np.nextafter(on_shelf, 0.0), on_shelf)
        source = np.full((len(on_shelf), 1), np.inf)
        most = self._levels.domain.max_order.astype(np.float64)
        limits = [
            Limit(
                name="stock",
                of_supplier=True,
                units=np.concatenate([on_shelf, source], -1),
                words="what {who} has",
            ),
            Limit(
                name="max_order",
                of_supplier=False,
                units=most / per_unit,
                words="the largest order",
            ),
        ]
        capacity = np.minimum(self._capacity, self._node_capacity)
        if capacity.min() < UNLIMITED or self._config.disruptions:
            units = capacity * works / per_unit
            words = "what {who} can ship"
            limits.append(Limit(name="capacity", of_supplier=True, units=units, words=words))
        return limits

    def in_lots(self, orders: Array64) -> Array64:
        """Return orders as they are: units may be split.

        Args:
            orders: `[product, place]`.
        """
        return orders

    def shipped(self, orders: Array64, state: ChainState) -> Array64:
        """Take off what suppliers refuse.

        Args:
            orders: `[product, place]`: within the limits.
            state: Products.
        """
        return orders * (1.0 - self._trouble(state, "shortage")[:, self._supplier])

    def view(self, state: ChainState) -> SupplyView:
        """Return the products in the units and the precision of training.

        Args:
            state: Products.
        """
        config, index = self._config, self._levels.domain.index
        count, signals = len(state.stock), index.num_markets + index.num_shelves
        per_unit = state.scale[:, None]
        history = np.zeros((count, config.forecasts.lookback, signals), np.float32)
        history[:, :, 0] = state.demand * per_unit
        smoothed = np.zeros((count, signals), np.float32)
        smoothed[:, 0] = state.average * state.scale
        return SupplyView(
            stock=(state.stock * per_unit).astype(np.float32),
            in_transit=self._in_slots(state),
            unmet=(state.waiting[:, None] * per_unit).astype(np.float32),
            history=history,
            smoothed=smoothed,
            sentiment=np.ones(count, np.float32),
            steps_taken=state.days_taken.astype(np.float32),
            known_mean=np.zeros((count, max(config.known_horizon, 1), 1), np.float32),
            shortage=self._trouble(state, "shortage"),
            delay=self._trouble(state, "delay")[:, self._buyer],
            quality_loss=self._trouble(state, "quality_loss"),
            capacity_loss=self._trouble(state, "capacity_loss"),
            node_active=np.ones((count, len(index.node)), np.float32),
            product_active=np.ones((count, 1), np.float32),
        )

    def _in_slots(self, state: ChainState) -> Float32:
        arrivals = state.arrivals * state.scale[:, None, None]
        slots: Float32 = arrivals[:, self._slot_place, self._slot_day].astype(np.float32)
        return slots

    def _trouble(self, state: ChainState, kind: str) -> Array64:
        found = state.trouble[:, KINDS.index(kind)]
        return found if found.shape[-1] else np.zeros((len(found), len(self._config.network.nodes)))

    def _make_terms(self) -> ChainTerms:
        config, index = self._config, self._levels.domain.index
        network = config.network
        names = tuple(node.name for node in network.nodes)
        market = network.markets[0]
        shelves = [f"{one.node}.{one.product}" for one in network.shelves]
        leads = tuple(flow.origin.lead_time for flow in index.flows)
        return ChainTerms(
            places=tuple(one.node for one in network.shelves),
            suppliers=tuple(names[node] for node in self._supplier),
            lead_days=leads,
            ways=tuple(lead + config.max_delay for lead in leads),
            nodes=names if config.disruptions else (),
            max_delay=config.max_delay,
            lookback=config.forecasts.lookback,
            horizon=config.max_steps,
            usual_sales=config.unit_scale,
            smoothing=config.forecasts.smoothing,
            customers_wait=config.backlog,
            orders_wait=False,
            range_fields=(
                f"demand.{market.customer}.{market.product}",
                *(f"stock.{shelf}" for shelf in shelves),
                *(f"on_the_way.{shelf}" for shelf in shelves),
                "waiting",
                *(f"waiting_orders.{shelf}" for shelf in shelves),
                *KINDS,
            ),
        )


class SerialChain:
    """A serial chain whose policy orders shares of the capacities; see `InventoryDomain`."""

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read the world and the levels of the expert.

        Args:
            artifact: Of domain `serial_inventory`.

        Raises:
            ConfigError: The network does not fit the world.
        """
        served = from_json(ServedInventory, json.loads(artifact.domain_config))
        self._config, self._stand_in = served.chain, np.asarray(served.base_stock_levels)
        self._domain = InventoryDomain(served.chain)
        check_policy(artifact, ORDERS, self._domain.observation_size, served.chain.num_stages)
        self._capacity = np.asarray(served.chain.capacity, np.float64)
        self.expert_name = "base_stock"
        self.terms = self._make_terms()

    def wish(self, runtime: PolicyRuntime, state: ChainState) -> tuple[Array64, Usable]:
        """Order the shares of the capacities that the policy wants.

        Args:
            runtime: The policy.
            state: Products.
        """
        output = runtime.output(self._domain.encode(self.view(state)))
        usable = finite_rows(output)
        share = runtime.choose(np.where(usable[:, None], output, np.float32(0)))
        return np.asarray(self._domain.scale_orders(share), np.float64), usable

    def ask_expert(self, state: ChainState) -> Array64:
        """Order up to a level per echelon.

        Args:
            state: Products.
        """
        share = base_stock(self.view(state), self._config, self._stand_in)
        return np.asarray(self._domain.scale_orders(share), np.float64)

    def limits(self, state: ChainState) -> list[Limit]:
        """Return the capacities; orders beyond a supplier's shelf wait, or are lost.

        Args:
            state: Products.
        """
        units = np.broadcast_to(self._capacity, state.stock.shape)
        words = "what can be shipped to {who} in a day"
        return [Limit(name="capacity", of_supplier=False, units=units, words=words)]

    def in_lots(self, orders: Array64) -> Array64:
        """Round down to whole units where the chain deals in them.

        Args:
            orders: `[product, place]`.
        """
        whole = np.asarray(self._domain.round_orders(orders), np.float64)
        most = np.floor(self._capacity) if self._config.whole_units else self._capacity
        return np.asarray(np.minimum(whole, most))

    def shipped(self, orders: Array64, state: ChainState) -> Array64:
        """Cut orders, with those that wait, to what suppliers have and can ship.

        Args:
            orders: `[product, place]`: within the limits.
            state: Products.
        """
        source = np.full((len(orders), 1), np.inf)
        on_shelf = np.concatenate([state.stock[:, 1:], source], -1)
        room = np.minimum(on_shelf, self._capacity)
        return np.asarray(np.minimum(orders + state.waiting_orders, room))

    def view(self, state: ChainState) -> InventoryView:
        """Return the products in the precision of training.

        Args:
            state: Products.
        """
        left = 1.0 - state.days_taken / self._config.max_steps
        unmet = np.concatenate([state.waiting[:, None], state.waiting_orders], -1)
        return InventoryView(
            stock=state.stock.astype(np.float32),
            in_transit=state.arrivals.astype(np.float32),
            unmet=unmet.astype(np.float32),
            recent_demand=state.demand.astype(np.float32),
            time_left=left.astype(np.float32),
        )

    def _make_terms(self) -> ChainTerms:
        config = self._config
        places = tuple(f"stage_{number}" for number in range(config.num_stages))
        return ChainTerms(
            places=places,
            suppliers=(*places[1:], "source"),
            lead_days=config.lead_time,
            ways=config.lead_time,
            nodes=(),
            max_delay=0,
            lookback=config.lookback,
            horizon=config.max_steps,
            usual_sales=None,
            smoothing=1.0,
            customers_wait=not config.lost_sales,
            orders_wait=not config.lost_sales,
            range_fields=(
                "demand",
                *(f"stock.{place}" for place in places),
                *(f"on_the_way.{place}" for place in places),
                "waiting",
                *(f"waiting_orders.{place}" for place in places),
                *KINDS,
            ),
        )


def _read_covers(parameters: Sequence[Figure]) -> Covers:
    found = {one.name: one.value for one in parameters}
    cover = [value for name, value in found.items() if name.startswith("cover_days_")]
    missing = {"trust", "gap_days"} - set(found)
    if missing:
        raise ConfigError(f"the card's expert has no {', '.join(sorted(missing))}; export it again")
    return Covers(
        trust=np.asarray(found["trust"]), gap=np.asarray(found["gap_days"]), cover=np.asarray(cover)
    )
