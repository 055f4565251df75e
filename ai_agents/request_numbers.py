"""The numbers of a request by field, whatever its domain, for watching how requests change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    return {name: sum(values) / len(values) for name, values in values_of(request).items()}


def values_of(request: DecisionRequest) -> dict[str, list[float]]:
    """Return all numbers under each field, in their order.

    Args:
        request: Of any domain.
    """
    found: dict[str, list[float]] = {}
    _collect(request.model_dump(), "", found, DEEPEST)
    return found


def with_values(request: DecisionRequest, field: str, values: Sequence[float]) -> dict[str, Any]:
    """Return a request as plain data, with the numbers under a field replaced.

    Args:
        request: Of any domain.
        field: As `values_of` names it.
        values: The new ones in their order, their mean each where there are more or fewer than
            now; rounded where the old ones are whole.
    """
    number = len(values_of(request).get(field, ()))
    if len(values) != number:
        values = [sum(values) / len(values)] * number
    changed: dict[str, Any] = _replaced(request.model_dump(), "", field, iter(values))
    return changed


def _collect(value: Any, place: str, found: dict[str, list[float]], depth: int) -> None:
    if _is_number(value):
        found.setdefault(place, []).append(float(value))
    elif depth > 0 and value and _is_list(value) and all(map(_is_number, value)):
        found.setdefault(place, []).extend(map(float, value))  # most numbers come in such lists
    elif depth > 0:
        for _, inner, one in _parts(value, place):
            _collect(one, inner, found, depth - 1)


def _replaced(value: Any, place: str, field: str, values: Iterator[float]) -> Any:
    if _is_number(value):
        if place != field:
            return value
        new = next(values)
        return round(new) if isinstance(value, int) else float(new)
    parts = {key: _replaced(one, inner, field, values) for key, inner, one in _parts(value, place)}
    if isinstance(value, Mapping):
        return parts
    return list(parts.values()) if _is_list(value) else value


def _parts(value: Any, place: str) -> list[tuple[Any, str, Any]]:
    """Return what a value consists of: key, place by name, and the part."""
    if isinstance(value, Mapping):
        return [
            (name, f"{place}.{name}" if place else str(name), one) for name, one in value.items()
        ]
    if not _is_list(value):
        return []
    are_named = len(value) <= MOST_NAMES and all(
        isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in value
    )
    return [
        (number, f"{place}.{one['name']}" if are_named else place, one)
        for number, one in enumerate(value)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
