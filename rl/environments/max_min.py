"""Dominant resource fairness: raise all dominant shares together, until something is full."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

TINY = 1e-9


def fill_max_min(
    claims: Float[Tensor, "env service resource"],
    capacity: Float[Tensor, "env resource"],
    weight: Float[Tensor, "env service"],
) -> Float[Tensor, "env service resource"]:
    """Grant every service the same weighted dominant share of what it claims, or all of it.

    Progressive filling (Ghodsi et al., Dominant Resource Fairness, NSDI 2011). With claims c, the
    dominant share of service i is s_i = max_r c_ir / C_r; at level L it holds the part
    min(1, L w_i / s_i) of its claims. The use of a resource, U_r(L), is concave and piecewise
    linear in L, so U_r(L) = C_r at L = max_k (C_r - P_k) / Q_k, where the first k services in the
    order of s_i / w_i hold all they claim (P_k) and the others rise at rate Q_k. Whoever claims
    the resource that is full first stops there; the others go on: one round per resource.

    Args:
        claims: Units each service can use.
        capacity: Units there are.
        weight: Of the dominant shares; a service of weight zero gets the rest of the others.

    Returns:
        Units granted, in proportion to the claims of each service.
    """
    scarce = weight.new_tensor(TINY)
    dominant = (claims / torch.maximum(capacity, scarce)[:, None]).amax(-1)
    least = weight.amax(-1, keepdim=True) * 1e-6
    rate = torch.maximum(torch.maximum(weight, least), scarce) / torch.maximum(dominant, scarce)
    order = rate.argsort(dim=1, descending=True, stable=True)
    back = order.argsort(dim=1)
    rate = rate.gather(1, order)
    asked = claims.gather(1, order[..., None].expand_as(claims))
    rises = torch.ones_like(rate, dtype=torch.bool)
    part = torch.ones_like(rate)
    full = torch.zeros_like(capacity, dtype=torch.bool)
    for _ in range(capacity.shape[1]):
        moving = asked * rises[..., None]
        left = capacity - (asked * torch.where(rises, 0.0, part)[..., None]).sum(1)
        level, tightest = _find_level(moving, rate, left, full)
        reached = torch.minimum(torch.ones_like(rate), level[:, None] * rate)
        part = torch.where(rises, reached, part)
        is_full = torch.zeros_like(full).scatter(1, tightest[:, None], level.isfinite()[:, None])
        full = full | is_full
        rises = rises & ~((asked > 0) & is_full[:, None]).any(-1)
    return claims * part.gather(1, back)[..., None]


def _find_level(moving: Tensor, rate: Tensor, left: Tensor, full: Tensor) -> tuple[Tensor, Tensor]:
    """Return the level at which the first resource is full, infinite if none is, and which."""
    total = moving.sum(1)
    before = moving.cumsum(1) - moving
    rising = moving * rate[..., None]
    slope = rising.flip(1).cumsum(1).flip(1)
    level = (left.clamp(min=0.0)[:, None] - before) / slope.clamp(min=TINY)
    level = torch.where(slope > TINY, level, -torch.inf).amax(1)
    fits = full | (total <= left)
    return torch.where(fits, torch.inf, level.clamp(min=0.0)).min(-1)
