"""Orders of a whole network of stock, as an agent needs them: read, planned, cut, with reasons."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ai_agents.base_agent import Header, RequestModel
from ai_agents.decision_domain import DecisionDomain, Plan
from ai_agents.network_orders_reading import NetworkReader, NetworkSituation
from ai_agents.network_orders_schema import (
    ExpertNetworkOrders,
    LinkOrder,
    NetworkOrdersDecision,
    NetworkOrdersRequest,
)
from ai_agents.wishes import Units, Word, read_wish, refuse
from rl.artifacts import PolicyArtifact
from rl.deployment.planner_exporter import PlannerPolicy
from rl.domains.network_planner import PlannerView
from rl.domains.planner_experts import EXPERT, PlannerExpert

Array64 = NDArray[np.float64]
NOTHING = 1e-9


class LinksWish(RequestModel):
    """What a person orders."""

    orders: dict[Word, Units] = Field(
        max_length=1000, description="Units by link; none on those not named."
    )


class _Cut(NamedTuple):
    """Orders that can be carried out."""

    orders: list[float]
    bound_by: list[str]
    """What cut each, such as `stock.4`; empty if nothing did."""


class NetworkOrdersDecisions(
    DecisionDomain[NetworkOrdersRequest, NetworkOrdersDecision, NetworkSituation]
):
    """What is ordered now on every link of a network."""

    title = "Network planner"
    tags = ("supply chain", "inventory", "orders", "stock", "network")
    request_type = NetworkOrdersRequest
    decision_type = NetworkOrdersDecision
    expert_name = EXPERT

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read network and policy from the artifact.

        Args:
            artifact: As `export_network_planner` made it.

        Raises:
            ConfigError: It is of another domain, or its parts do not fit one another.
        """
        self._policy = PlannerPolicy(artifact)
        self.config = config = self._policy.config
        self._expert = PlannerExpert(config)
        self._reader = NetworkReader(self._policy.planner, artifact.card.validated_for)
        network, index = config.network, self._policy.planner.index
        self.links, self.places = self._reader.links, self._reader.places
        self._capacity = {one.name: one.capacity for one in network.nodes}
        self._shelf_of = [flow.takes[0][0] if flow.takes else -1 for flow in index.flows]

    def describe(self) -> str:
        """Say in a sentence what is decided."""
        sight = "told the mean of coming demand" if self.config.horizon else "from past demand"
        return (
            f"Orders on all {len(self.links)} links of a network of {len(self.places)} places at "
            f"once, {sight}, so that the network's profit until the plan ends is the highest."
        )

    def example_request(self) -> NetworkOrdersRequest:
        """Return a request in the middle of a plan that the policy answers."""
        config, ways = self.config, self._reader.leads.items()
        demand = [20.0, 22.0, 17.0, 24.0, 19.0, 21.0, 25.0, 18.0, 20.0, 23.0]
        left = max(config.max_steps - len(demand), 1)
        return NetworkOrdersRequest(
            stock={one.node: 0.5 * one.initial_stock for one in config.network.shelves},
            on_the_way={link: [10.0] * lead for link, lead in ways if lead},
            expected_demand=[20.0] * min(config.horizon, left),
            recent_demand=demand[: config.max_steps - left],
            periods_left=left,
            compare=True,
        )

    def vary(self, generator: np.random.Generator) -> NetworkOrdersRequest:
        """Return the network in any state that is not unusual.

        Args:
            generator: The only source of chance.
        """
        example, config = self.example_request(), self.config
        left = int(generator.integers(1, config.max_steps + 1))

        def draw(most: float, count: int) -> list[float]:
            return [float(one) for one in generator.uniform(0.0, most, count).round(1)]

        return example.model_copy(
            update={
                "stock": {place: draw(2.0 * units, 1)[0] for place, units in example.stock.items()},
                "on_the_way": {
                    link: draw(30.0, len(coming)) for link, coming in example.on_the_way.items()
                },
                "customers_wait": bool(generator.integers(0, 2)),
                "customers_remember": True,
                "recent_demand": draw(40.0, config.max_steps - left),
                "expected_demand": generator.uniform(12.0, 40.0, min(config.horizon, left))
                .round(1)
                .tolist(),
                "periods_left": left,
            }
        )

    def read(self, request: NetworkOrdersRequest) -> NetworkSituation:
        """Match names and sizes.

        Args:
            request: Well formed, but perhaps about another network.

        Raises:
            RequestError: Names or sizes do not fit; each problem names its field.
        """
        return self._reader.read(request)

    def plan(self, situations: Sequence[NetworkSituation]) -> Plan:
        """Ask the policy.

        Args:
            situations: At least one.

        Returns:
            Units wished for, `[row, link]`.
        """
        wish, usable = self._policy.wish(_join([one.view for one in situations]))
        return Plan(wish.astype(np.float64), usable)

    def ask_expert(self, situations: Sequence[NetworkSituation]) -> NDArray[Any]:
        """Ask the expert.

        Args:
            situations: At least one.
        """
        return self._expert(_join([one.view for one in situations]))

    def decide(
        self,
        situation: NetworkSituation,
        action: NDArray[Any],
        *,
        header: Header,
        expert: NDArray[Any] | None,
    ) -> NetworkOrdersDecision:
        """Cut orders to what suppliers have and can ship, and say why they are as they are.

        Args:
            situation: The request.
            action: `[link]`: units wished for.
            header: What every decision says.
            expert: The expert's wish, if it is to be compared.
        """
        cut = self._cut(situation, action)
        compared = None
        if expert is not None:
            theirs = self._word(situation, self._cut(situation, expert))
            compared = ExpertNetworkOrders(name=self.expert_name, orders=theirs)
        bound = dict.fromkeys(name for name in cut.bound_by if name)
        return NetworkOrdersDecision(
            **header,
            guardrails=[] if header["fallback_used"] else list(bound),
            orders=self._word(situation, cut),
            expert=compared,
        )

    def amounts(self, decision: NetworkOrdersDecision) -> Mapping[Hashable, float]:
        """Return the units of every order.

        Args:
            decision: Of this domain.
        """
        return {line.link: line.order for line in decision.orders}

    def to_action(self, situation: NetworkSituation, wish: Mapping[str, Any]) -> Array64:  # noqa: ARG002
        """Return the orders that a person names, `[link]`.

        Args:
            situation: The request.
            wish: `orders`, units by link.

        Raises:
            RequestError: A link is unknown, or an amount is none.
        """
        orders = read_wish(LinksWish, wish).orders
        for link in orders:
            if link not in self.links:
                raise refuse(f"orders.{link}", f"unknown link; known: {', '.join(self.links)}")
        return np.asarray([orders.get(link, 0.0) for link in self.links], np.float64)

    def _cut(self, situation: NetworkSituation, wish: NDArray[Any]) -> _Cut:
        """Serve links in their order, exactly."""
        stock = list(situation.stock)
        capacity = dict(self._capacity)
        orders, bound_by = [], []
        rows = zip(self.config.network.links, self._shelf_of, wish.tolist(), strict=True)
        for link, shelf, wanted in rows:
            room = {f"capacity.{link.supplier}": capacity[link.supplier]}
            if shelf >= 0:
                room[f"stock.{link.supplier}"] = stock[shelf]
            tightest = min(room, key=lambda name: room[name])
            order = min(max(wanted, 0.0), room[tightest])
            capacity[link.supplier] = max(capacity[link.supplier] - order, 0.0)
            if shelf >= 0:
                stock[shelf] = max(stock[shelf] - order, 0.0)
            orders.append(order)
            bound_by.append(tightest if wanted > order * (1 + NOTHING) + NOTHING else "")
        return _Cut(orders, bound_by)

    def _word(self, situation: NetworkSituation, cut: _Cut) -> list[LinkOrder]:
        view, planner = situation.view, self._policy.planner
        way = np.zeros(len(self.places))
        for (number, _), units in zip(planner.slots, view.in_transit[0].tolist(), strict=True):
            way[planner.index.flows[number].target] += units
        lines = []
        rows = zip(
            self.config.network.links, planner.index.flows, cut.orders, cut.bound_by, strict=True
        )
        for link, flow, order, bound in rows:
            reason = (
                f"{link.buyer} has {situation.stock[flow.target]:,.1f} units and awaits "
                f"{way[flow.target]:,.1f}"
            )
            ending = f"; cut to what {link.supplier} {_MOST[bound.split('.')[0]]}" if bound else ""
            lines.append(
                LinkOrder(
                    link=f"{link.supplier}->{link.buyer}",
                    supplier=link.supplier,
                    buyer=link.buyer,
                    order=order,
                    arrives_in_periods=link.lead_time,
                    reason=f"{reason}{ending}.",
                )
            )
        return lines


_MOST = {"stock": "has", "capacity": "can ship"}


def _join(views: Sequence[PlannerView]) -> PlannerView:
    if len(views) == 1:
        return views[0]
    return PlannerView(
        **{name: np.concatenate([getattr(one, name) for one in views]) for name in vars(views[0])}
    )
