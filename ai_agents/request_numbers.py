"""The numbers of a request by field, whatever its domain, for watching how requests change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ai_agents.base_agent import DecisionRequest

MOST_NAMES = 64
"""Items of a list are told apart by name up to so many; the numbers of more are pooled."""
DEEPEST = 6


def numbers_of(request: DecisionRequest) -> dict[str, float]:
    """Return the mean of the numbers under each field, such as `services.search.recent_demand`.

    Args:
        request: Of any domain.
    """
    found: dict[str, list[float]] = {}
    _collect(request.model_dump(), "", found, DEEPEST)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _collect(value: Any, place: str, found: dict[str, list[float]], depth: int) -> None:
    if isinstance(value, bool) or value is None or depth == 0:
        return
    if isinstance(value, (int, float)):
        found.setdefault(place, []).append(float(value))
    elif isinstance(value, Mapping):
        for name, one in value.items():
            _collect(one, f"{place}.{name}" if place else str(name), found, depth - 1)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        are_named = len(value) <= MOST_NAMES and all(
            isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in value
        )
        for one in value:
            _collect(one, f"{place}.{one['name']}" if are_named else place, found, depth - 1)
