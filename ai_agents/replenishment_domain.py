"""Replenishment: from what lies where and is on the way to orders, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import Header
from ai_agents.decision_domain import DecisionDomain, Plan
from ai_agents.replenishment_chains import LevelChain, SerialChain
from ai_agents.replenishment_reading import (
    ReplenishmentReader,
    ReplenishmentSituation,
    recent_rate,
)
from ai_agents.replenishment_schema import (
    ProductState,
    ReplenishmentDecision,
    ReplenishmentRequest,
)
from ai_agents.replenishment_state import (
    KINDS,
    Array64,
    ChainState,
    ChainTerms,
    Limit,
    ReplenishmentChain,
    join_states,
)
from ai_agents.wishes import read_orders, refuse
from rl.artifacts import PolicyArtifact
from rl.deployment.inventory_exporter import SERIAL_INVENTORY
from rl.deployment.policy_runtime import PolicyRuntime
from rl.deployment.supply_exporter import SUPPLY_CHAIN
from utils.errors import ConfigError

CHAINS: Mapping[str, Callable[[PolicyArtifact], ReplenishmentChain]] = {
    SUPPLY_CHAIN: LevelChain,
    SERIAL_INVENTORY: SerialChain,
}
NOTHING = 1e-9
"""Units that a reader would call none."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Orders that can be carried out."""

    orders: Array64
    """`[product, place]`"""
    bound_by: NDArray[np.intp]
    """`[product, place]`: number of the limit that cut the wish; -1 for none."""
    limits: list[Limit]


