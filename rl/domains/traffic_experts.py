"""How experts choose shares, from the same view as the agent; NumPy over leading batch axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rl.domains.traffic_shares import TrafficConfig, TrafficDomain, TrafficView

Choices = NDArray[np.int64]
Expert = Callable[[TrafficView, TrafficConfig], Choices]
FORESIGHT = 0.5
"""Weight of the loss expected later; best of eight from 0.25 to 8 on 2,000 episodes."""


def find_static_shares(resource_active: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the constant shares with the least expected loss.

    E|d - s| falls in s until s is the median of d, so without a limit every share is its median,
    1/2. Where medians sum to more than one, all shares rest at one common quantile q with
    sum_i F_i^-1(q) = 1, for there the slopes 2 F_i(s_i) - 1 are equal: 1/n for uniform demands.

    Args:
        resource_active: `[..., resource]`.
    """
    count = resource_active.sum(-1, keepdims=True)
    return np.asarray(np.minimum(0.5, 1.0 / count) * resource_active, np.float32)


def stand_still(view: TrafficView, config: TrafficConfig) -> Choices:
    """Leave the shares alone.

    Args:
        view: What is known.
        config: The world.
    """
    return np.full(view.demand.shape[:-1], config.no_op)


def chase_first(view: TrafficView, config: TrafficConfig) -> Choices:
    """Move the first share towards its demand, and look at nothing else (the published greedy).

    Args:
        view: What is known.
        config: The world.
    """
    gap = view.demand[..., 0] - view.share[..., 0]
    moved = np.where(gap > 0, 1, 0)
    return np.where(np.abs(gap) > config.move / 2, moved, config.no_op)


def choose_greedily(view: TrafficView, config: TrafficConfig) -> Choices:
    """Make the loss of this step as small as one choice can.

    Args:
        view: What is known.
        config: The world.
    """
    return _choose_least(view, config, weight=0.0)


def look_ahead(view: TrafficView, config: TrafficConfig) -> Choices:
    """Add to the loss of this step what the shares are expected to lose in the next ones.

    E|d - s| = s^2 - s + 1/2 for uniform demands.

    Args:
        view: What is known.
        config: The world.
    """
    return _choose_least(view, config, weight=FORESIGHT)


def settle_on_best_static(view: TrafficView, config: TrafficConfig) -> Choices:
    """Go to the best constant shares, and stay there.

    Args:
        view: What is known.
        config: The world.
    """
    domain = TrafficDomain(config)
    target = find_static_shares(view.resource_active)[..., None, :]
    distance = np.abs(domain.consider(view) - target).sum(-1)
    return _pick(distance, view, domain)


EXPERTS: dict[str, Expert] = {
    "no_op": stand_still,
    "chase_first": chase_first,
    "greedy": choose_greedily,
    "look_ahead": look_ahead,
    "best_static": settle_on_best_static,
}


def _choose_least(view: TrafficView, config: TrafficConfig, *, weight: float) -> Choices:
    domain = TrafficDomain(config)
    share = domain.consider(view)
    now = np.abs(view.demand[..., None, :] - share).sum(-1)
    later = (share**2 - share).sum(-1)
    return _pick(now + weight * later, view, domain)


def _pick(loss: NDArray[np.float32], view: TrafficView, domain: TrafficDomain) -> Choices:
    """Take the choice of least loss; of equal ones the last, which moves nothing."""
    possible = np.where(domain.allowed(view), loss, np.inf)
    return np.asarray(possible.shape[-1] - 1 - possible[..., ::-1].argmin(-1))
