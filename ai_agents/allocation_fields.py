"""Requests for allocations field by field: what each is compared with, and views in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rl.artifacts import ValidRange
from rl.domains.resource_allocation import AllocationConfig, AllocationView

Array64 = NDArray[np.float64]
Plan = Callable[[AllocationView], NDArray[np.floating]]
REFERENCE = (
    "the middle of what the card is validated for; the agent's own world, or noon, where it names "
    "no range"
)


class Place(NamedTuple):
    """Where a field of the request stands in the arrays of a view."""

    field: str
    part: str
    """Name of the view's array."""
    at: tuple[int | slice, ...]
    """Without the leading axis."""


def find_places(config: AllocationConfig) -> tuple[Place, ...]:
    """List the fields of a request about a world.

    Args:
        config: The world.
    """
    found = []
    every = slice(None)
    for number, service in enumerate(config.services):
        prefix = f"services.{service.name}"
        found += [
            Place(f"{prefix}.waiting", "backlog", (number, every)),
            Place(f"{prefix}.recent_demand", "recent_demand", (number, every)),
            Place(f"{prefix}.holding", "allocation", (number, every)),
            Place(f"{prefix}.priority", "priority", (number,)),
        ]
    for number, name in enumerate(config.resources):
        found += [
            Place(f"capacity.{name}", "capacity", (number,)),
            Place(f"price.{name}", "price", (number,)),
        ]
    return (*found, Place("time_of_day", "time_of_day", ()))


def make_reference(config: AllocationConfig, valid: tuple[ValidRange, ...]) -> AllocationView:
    """Return the view whose every field is in the middle of its validated range.

    Waiting work is spread evenly over the steps that it can still wait.

    Args:
        config: The world.
        valid: The validated ranges of the card.
    """
    middle = {one.field: (one.low + one.high) / 2 for one in valid}
    services, steps = config.services, config.max_patience
    waiting = np.zeros((len(services), steps))
    demand = np.zeros((len(services), config.lookback))
    for number, service in enumerate(services):
        prefix = f"services.{service.name}"
        last = service.patience - 1
        waiting[number, :last] = middle.get(f"{prefix}.waiting", 0.0) / max(last, 1)
        demand[number] = middle.get(f"{prefix}.recent_demand", 0.0)
    held = [middle.get(f"services.holding.{name}", 0.0) for name in config.resources]
    priority = [middle.get(f"services.{one.name}.priority", one.priority) for one in services]
    return AllocationView(
        backlog=waiting,
        recent_demand=demand,
        allocation=np.tile(held, (len(services), 1)),
        capacity=_middles(middle, "capacity", config.resources, config.capacity),
        priority=np.asarray(priority),
        price=_middles(middle, "price", config.resources, config.price),
        time_of_day=np.asarray(0.5),
    )


def blend_views(
    view: AllocationView, reference: AllocationView, places: tuple[Place, ...], shares: Array64
) -> AllocationView:
    """Return the views on the way from a reference to a request.

    Args:
        view: The request.
        reference: Where every field is at its reference.
        places: The fields.
        shares: `[row, field]`: 0 at the reference, 1 as requested.

    Returns:
        With a leading axis, double precision.
    """
    mixed = {}
    for part in fields(AllocationView):
        start = np.asarray(getattr(reference, part.name), np.float64)
        mixed[part.name] = np.repeat(start[None], len(shares), axis=0)
    for number, place in enumerate(places):
        step = np.asarray(getattr(view, place.part))[place.at]
        step = step - getattr(reference, place.part)[place.at]
        share = shares[:, number].reshape(-1, *(1,) * np.ndim(step))
        mixed[place.part][slice(None), *place.at] += share * step
    return AllocationView(**mixed)


def _middles(
    middle: dict[str, float], kind: str, names: tuple[str, ...], usual: tuple[float, ...]
) -> Array64:
    pairs = zip(names, usual, strict=True)
    return np.asarray([middle.get(f"{kind}.{name}", value) for name, value in pairs])
