"""From a replenishment request to arrays: names and sizes matched, gaps filled, ranges checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import FieldProblem, RequestError
from ai_agents.decision_domain import Situation
from ai_agents.policy_checks import problem_of, range_warning
from ai_agents.replenishment_schema import ProductState, ReplenishmentRequest, Trouble
from ai_agents.replenishment_state import KINDS, Array64, ChainState, ChainTerms
from rl.artifacts import ValidRange
from rl.deployment.guardrails import RANGE_TOLERANCE, OutOfRange

MOST_WARNINGS = 20


@dataclass(frozen=True, kw_only=True)
class ReplenishmentSituation(Situation):
    """A request in the arrays of the chain."""

    names: tuple[str, ...]
    """Of the products."""
    state: ChainState


class ReplenishmentReader:
    """Reads requests about one chain."""

    def __init__(self, terms: ChainTerms, valid: Sequence[ValidRange]) -> None:
        """Prepare the constants.

        Args:
            terms: Of the chain.
            valid: The validated ranges of the card.
        """
        self._terms = terms
        self._places = frozenset(terms.places)
        self._days = max(1, *terms.ways)
        known = {one.field: one for one in valid}
        self._valid = [known.get(field) for field in terms.range_fields]
        low = [-np.inf if one is None else one.low for one in self._valid]
        high = [np.inf if one is None else one.high for one in self._valid]
        slack = RANGE_TOLERANCE * np.maximum(np.abs(low), np.abs(high))
        slack = np.where(np.isfinite(slack), slack, 0.0)
        self._low, self._high = np.asarray(low) - slack, np.asarray(high) + slack
        places = terms.places
        self._paths = (
            "recent_demand",
            *(f"stock.{place}" for place in places),
            *(f"on_the_way.{place}" for place in places),
            "waiting",
            *(f"waiting_orders.{place}" for place in places),
        )

    def read(self, request: ReplenishmentRequest) -> ReplenishmentSituation:
        """Match names and sizes, fill in what may be left out.

        Args:
            request: Well formed, but perhaps about another chain.

        Raises:
            RequestError: Names or sizes do not fit; each problem names its field.
        """
        problems = list(self._problems(request))
        if problems:
            raise RequestError(problems)
        products, terms = request.products, self._terms
        places = terms.places
        taken = [self._days_taken(one, request.days_left) for one in products]
        scale = [self._scale(one) for one in products]
        state = ChainState(
            stock=np.array([[one.stock[place] for place in places] for one in products]),
            arrivals=self._arrivals(products),
            waiting=np.array([one.waiting for one in products]),
            waiting_orders=np.array(
                [[one.waiting_orders.get(place, 0.0) for place in places] for one in products]
            ),
            demand=np.array(
                [self._recent(one, days) for one, days in zip(products, taken, strict=True)]
            ),
            average=np.array(
                [self._average(one, days) for one, days in zip(products, taken, strict=True)]
            ),
            days_taken=np.array(taken, np.float64),
            scale=np.array(scale),
            trouble=np.broadcast_to(
                self._trouble(request.trouble), (len(products), len(KINDS), len(terms.nodes))
            ),
        )
        outside, words = self._outside(request, state)
        return ReplenishmentSituation(
            names=tuple(one.name for one in products),
            state=state,
            outside=outside,
            warnings=(*words, *self._gaps(products, taken)),
        )

    def _days_taken(self, product: ProductState, days_left: int | None) -> int:
        if days_left is not None:
            return self._terms.horizon - days_left
        return min(len(product.recent_demand), self._terms.lookback, self._terms.horizon - 1)

    def _scale(self, product: ProductState) -> float:
        usual = self._terms.usual_sales
        if usual is None or product.usual_sales is None:
            return 1.0
        return usual / product.usual_sales

    def _usual(self, product: ProductState) -> float:
        """Return what is sold on a usual day, in the caller's units; 0 where nobody knows."""
        return product.usual_sales or self._terms.usual_sales or 0.0

    def _recent(self, product: ProductState, taken: int) -> list[float]:
        """Return the last days as they are seen on that day of a plan."""
        window = min(taken, self._terms.lookback)
        seen = product.recent_demand[-window:] if window else []
        missing = window - len(seen)
        filler = sum(seen) / len(seen) if seen else self._usual(product)
        before = [0.0] * (self._terms.lookback - window)
        return [*before, *[filler] * missing, *seen]

    def _average(self, product: ProductState, taken: int) -> float:
        """Smooth demand from its first day on, as an episode does."""
        known = product.recent_demand
        if not known:
            return self._usual(product) if taken else 0.0
        kept, weight = 1.0 - self._terms.smoothing, self._terms.smoothing
        level = known[0]
        for value in known[1:]:
            level = kept * level + weight * value
        return level

    def _arrivals(self, products: Sequence[ProductState]) -> Array64:
        days = self._days
        nothing = [0.0] * days
        rows = []
        for product in products:
            found = product.on_the_way
            for place in self._terms.places:
                coming = found.get(place)
                if coming:
                    rows.append(coming + nothing[len(coming) :])
                else:
                    rows.append(nothing)
        return np.array(rows).reshape(len(products), -1, days)

    def _trouble(self, trouble: Sequence[Trouble]) -> Array64:
        table = np.zeros((len(KINDS), len(self._terms.nodes)))
        for one in trouble:
            column = self._terms.nodes.index(one.place)
            table[:, column] = [getattr(one, kind) for kind in KINDS]
        return table

    def _outside(
        self, request: ReplenishmentRequest, state: ChainState
    ) -> tuple[tuple[OutOfRange, ...], list[str]]:
        """Compare everything with the validated ranges, in units of the trained world."""
        found = []
        products, per_unit = request.products, state.scale[:, None]
        demand = [one.recent_demand or (np.nan,) for one in products]
        others = np.concatenate(
            [
                state.stock,
                state.arrivals.sum(-1),
                state.waiting[:, None],
                state.waiting_orders,
            ],
            -1,
        )
        least = np.column_stack([[min(one) for one in demand], others]) * per_unit
        most = np.column_stack([[max(one) for one in demand], others]) * per_unit
        size = len(self._paths)
        is_high, is_low = most > self._high[:size], least < self._low[:size]
        for row, column in np.argwhere(is_high | is_low).tolist():
            value = most[row, column] if is_high[row, column] else least[row, column]
            path = f"products[{row}].{self._paths[column]}"
            found.append(self._note(path, column, float(value), state.scale[row]))
        for number, one in enumerate(request.trouble):
            for column, kind in enumerate(KINDS, start=size):
                value = float(getattr(one, kind))
                if not self._low[column] <= value <= self._high[column]:
                    found.append(self._note(f"trouble[{number}].{kind}", column, value, 1.0))
        words = [range_warning(one) for one in found[:MOST_WARNINGS]]
        if len(found) > MOST_WARNINGS:
            words.append(f"{len(found) - MOST_WARNINGS} more fields lie outside validated ranges")
        return tuple(found), words

    def _note(self, path: str, column: int, value: float, scale: float) -> OutOfRange:
        valid = self._valid[column]
        low, high = (0.0, 0.0) if valid is None else (valid.low, valid.high)
        shown = ValidRange(field=path, low=low / scale, high=high / scale)
        return OutOfRange(field=path, value=value / scale, valid=shown)

    def _gaps(self, products: Sequence[ProductState], taken: Sequence[int]) -> list[str]:
        words: list[str] = []
        for product, days in zip(products, taken, strict=True):
            wanted, known = min(days, self._terms.lookback), len(product.recent_demand)
            if known < wanted and len(words) < MOST_WARNINGS:
                filler = "their mean" if known else f"{self._usual(product):g} a day"
                words.append(
                    f"{product.name}: {known} of {wanted} days of recent_demand given; the "
                    f"earlier ones are taken as {filler}"
                )
        return words

    def _problems(self, request: ReplenishmentRequest) -> Iterator[FieldProblem]:
        terms = self._terms
        if request.days_left is not None and request.days_left > terms.horizon:
            yield problem_of("days_left", f"at most {terms.horizon}: longer plans are not known")
        seen: set[str] = set()
        for number, product in enumerate(request.products):
            where = f"products[{number}]"
            if product.name in seen:
                yield problem_of(f"{where}.name", f"{product.name} is named twice")
            seen.add(product.name)
            if product.stock.keys() != self._places:
                yield from self._missing(f"{where}.stock", product.stock)
            yield from self._unknown(f"{where}.on_the_way", product.on_the_way)
            yield from self._too_long(where, product)
            yield from self._misplaced(where, product)
        yield from self._trouble_problems(request.trouble)

    def _missing(self, where: str, stock: Mapping[str, float]) -> Iterator[FieldProblem]:
        yield from self._unknown(where, stock)
        for place in self._terms.places:
            if place not in stock:
                yield problem_of(f"{where}.{place}", "missing")

    def _unknown(self, where: str, named: Mapping[str, object]) -> Iterator[FieldProblem]:
        if named.keys() <= self._places:
            return
        known = ", ".join(self._terms.places)
        for place in named:
            if place not in self._places:
                yield problem_of(f"{where}.{place}", f"unknown place; known: {known}")

    def _too_long(self, where: str, product: ProductState) -> Iterator[FieldProblem]:
        if not product.on_the_way:
            return
        for place, way in zip(self._terms.places, self._terms.ways, strict=True):
            coming = product.on_the_way.get(place, ())
            if len(coming) > way:
                text = f"{len(coming)} days; goods take at most {way} to {place}"
                yield problem_of(f"{where}.on_the_way.{place}", text)

    def _misplaced(self, where: str, product: ProductState) -> Iterator[FieldProblem]:
        terms = self._terms
        if product.usual_sales is not None and terms.usual_sales is None:
            text = "this agent deals in units as they are; leave it out"
            yield problem_of(f"{where}.usual_sales", text)
        if product.waiting and not terms.customers_wait:
            yield problem_of(f"{where}.waiting", "customers do not wait in this agent's world")
        if product.waiting_orders:
            yield from self._unknown(f"{where}.waiting_orders", product.waiting_orders)
            if not terms.orders_wait:
                text = "orders do not wait in this agent's world; leave them out"
                yield problem_of(f"{where}.waiting_orders", text)

    def _trouble_problems(self, trouble: Sequence[Trouble]) -> Iterator[FieldProblem]:
        nodes, seen = self._terms.nodes, set()
        for number, one in enumerate(trouble):
            where = f"trouble[{number}]"
            if one.place not in nodes:
                known = ", ".join(nodes) or "none, disruptions were not trained for"
                yield problem_of(f"{where}.place", f"unknown place; known: {known}")
            if one.place in seen:
                yield problem_of(f"{where}.place", f"{one.place} is named twice")
            seen.add(one.place)
            if one.delay > self._terms.max_delay:
                yield problem_of(f"{where}.delay", f"at most {self._terms.max_delay} days")


def recent_rate(state: ChainState) -> NDArray[np.float64]:
    """Return the mean demand of the last days, `[product]`; 0 if none is known.

    Args:
        state: Products.
    """
    days = np.minimum(state.days_taken, state.demand.shape[-1])
    return np.asarray(state.demand.sum(-1) / np.maximum(days, 1.0))
