"""Customers that remember: how sentiment moves, and demand that follows it."""

from __future__ import annotations

import torch
from torch import Tensor

from rl.domains.supply_chain import Goodwill

LEAST_MEAN = 0.1
CORRECTIONS = 3


def move_sentiment(sentiment: Tensor, undelivered: Tensor, goodwill: Goodwill) -> Tensor:
    """Let customers answer to the service of the last step.

    Surrogate: backwards, the step from growth to decay at zero undelivered units U is the smooth
    1 - exp(-U / 2).

    Args:
        sentiment: `[env]`.
        undelivered: `[env]`: units of the last step, over all markets.
        goodwill: Its law.
    """
    better = torch.clamp(sentiment * goodwill.growth, max=goodwill.cap)
    worse = torch.clamp(sentiment * goodwill.decay, min=goodwill.floor)
    moved = torch.where(undelivered > 0, worse, better)
    if not torch.is_grad_enabled():
        return moved
    blend = better + (worse - better) * (1.0 - torch.exp(-0.5 * undelivered))
    return moved.detach() + (blend - blend.detach())


def draw_demand(uniform: Tensor, mean: Tensor) -> Tensor:
    """Draw Poisson demand whose mean depends on what was done, with a gradient.

    Surrogate: backwards, demand moves with its mean, unit for unit.

    Args:
        uniform: `[env, market]` in [0, 1).
        mean: `[env, market]`.
    """
    drawn = poisson_quantile(uniform, mean.detach())
    if not mean.requires_grad:
        return drawn
    return drawn + (mean - mean.detach())


def poisson_quantile(uniform: Tensor, mean: Tensor) -> Tensor:
    """Return the smallest count whose Poisson distribution function reaches the uniform.

    Begins at the Cornish-Fisher expansion, then corrects by the exact distribution function.

    Args:
        uniform: In [0, 1).
        mean: Above zero.
    """
    u, m = uniform.double().clamp(1e-12, 1.0 - 1e-12), mean.double()
    z = torch.special.ndtri(u)
    count = torch.floor(m + z * m.sqrt() + (z.square() - 1.0) / 6.0 + 0.5).clamp(min=0.0)
    for _ in range(CORRECTIONS):
        above = torch.special.gammaincc(count + 1.0, m) < u
        below = (torch.special.gammaincc(count.clamp(min=1e-9), m) >= u) & (count > 0)
        count = count + above.double() - below.double()
    return torch.where(u <= torch.exp(-m), 0.0, count).to(mean.dtype)
