"""Between the words of a request and the arrays of the domain, and back with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_agents.allocation_schema import AllocationRequest, ServiceAllocation, ServiceState
from ai_agents.base_agent import FieldProblem, RequestError
from ai_agents.decision_domain import Situation
from ai_agents.policy_checks import problem_of, range_warning
from rl.artifacts import ValidRange
from rl.deployment.guardrails import find_out_of_range
from rl.domains.resource_allocation import (
    RECENT_STEPS,
    AllocationConfig,
    AllocationDomain,
    AllocationView,
)
from rl.domains.small_arrays import SmallArrays

Array64 = NDArray[np.float64]
PARTS = tuple(field.name for field in fields(AllocationView))
ROUNDING = 1e-3
"""Share of an amount that a reader would call nothing."""
SHORT = 0.01
"""A resource of which less than this share is left over counts as short."""


@dataclass(frozen=True, kw_only=True)
class AllocationSituation(Situation):
    """A request in the domain's arrays, double precision, services in the order of the config."""

    view: AllocationView
    order: tuple[int, ...]
    """Position in the config of each service of the request."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What an allocation is expected to do in the coming step."""

    services: list[ServiceAllocation]
    leftover: dict[str, float]
    value: float


class Foreseen(NamedTuple):
    """What is foreseen of a step; arrays with any leading axes, or what `tolist` makes of them."""

    amounts: Any
    """`[..., service, resource]`."""
    served: Any
    """`[..., service]`, as the next two."""
    total: Any
    lost: Any
    leftover: Any
    """`[..., resource]`, as the next one."""
    is_short: Any
    binding: Any
    """`[..., service]`: the resource that bounds it."""
    value: Any
    """`[...]`."""

    def rows(self) -> Foreseen:
        """Return the same as lists and numbers."""
        return Foreseen(*(part.tolist() for part in self))


