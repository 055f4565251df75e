"""How experts choose the next job, from the same view as the agent.

All start jobs at once or not at all, as DeepRM's do (other_agents.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.domains.job_scheduling import JobSchedulingDomain, JobView

Choice = NDArray[np.int64]
JobExpert = Callable[[JobView, JobSchedulingDomain, np.random.Generator], Choice]


def shortest_first(
    view: JobView, domain: JobSchedulingDomain, generator: np.random.Generator
) -> Choice:
    """Start the shortest job that fits now (SJF).

    Args:
        view: What is known, NumPy.
        domain: The world.
        generator: Not used.
    """
    del generator
    return _best(_brevity(view), view, domain)


def tetris(
    view: JobView,
    domain: JobSchedulingDomain,
    generator: np.random.Generator,
    *,
    knob: float,
    normalised: bool,
) -> Choice:
    """Start the job that fits now with the best mix of alignment and brevity.

    knob * alignment + (1 - knob) / length; alignment is the product of what is free now and what is
    needed, both in raw units, summed over resources; or both as shares of capacity, averaged over
    them (Grandl et al., Multi-resource packing for cluster schedulers, SIGCOMM 2014).

    Args:
        view: What is known, NumPy.
        domain: The world.
        generator: Not used.
        knob: 0 asks only for brevity, 1 only for alignment.
        normalised: Whether amounts are shares of capacity; raw units, as in DeepRM's repository,
            drown brevity.
    """
    del generator
    alignment = (view.need * view.free[..., None, :, 0]).sum(-1)
    if normalised:
        in_world = np.where(view.capacity > 0, 1.0, 0.0)
        weight = in_world / np.maximum(view.capacity, 1.0) ** 2 / in_world.sum(-1, keepdims=True)
        alignment = (view.need * (view.free[..., 0] * weight)[..., None, :]).sum(-1)
    return _best(knob * alignment + (1.0 - knob) * _brevity(view), view, domain)


def first_come(
    view: JobView, domain: JobSchedulingDomain, generator: np.random.Generator
) -> Choice:
    """Start the job that has waited longest if it fits now; nobody overtakes it (FIFO).

    Args:
        view: What is known, NumPy.
        domain: The world.
        generator: Not used.
    """
    del generator
    waited = np.where(view.length > 0, view.waited, -1.0)
    oldest = waited.argmax(-1)
    start = np.take_along_axis(domain.earliest_start(view), oldest[..., None], -1)[..., 0]
    return np.where(start == 0, oldest, domain.config.window)


def choose_at_random(
    view: JobView, domain: JobSchedulingDomain, generator: np.random.Generator
) -> Choice:
    """Start any of the jobs that fit now, with equal chance.

    Args:
        view: What is known, NumPy.
        domain: The world.
        generator: Of the choices.
    """
    return _best(generator.random(view.length.shape), view, domain)


EXPERTS: dict[str, JobExpert] = {
    "sjf": shortest_first,
    "tetris": partial(tetris, knob=0.5, normalised=True),
    "tetris_raw": partial(tetris, knob=0.5, normalised=False),
    "packer": partial(tetris, knob=1.0, normalised=False),
    "random": choose_at_random,
    "fifo": first_come,
}


def _brevity(view: JobView) -> NDArray[Any]:
    return np.asarray(1.0 / np.maximum(view.length, 1))


def _best(score: NDArray[Any], view: JobView, domain: JobSchedulingDomain) -> Choice:
    """Return the first slot with the best score among those that fit now, or the void."""
    fits = domain.earliest_start(view) == 0
    best = np.where(fits, score, -1.0).argmax(-1)
    return np.where(fits.any(-1), best, domain.config.window)
