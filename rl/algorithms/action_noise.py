"""Noise of continuous actions on a scale of its own: standard normal at any time."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.exploration import OrnsteinUhlenbeckNoise
from rl.algorithms.heads import ActionSample


def unit_noise(correlation: float) -> OrnsteinUhlenbeckNoise:
    """Return noise x' = r x + sqrt(1 - r^2) n, whose deviation settles at 1 whatever r is.

    A stochastic policy that is fed x instead of n takes each action as often as before, but pushes
    in one direction for about 1 / (1 - r) steps (arXiv:2203.15422 compares such noises).

    Args:
        correlation: r in [0, 1), of successive steps; 0 gives independent normal numbers.
    """
    return OrnsteinUhlenbeckNoise(sigma=math.sqrt(1.0 - correlation**2), theta=1.0 - correlation)


def uniform_sample(
    noise: Float[Tensor, "*batch act"],
    mask: Bool[Tensor, "*batch act"] | None,
    *,
    low: float,
    high: float,
) -> ActionSample:
    """Turn standard normal numbers into uniform actions by their distribution function.

    Args:
        noise: Standard normal, correlated or not.
        mask: True where a dimension is in use, others are zero; None where all are.
        low: Smallest action.
        high: Largest action.
    """
    action = low + (high - low) * torch.special.ndtr(noise)
    density = torch.full_like(noise, -math.log(high - low))
    if mask is not None:
        action, density = torch.where(mask, action, 0.0), torch.where(mask, density, 0.0)
    return ActionSample(action, density.sum(-1))