class AllocationTranslator:
    """Reads requests about one world and words the answers."""

    def __init__(self, config: AllocationConfig, valid: tuple[ValidRange, ...]) -> None:
        """Prepare the constants.

        Args:
            config: The world of the artifact.
            valid: The validated ranges of its card.
        """
        self.config = config
        self._valid = valid
        self.domain = AllocationDomain(config)
        self._index = {service.name: index for index, service in enumerate(config.services)}
        self._resources = frozenset(config.resources)
        self._nothing = dict.fromkeys(config.resources, 0.0)
        self._capacity = dict(zip(config.resources, map(float, config.capacity), strict=True))
        self._price = dict(zip(config.resources, map(float, config.price), strict=True))
        self._usage = np.asarray([service.usage for service in config.services])
        self._arrival_slot = self.domain.arrival_slot.astype(np.float64)

    def read(self, request: AllocationRequest) -> AllocationSituation:
        """Match names and sizes, fill in what may be left out.

        Args:
            request: Well formed, but perhaps about another world.

        Raises:
            RequestError: Names or sizes do not fit; each problem names its field.
        """
        if not self.fits(request):
            raise RequestError(self.find_problems(request))
        order = tuple([self._index[state.name] for state in request.services])
        by_index = dict(zip(order, request.services, strict=True))
        states = [by_index[index] for index in range(len(order))]
        price = _amounts(request.price, self._price)
        view = AllocationView(
            backlog=np.asarray([_filled(s.waiting, self.domain.num_slacks) for s in states]),
            recent_demand=np.asarray([self._recent(s.recent_demand) for s in states]),
            allocation=np.asarray([_amounts(s.holding, self._nothing) for s in states]),
            capacity=np.asarray(_amounts(request.capacity, self._capacity)),
            priority=np.asarray([self._priority(s) for s in states]),
            price=np.asarray(price),
            time_of_day=np.asarray(request.time_of_day),
        )
        outside = find_out_of_range(self._values(request, price), self._valid)
        warnings = (*map(range_warning, outside), *self._gap_warnings(request))
        return AllocationSituation(view=view, outside=outside, order=order, warnings=warnings)

    def fits(self, request: AllocationRequest) -> bool:
        """Say whether a request is about this world; `find_problems` says why not.

        Args:
            request: Well formed.
        """
        names, known = {state.name for state in request.services}, self._resources
        if (
            len(request.services) != len(self._index)
            or names != self._index.keys()
            or request.capacity.keys() != known
            or not request.price.keys() <= known
        ):
            return False
        services, lookback = self.config.services, self.config.lookback
        return all(
            len(state.waiting) <= services[self._index[state.name]].patience
            and len(state.recent_demand) <= lookback
            and state.holding.keys() <= known
            for state in request.services
        )

    def find_problems(self, request: AllocationRequest) -> list[FieldProblem]:
        """Return all that does not fit.

        Args:
            request: Well formed.
        """
        return [*self._service_problems(request), *self._resource_problems(request)]

    def outlook(
        self,
        allocation: Array64,
        situation: AllocationSituation,
        *,
        arriving: Array64 | None = None,
    ) -> Outlook:
        """Foresee the coming step as the environment would play it, and say what bounds each grant.

        Args:
            allocation: `[service, resource]`, within the capacities.
            situation: What is known.
            arriving: `[service]`: work that comes in this step; that of the last three, on
                average, if absent.
        """
        view = situation.view
        if arriving is None:
            arriving = _usual_arrivals(view)
        return self._word(self._foresee(allocation, view, arriving).rows(), situation.order)

    def outlooks(
        self, allocations: Array64, situations: Sequence[AllocationSituation]
    ) -> list[Outlook]:
        """Foresee the coming step of several situations at once; see `outlook`.

        Args:
            allocations: `[row, service, resource]`, within the capacities.
            situations: What is known, one a row.
        """
        views = [situation.view for situation in situations]
        view = AllocationView(
            **{name: np.asarray([getattr(one, name) for one in views]) for name in PARTS}
        )
        foreseen = self._foresee(allocations, view, _usual_arrivals(view)).rows()
        pairs = zip(zip(*foreseen, strict=True), situations, strict=True)
        return [self._word(Foreseen(*row), situation.order) for row, situation in pairs]

    def _foresee(self, allocation: Array64, view: AllocationView, arriving: Array64) -> Foreseen:
        """Play the coming step; any leading axes."""
        pending = view.backlog + arriving[..., None] * self._arrival_slot
        rates = allocation / self._usage
        total = pending.sum(-1)
        served = np.minimum(rates.min(-1), total)
        idle = np.maximum(allocation - served[..., None] * self._usage, 0.0)
        leftover = np.maximum(view.capacity - allocation.sum(-2), 0.0)
        value = (view.priority * served).sum(-1) - (idle * view.price[..., None, :]).sum((-2, -1))
        return Foreseen(
            amounts=allocation,
            served=served,
            total=total,
            lost=np.maximum(pending[..., 0] - served, 0.0),
            leftover=leftover,
            is_short=leftover <= SHORT * view.capacity,
            binding=rates.argmin(-1),
            value=value,
        )

    def _word(self, seen: Foreseen, order: Sequence[int]) -> Outlook:
        """Say what was foreseen of one situation, given as lists."""
        names, services = self.config.resources, self.config.services
        grants = [
            ServiceAllocation(
                name=services[i].name,
                allocation=dict(zip(names, seen.amounts[i], strict=True)),
                expected_served_work=seen.served[i],
                expected_lost_work=seen.lost[i],
                reason=_reason(
                    seen.served[i],
                    seen.total[i],
                    names[seen.binding[i]],
                    is_short=seen.is_short[seen.binding[i]],
                ),
            )
            for i in order
        ]
        leftover = dict(zip(names, seen.leftover, strict=True))
        return Outlook(services=grants, leftover=leftover, value=seen.value)

    def _service_problems(self, request: AllocationRequest) -> list[FieldProblem]:
        problems, seen = [], set()
        for position, state in enumerate(request.services):
            where = f"services[{position}]"
            index = self._index.get(state.name)
            if index is None:
                known = ", ".join(self._index)
                problems.append(problem_of(f"{where}.name", f"unknown service; known: {known}"))
                continue
            if state.name in seen:
                problems.append(problem_of(f"{where}.name", f"{state.name} is named twice"))
            seen.add(state.name)
            problems += self._size_problems(where, state, self.config.services[index].patience)
        missing = [name for name in self._index if name not in seen]
        if missing:
            problems.append(problem_of("services", f"missing: {', '.join(missing)}"))
        return problems

    def _size_problems(self, where: str, state: ServiceState, patience: int) -> list[FieldProblem]:
        problems = []
        for name, values, most in (
            ("waiting", state.waiting, patience),
            ("recent_demand", state.recent_demand, self.config.lookback),
        ):
            if len(values) > most:
                text = f"{len(values)} entries; {state.name} takes at most {most}"
                problems.append(problem_of(f"{where}.{name}", text))
        return problems + self._unknown_resources(f"{where}.holding", state.holding)

    def _resource_problems(self, request: AllocationRequest) -> list[FieldProblem]:
        missing = [name for name in self.config.resources if name not in request.capacity]
        return [
            *(problem_of(f"capacity.{name}", "missing") for name in missing),
            *self._unknown_resources("capacity", request.capacity),
            *self._unknown_resources("price", request.price),
        ]

    def _unknown_resources(self, where: str, named: Mapping[str, float]) -> list[FieldProblem]:
        known = ", ".join(self.config.resources)
        unknown = [name for name in named if name not in self.config.resources]
        return [problem_of(f"{where}.{n}", f"unknown resource; known: {known}") for n in unknown]

    def _recent(self, known: Sequence[float]) -> Sequence[float]:
        missing = self.config.lookback - len(known)
        return [*[sum(known) / len(known)] * missing, *known] if missing else known

    def _priority(self, state: ServiceState) -> float:
        trained = self.config.services[self._index[state.name]].priority
        return trained if state.priority is None else state.priority

    def _values(
        self, request: AllocationRequest, price: Sequence[float]
    ) -> dict[str, Sequence[float]]:
        """Return the numbers of a request by field, as the card's validated ranges name them."""
        services = request.services
        values: dict[str, Sequence[float]] = {
            f"capacity.{name}": (amount,) for name, amount in request.capacity.items()
        }
        for name, cost in zip(self.config.resources, price, strict=True):
            values[f"price.{name}"] = (cost,)
            values[f"services.holding.{name}"] = [one.holding.get(name, 0.0) for one in services]
        for one in services:
            values[f"services.{one.name}.recent_demand"] = one.recent_demand
            values[f"services.{one.name}.priority"] = (self._priority(one),)
            values[f"services.{one.name}.waiting"] = (sum(one.waiting),)
        return values

    def _gap_warnings(self, request: AllocationRequest) -> list[str]:
        lookback = self.config.lookback
        short = [s for s in request.services if len(s.recent_demand) < lookback]
        return [
            f"services.{s.name}.recent_demand: {len(s.recent_demand)} of {lookback} values given; "
            "the earlier ones are taken as their mean"
            for s in short
        ]


