"""How two decisions about the same request compare: equal or not, how far apart, which is better.

The distance is the share of what both give that goes elsewhere, as the domain says what a decision
gives to what (`DecisionDomain.amounts`): 0 the same, 1 nothing in common.
Regret is what the other decision is expected to be worth more, relative to the larger of the two
values; it needs a domain that knows what decisions are worth (`DecisionDomain.worth`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ai_agents.base_agent import Decision
from ai_agents.decision_domain import DecisionDomain, Situation

AnyDomain = DecisionDomain[Any, Any, Any]
TOLERANCE = 1e-6
"""Decisions no further apart are equal, whatever words and scores stand beside them."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a second answer is to the one that the caller got."""

    outcome: Literal["equal", "different"]
    distance: float
    """In [0, 1]."""
    regret: float | None
    """In [-2, 2]: above zero where the second answer is expected to be worth more; None where the
    domain knows no expected value."""


def compare(
    served: Decision, other: Decision, domain: AnyDomain, situation: Situation
) -> Comparison:
    """Compare a second answer with the one that the caller got.

    Args:
        served: What the caller got.
        other: What another version would have decided.
        domain: What they are about.
        situation: The request as the domain reads it.
    """
    distance = _distance(domain.amounts(served), domain.amounts(other))
    worths = [domain.worth(situation, one, None) for one in (served, other)]
    return Comparison(
        outcome="equal" if distance <= TOLERANCE else "different",
        distance=distance,
        regret=_regret(worths[0], worths[1]),
    )


def _regret(served: float | None, other: float | None) -> float | None:
    if served is None or other is None:
        return None
    scale = max(abs(served), abs(other))
    return (other - served) / scale if scale > 0 else 0.0


def _distance(served: Mapping[Hashable, float], other: Mapping[Hashable, float]) -> float:
    moved = sum(abs(served.get(key, 0.0) - other.get(key, 0.0)) for key in {*served, *other})
    given = sum(map(abs, served.values())) + sum(map(abs, other.values()))
    return moved / given if given > 0 else 0.0
