"""How planners call people to the next shift, from the same view as the agent.

A planner that solves linear programs is in `rl.evaluation.workforce_bounds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.domains.workforce import WorkforceConfig, WorkforceView

Array = NDArray[np.float32]
WorkforceExpert = Callable[[WorkforceView, WorkforceConfig, np.random.Generator], Array]

SAFETY = 0.5
"""Roots of the forecast that urgent staffing adds."""


def as_action(people: Any, view: WorkforceView) -> Array:
    """Return the action that calls a number of people.

    Args:
        people: `[..., skill]`, need not be whole.
        view: What is known, NumPy.
    """
    roster = np.maximum(view.skills.sum(-2), 1.0)
    return np.asarray(np.clip(np.rint(people) / roster, 0.0, 1.0), np.float32)


def call_forecast(
    view: WorkforceView, config: WorkforceConfig, generator: np.random.Generator
) -> Array:
    """Call as many as are expected.

    Args:
        view: What is known, NumPy.
        config: Not used.
        generator: Not used.
    """
    del config, generator
    return as_action(view.forecast[..., 0, :], view)


def share_hours(
    view: WorkforceView, config: WorkforceConfig, generator: np.random.Generator
) -> Array:
    """Share the contract hours left this week among its shifts, in proportion to the forecast.

    Args:
        view: What is known, NumPy.
        config: The roster.
        generator: Not used.
    """
    del generator
    number = np.arange(view.forecast.shape[-2])
    this_week = number < (config.shifts_per_week - view.shift_of_week)[..., None]
    expected = (view.forecast * this_week[..., None]).sum((-2, -1))
    room = np.clip(view.contract_hours - view.hours, 0.0, None).sum(-1) / config.shift_hours
    share = room / np.maximum(expected, 1e-6)
    return as_action(view.forecast[..., 0, :] * share[..., None], view)


def staff_urgently(
    view: WorkforceView, config: WorkforceConfig, generator: np.random.Generator
) -> Array:
    """Staff the next shift as if there were no other: expected people plus half of their root.

    Args:
        view: What is known, NumPy.
        config: Not used.
        generator: Not used.
    """
    del config, generator
    expected = view.forecast[..., 0, :]
    return as_action(expected + SAFETY * np.sqrt(expected), view)


def call_at_random(
    view: WorkforceView, config: WorkforceConfig, generator: np.random.Generator
) -> Array:
    """Draw the share of people called from U(0, 1).

    Args:
        view: What is known, NumPy.
        config: The roster.
        generator: Of the shares.
    """
    shape = (*view.shift_of_week.shape, config.num_skills)
    drawn: Array = generator.random(math.prod(shape), np.float32).reshape(shape)
    return drawn


EXPERTS: dict[str, WorkforceExpert] = {
    "random": call_at_random,
    "forecast": call_forecast,
    "proportional": share_hours,
    "urgent": staff_urgently,
}
