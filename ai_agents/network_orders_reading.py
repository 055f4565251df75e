"""From a request of network orders to arrays: names and sizes matched, ranges checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import FieldProblem, RequestError
from ai_agents.decision_domain import Situation
from ai_agents.network_orders_schema import NetworkOrdersRequest
from ai_agents.policy_checks import problem_of, range_warning
from rl.artifacts import ValidRange
from rl.deployment.guardrails import find_out_of_range
from rl.domains.network_planner import NetworkPlanner, PlannerView


@dataclass(frozen=True, kw_only=True)
class NetworkSituation(Situation):
    """A network in arrays."""

    view: PlannerView
    """Single precision, with a batch axis of one."""
    stock: tuple[float, ...]
    """Units of each shelf as they were given."""


class NetworkReader:
    """Reads requests about one network."""

    def __init__(self, planner: NetworkPlanner, valid: tuple[ValidRange, ...]) -> None:
        """Look up names.

        Args:
            planner: Of the network.
            valid: The validated ranges of the card.
        """
        self._planner, self._valid = planner, valid
        self.config = planner.config
        network = self.config.network
        self.leads = {f"{one.supplier}->{one.buyer}": one.lead_time for one in network.links}
        """Periods that goods take, by link."""
        self.links = tuple(self.leads)
        self.places = tuple(one.node for one in network.shelves)

    def read(self, request: NetworkOrdersRequest) -> NetworkSituation:
        """Match names and sizes.

        Args:
            request: Well formed, but perhaps about another network.

        Raises:
            RequestError: Names or sizes do not fit; each problem names its field.
        """
        problems = list(self._problems(request))
        if problems:
            raise RequestError(problems)
        values = {
            "expected_demand": list(request.expected_demand),
            "recent_demand": list(request.recent_demand),
            "sentiment": [request.sentiment],
            "stock": list(request.stock.values()),
            "on_the_way": [units for coming in request.on_the_way.values() for units in coming],
            "undelivered": [request.undelivered],
        }
        outside = find_out_of_range(values, self._valid)
        taken = self.config.max_steps - self._left(request)
        gap = []
        if not self.config.horizon and len(request.recent_demand) < taken:
            known = len(request.recent_demand)
            gap.append(
                f"recent_demand: {known} of {taken} past periods given; the earlier ones are "
                "taken as without demand"
            )
        return NetworkSituation(
            outside=outside,
            warnings=(*map(range_warning, outside), *gap),
            view=self._view(request),
            stock=tuple(request.stock[place] for place in self.places),
        )

    def _left(self, request: NetworkOrdersRequest) -> int:
        return request.periods_left or self.config.max_steps

    def _view(self, request: NetworkOrdersRequest) -> PlannerView:
        config = self.config
        known = np.zeros((1, config.horizon), np.float32)
        ahead = request.expected_demand[: min(config.horizon, self._left(request))]
        known[0, : len(ahead)] = ahead
        history = np.zeros((1, config.max_steps), np.float32)
        recent = request.recent_demand
        history[0, config.max_steps - len(recent) :] = recent
        coming = [
            request.on_the_way.get(self.links[number], [])[step : step + 1] or [0.0]
            for number, step in self._planner.slots
        ]

        def one(value: float) -> NDArray[np.float32]:
            return np.asarray([value], np.float32)

        return PlannerView(
            stock=np.asarray([[request.stock[place] for place in self.places]], np.float32),
            in_transit=np.asarray(coming, np.float32).reshape(1, -1),
            unmet=one(request.undelivered),
            sentiment=one(request.sentiment),
            waits=one(request.customers_wait),
            remembers=one(request.customers_remember),
            steps_taken=one(config.max_steps - self._left(request)),
            known_mean=known,
            history=history,
        )

    def _problems(self, request: NetworkOrdersRequest) -> Iterator[FieldProblem]:
        for place in request.stock.keys() - set(self.places):
            yield problem_of(f"stock.{place}", f"unknown place; known: {', '.join(self.places)}")
        for place in self.places:
            if place not in request.stock:
                yield problem_of(f"stock.{place}", "missing")
        if request.sentiment != 1 and not request.customers_remember:
            yield problem_of("sentiment", "customers do not remember: leave it out")
        leads = self.leads
        for link, coming in request.on_the_way.items():
            if link not in leads:
                yield problem_of(f"on_the_way.{link}", f"unknown link; known: {', '.join(leads)}")
            elif len(coming) > leads[link]:
                text = f"{len(coming)} periods; goods take at most {leads[link]}"
                yield problem_of(f"on_the_way.{link}", text)
        yield from self._time_problems(request)

    def _time_problems(self, request: NetworkOrdersRequest) -> Iterator[FieldProblem]:
        config, left = self.config, self._left(request)
        if left > config.max_steps:
            text = f"at most {config.max_steps}: longer plans are not known"
            yield problem_of("periods_left", text)
            return
        if len(request.recent_demand) > config.max_steps - left:
            text = f"{len(request.recent_demand)} periods; {config.max_steps - left} are over"
            yield problem_of("recent_demand", text)
        wanted = min(config.horizon, left)
        if len(request.expected_demand) < wanted:
            text = f"{len(request.expected_demand)} periods; give {wanted}"
            yield problem_of("expected_demand", text)
        if not config.horizon and request.expected_demand:
            yield problem_of("expected_demand", "this agent sees past demand only; leave it out")