class ReplenishmentDecisions(
    DecisionDomain[ReplenishmentRequest, ReplenishmentDecision, ReplenishmentSituation]
):
    """What each place orders today of each product."""

    request_type = ReplenishmentRequest
    decision_type = ReplenishmentDecision
    title = "Replenishment agent"
    tags = ("supply chain", "inventory", "orders", "stock")

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read world and expert from the artifact.

        Args:
            artifact: Of a chain of either kind.

        Raises:
            ConfigError: It is of another domain, or its parts do not fit one another.
        """
        if artifact.domain not in CHAINS:
            known = " and ".join(CHAINS)
            raise ConfigError(f"this agent serves {known}, not {artifact.domain}")
        self._chain = CHAINS[artifact.domain](artifact)
        self.expert_name = self._chain.expert_name
        self._valid = {one.field: one for one in artifact.card.validated_for}
        self._reader = ReplenishmentReader(self._chain.terms, artifact.card.validated_for)
        self._runtime = PolicyRuntime(artifact)

    def describe(self) -> str:
        """Say in a sentence what is decided."""
        terms = self._chain.terms
        return (
            f"Says how much {', '.join(terms.places)} order today of each product, so that sales "
            "minus purchases, holding and lost or late deliveries are worth the most over the "
            "days to come."
        )

    def example_request(self) -> ReplenishmentRequest:
        """Return a request that the policy answers: one product in the middle of a plan."""
        terms = self._chain.terms
        demand = self._valid.get(terms.range_fields[0])
        low, high = (10.0, 30.0) if demand is None else (demand.low, demand.high)
        usual = terms.usual_sales or round(0.5 * (low + high))
        swing = [0.9, 1.2, 0.7, 1.0, 1.1, 0.8, 1.3][: terms.lookback]
        asked = [min(max(float(round(usual * part)), low), high) for part in swing]
        ways = zip(terms.places, terms.lead_days, strict=True)
        return ReplenishmentRequest(
            products=[
                ProductState(
                    name="A-100",
                    stock={
                        place: float(round(usual * (lead + 1)))
                        for place, lead in zip(terms.places, terms.lead_days, strict=True)
                    },
                    on_the_way={place: [float(usual)] * lead for place, lead in ways if lead},
                    recent_demand=asked,
                )
            ],
            compare=True,
        )

    def vary(self, generator: np.random.Generator) -> ReplenishmentRequest:
        """Return one product in any state that is not unusual.

        Args:
            generator: The only source of chance.
        """
        example = self.example_request()
        product = example.products[0]
        most = 2.0 * max(product.recent_demand)

        def draw(highest: float) -> float:
            return float(generator.integers(0, round(highest) + 1))

        varied = product.model_copy(
            update={
                "stock": {place: draw(units) for place, units in product.stock.items()},
                "on_the_way": {
                    place: [draw(units) for units in coming]
                    for place, coming in product.on_the_way.items()
                },
                "recent_demand": [draw(most) for _ in product.recent_demand],
            }
        )
        days = int(generator.integers(1, self._chain.terms.horizon + 1))
        return example.model_copy(update={"products": [varied], "days_left": days})

    def read(self, request: ReplenishmentRequest) -> ReplenishmentSituation:
        """Match names and sizes, fill in what may be left out.

        Args:
            request: Well formed, but perhaps about another chain.

        Raises:
            RequestError: Names or sizes do not fit; each problem names its field.
        """
        return self._reader.read(request)

    def plan(self, situations: Sequence[ReplenishmentSituation]) -> Plan:
        """Ask the policy about the products of all requests at once.

        Args:
            situations: At least one.
        """
        wish, usable = self._chain.wish(self._runtime, join_states([s.state for s in situations]))
        sizes = [len(one.names) for one in situations]
        whole = [part.all() for part in np.split(usable, np.cumsum(sizes)[:-1])]
        return Plan(_pad(wish, sizes), np.asarray(whole, np.bool_))

    def ask_expert(self, situations: Sequence[ReplenishmentSituation]) -> NDArray[Any]:
        """Ask the expert about the products of all requests at once.

        Args:
            situations: At least one.
        """
        wish = self._chain.ask_expert(join_states([one.state for one in situations]))
        return _pad(wish, [len(one.names) for one in situations])

    def decide(
        self,
        situation: ReplenishmentSituation,
        action: NDArray[Any],
        *,
        header: Header,
        expert: NDArray[Any] | None,
    ) -> ReplenishmentDecision:
        """Cut orders to what can be carried out, and say why they are as they are.

        Args:
            situation: The request.
            action: `[product, place]`: units wished for, padded.
            header: What every decision says.
            expert: The expert's wish, if it is to be compared.
        """
        cut = self.project(action[: len(situation.names)], situation.state)
        compared = None
        if expert is not None:
            theirs = self.project(expert[: len(situation.names)], situation.state)
            compared = {"name": self.expert_name, "products": self._word(theirs, situation)}
        return ReplenishmentDecision.model_validate(
            {
                **header,
                "guardrails": [] if header["fallback_used"] else self._name_limits(cut),
                "products": self._word(cut, situation),
                "expert": compared,
            }
        )

    def amounts(self, decision: ReplenishmentDecision) -> Mapping[Hashable, float]:
        """Return the units ordered.

        Args:
            decision: Of policy, expert or person.
        """
        return {
            (product.name, line.place): line.order
            for product in decision.products
            for line in product.orders
        }

    def to_action(self, situation: ReplenishmentSituation, wish: Mapping[str, Any]) -> Array64:
        """Return the orders that a person names, `[product, place]`.

        Args:
            situation: The request.
            wish: `products`, each with `name` and `orders` by place.

        Raises:
            RequestError: Products or places are others than there are, or an order is no whole
                number of lots.
        """
        places = self._chain.terms.places
        units = read_orders(wish, situation.names, places)
        cut = self.project(units, situation.state)
        is_other = (np.abs(cut.orders - units) > NOTHING * (1.0 + units)) & (cut.bound_by < 0)
        if is_other.any():
            row, column = np.argwhere(is_other)[0].tolist()
            field = f"products.{situation.names[row]}.orders.{places[column]}"
            raise refuse(field, f"{units[row, column]:g} is no whole number of lots")
        return units

    def project(self, wish: Array64, state: ChainState) -> Cut:
        """Cut a wish to the limits and to whole lots, exactly.

        Args:
            wish: `[product, place]`: units, finite.
            state: Products.
        """
        limits = self._chain.limits(state)
        table = np.stack([one.units for one in limits])
        tightest = table.argmin(0)
        room = np.maximum(table.min(0), 0.0)
        orders = self._chain.in_lots(np.minimum(np.maximum(wish, 0.0), room))
        is_cut = wish > room * (1.0 + NOTHING) + NOTHING
        return Cut(orders=orders, bound_by=np.where(is_cut, tightest, -1), limits=limits)

    def _name_limits(self, cut: Cut) -> list[str]:
        terms = self._chain.terms
        names = []
        for number, limit in enumerate(cut.limits):
            owners = terms.suppliers if limit.of_supplier else terms.places
            columns = np.flatnonzero((cut.bound_by == number).any(0)).tolist()
            names += [f"{limit.name}.{owners[column]}" for column in columns]
        return names

    def _word(self, cut: Cut, situation: ReplenishmentSituation) -> list[dict[str, Any]]:
        terms, state = self._chain.terms, situation.state
        shipped = self._chain.shipped(cut.orders, state)
        before, rate = state.position, recent_rate(state).tolist()
        added = cut.orders if terms.orders_wait else shipped
        held = (before + added).tolist()
        late = _delays(terms, state).tolist()
        endings = _endings(terms, cut.limits)
        columns = [range(len(terms.places)), terms.places, terms.suppliers, terms.lead_days]
        rows = zip(
            situation.names,
            cut.orders.tolist(),
            shipped.tolist(),
            before.tolist(),
            held,
            cut.bound_by.tolist(),
            rate,
            late,
            strict=True,
        )
        products = []
        for name, order, sent, had, has, bound, pace, delay in rows:
            lines = []
            for n, place, supplier, lead in zip(*columns, strict=True):
                cover = has[n] / pace if pace > NOTHING else None
                lines.append(
                    {
                        "place": place,
                        "supplier": supplier,
                        "order": order[n],
                        "expected_shipment": sent[n],
                        "arrives_in_days": lead + delay[n],
                        "expected_cover_days": cover,
                        "reason": _reason(order[n], had[n], has[n]) + endings[bound[n]][n],
                    }
                )
            products.append({"name": name, "orders": lines})
        return products


def _reason(order: float, had: float, has: float) -> str:
    if order <= NOTHING:
        return f"Orders none: {had:,.1f} units here and below are held or on the way"
    return f"Brings what is held or on the way here and below from {had:,.1f} to {has:,.1f} units"


def _delays(terms: ChainTerms, state: ChainState) -> NDArray[np.int64]:
    if not terms.nodes:
        return np.zeros(state.stock.shape, np.int64)
    columns = [terms.nodes.index(place) for place in terms.places]
    return np.asarray(state.trouble[:, KINDS.index("delay")][:, columns], np.int64)


def _endings(terms: ChainTerms, limits: list[Limit]) -> list[list[str]]:
    """Return what ends a reason, `[limit, place]`; the last row is of orders that none cut."""
    endings = []
    for limit in limits:
        owners = terms.suppliers if limit.of_supplier else terms.places
        endings.append([f"; cut to {limit.words.format(who=who)}." for who in owners])
    return [*endings, ["."] * len(terms.places)]


def _pad(wish: Array64, sizes: Sequence[int]) -> Array64:
    """Put the products of each request in a row of its own, `[request, product, place]`."""
    if len(sizes) == 1:
        return wish[None]
    padded = np.zeros((len(sizes), max(sizes), wish.shape[-1]))
    for row, part in enumerate(np.split(wish, np.cumsum(sizes)[:-1])):
        padded[row, : len(part)] = part
    return padded