def _usual_arrivals(view: AllocationView) -> Array64:
    """Return `[..., service]`: the work that came in each of the last steps, on average."""
    mean: Array64 = SmallArrays.mean(view.recent_demand[..., -RECENT_STEPS:], -1)
    return mean


def stack_views(views: Sequence[AllocationView]) -> AllocationView:
    """Put situations behind one another, in the precision of training.

    Args:
        views: Each without a batch axis.

    Returns:
        All with a leading batch axis, float32.
    """
    if len(views) == 1:
        only = views[0]
        parts = {name: getattr(only, name).astype(np.float32)[None] for name in PARTS}
    else:
        parts = {
            name: np.asarray([getattr(view, name) for view in views], np.float32) for name in PARTS
        }
    return AllocationView(**parts)


def _reason(served: float, total: float, resource: str, *, is_short: bool) -> str:
    if total - served <= ROUNDING * max(total, 1.0):
        return f"Full need met: all {total:.1f} units of work expected."
    part = f"Serves {served:.1f} of {total:.1f} units of work expected"
    if is_short:
        return f"{part}: {resource} is short."
    return f"{part}: the rest is held back, though some {resource} is left over."


def _filled(values: Sequence[float], size: int) -> list[float]:
    return [*values, *[0.0] * (size - len(values))]


def _amounts(named: Mapping[str, float], usual: Mapping[str, float]) -> list[float]:
    """Return amounts by resource, in their order; the usual ones where they are not named."""
    return (
        [named.get(name, amount) for name, amount in usual.items()] if named else [*usual.values()]
    )
