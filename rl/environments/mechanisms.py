"""How requests of services that exceed a capacity are resolved.

A claim is a request cut to what the service can use in this step, so asking for more never gains
served work; what nobody claims is lent to those who asked for more and costs them as idle.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from rl.environments.max_min import fill_max_min

Requests = Float[Tensor, "env service resource"]
Mechanism = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def allocate_proportionally(
    requests: Requests,
    usable: Requests,
    capacity: Float[Tensor, "env resource"],
    priority: Float[Tensor, "env service"],
) -> Requests:
    """Scale the claims on an overbooked resource down in proportion.

    Args:
        requests: Units asked for.
        usable: Units each service can use in this step.
        capacity: Units there are.
        priority: Not used.

    Returns:
        Units granted; they sum to at most the capacity.
    """
    del priority
    claims = torch.minimum(requests, usable)
    return _lend_rest(requests, _scale_to(claims, capacity), claims, capacity)


def allocate_by_priority(
    requests: Requests,
    usable: Requests,
    capacity: Float[Tensor, "env resource"],
    priority: Float[Tensor, "env service"],
) -> Requests:
    """Fill claims in order of priority, equal ones in order of position.

    Args:
        requests: Units asked for.
        usable: Units each service can use in this step.
        capacity: Units there are.
        priority: Higher is served first.

    Returns:
        Units granted; they sum to at most the capacity.
    """
    claims = torch.minimum(requests, usable)
    order = priority.argsort(dim=1, descending=True, stable=True)[..., None].expand_as(claims)
    queue = claims.gather(1, order)
    ahead = queue.cumsum(1) - queue
    served = torch.minimum(queue, (capacity[:, None] - ahead).clamp(min=0.0))
    granted = torch.zeros_like(claims).scatter(1, order, served)
    return _lend_rest(requests, granted, claims, capacity)


def allocate_max_min(
    requests: Requests,
    usable: Requests,
    capacity: Float[Tensor, "env resource"],
    priority: Float[Tensor, "env service"],
) -> Requests:
    """Raise dominant shares in proportion to priority until claims are met or something is full.

    Args:
        requests: Units asked for.
        usable: Units each service can use in this step.
        capacity: Units there are.
        priority: Weight of the dominant share.

    Returns:
        Units granted; they sum to at most the capacity.
    """
    claims = torch.minimum(requests, usable)
    return _lend_rest(requests, fill_max_min(claims, capacity, priority), claims, capacity)


def _scale_to(amounts: Tensor, limit: Tensor) -> Tensor:
    """Scale amounts down in proportion where they sum to more than the limit."""
    total = amounts.sum(1)
    return amounts * (limit / total.clamp(min=1e-12)).clamp(max=1.0)[:, None]


def _lend_rest(requests: Tensor, granted: Tensor, claims: Tensor, capacity: Tensor) -> Tensor:
    rest = (capacity - granted.sum(1)).clamp(min=0.0)
    return granted + _scale_to(requests - claims, rest)


MECHANISMS: dict[str, Mechanism] = {
    "proportional": allocate_proportionally,
    "priority": allocate_by_priority,
    "max_min": allocate_max_min,
}
