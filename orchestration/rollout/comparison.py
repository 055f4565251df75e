"""How two decisions about the same request compare: equal or not, how far apart, which is better.

The distance is defined by domain. Of allocations it is the share of a capacity that goes elsewhere,
what is left over included, averaged over the resources that there are: 0 the same, 1 every unit.
Regret is what the other decision is expected to be worth more, relative to the larger of the two
values; it needs a domain that knows what decisions are worth (`DecisionDomain.worth`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ai_agents.allocation_schema import AllocationDecision
from ai_agents.base_agent import Decision

TOLERANCE = 1e-6
"""Relative; numbers this close are the same."""
SAID_BESIDE = {*Decision.model_fields, "guardrails", "expert"}
"""Fields that say how a decision came about, not what was decided."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a second answer is to the one that the caller got."""

    outcome: Literal["equal", "different"]
    distance: float | None
    """In [0, 1]; None where the domain defines none."""
    regret: float | None
    """In [-2, 2]: above zero where the second answer is expected to be worth more; None where the
    domain knows no expected value."""


def compare(
    served: Decision, other: Decision, worth: Callable[[Decision], float | None]
) -> Comparison:
    """Compare a second answer with the one that the caller got.

    Args:
        served: What the caller got.
        other: What another version would have decided.
        worth: What a decision about this request is expected to be worth.
    """
    is_equal = _same(_decided(served), _decided(other))
    measure = DISTANCES.get(type(served))
    return Comparison(
        outcome="equal" if is_equal else "different",
        distance=None if measure is None else measure(served, other),
        regret=_regret(worth(served), worth(other)),
    )


def _decided(decision: Decision) -> dict[str, Any]:
    return decision.model_dump(exclude=SAID_BESIDE)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)


def _regret(served: float | None, other: float | None) -> float | None:
    if served is None or other is None:
        return None
    scale = max(abs(served), abs(other))
    return (other - served) / scale if scale > 0 else 0.0


def _allocation_distance(served: Decision, other: Decision) -> float:
    one, two = _shares(served), _shares(other)
    resources = {key[0] for key in one | two}
    moved = sum(abs(one.get(key, 0.0) - two.get(key, 0.0)) for key in one | two)
    return moved / (2 * len(resources)) if resources else 0.0


def _shares(decision: Decision) -> dict[tuple[str, str | None], float]:
    """Return the share of each capacity by service, what is left over under None."""
    if not isinstance(decision, AllocationDecision):
        return {}
    units = {
        (resource, service.name): amount
        for service in decision.services
        for resource, amount in service.allocation.items()
    } | {(resource, None): amount for resource, amount in decision.leftover.items()}
    capacity: dict[str, float] = {}
    for (resource, _), amount in units.items():
        capacity[resource] = capacity.get(resource, 0.0) + amount
    return {key: units[key] / capacity[key[0]] for key in units if capacity[key[0]] > 0}


DISTANCES: Mapping[type[Decision], Callable[[Decision, Decision], float]] = {
    AllocationDecision: _allocation_distance
}
