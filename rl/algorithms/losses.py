"""Losses and diagnostics of policy-gradient learning: pure functions of flat batches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from utils.errors import QuartermasterError


class DivergenceError(QuartermasterError):
    """A number that learning depends on is no longer finite."""


def clipped_surrogate(
    log_ratio: Float[Tensor, " batch"],
    advantage: Float[Tensor, " batch"],
    epsilon: float,
) -> Float[Tensor, ""]:
    """Return PPO's pessimistic policy loss, -E[min(r A, clip(r, 1 - e, 1 + e) A)].

    Args:
        log_ratio: log r, the new log-probability of each action less the old one.
        advantage: A, constant.
        epsilon: e, how far the ratio may move before the gain from moving further stops.
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - epsilon, 1.0 + epsilon)
    return -torch.minimum(ratio * advantage, clipped * advantage).mean()


def standardize(advantage: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Shift and scale to mean 0 and deviation 1; a single row is left as it is.

    Args:
        advantage: Of one minibatch.
    """
    if len(advantage) < 2:
        return advantage
    std, mean = torch.std_mean(advantage)
    return (advantage - mean) / (std + 1e-8)


def value_error(
    value: Float[Tensor, " batch"],
    old_value: Float[Tensor, " batch"],
    target: Float[Tensor, " batch"],
    epsilon: float | None,
) -> Float[Tensor, ""]:
    """Return E[(v - y)^2], or E[max((v - y)^2, (c - y)^2)] with c = v kept near the old value.

    Args:
        value: v, current estimates.
        old_value: Estimates at the time of acting.
        target: y, constant.
        epsilon: How far c may be from the old value; None for the plain squared error.
    """
    error = (value - target).square()
    if epsilon is not None:
        clipped = old_value + (value - old_value).clamp(-epsilon, epsilon)
        error = torch.maximum(error, (clipped - target).square())
    return error.mean()


def approximate_kl(log_ratio: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Estimate KL(old || new) by E[(r - 1) - log r], never negative and of low variance.

    Args:
        log_ratio: log r of actions drawn from the old policy.
    """
    return (log_ratio.exp() - 1.0 - log_ratio).mean()


def clip_fraction(log_ratio: Float[Tensor, " batch"], epsilon: float) -> Float[Tensor, ""]:
    """Return the share of actions whose ratio left [1 - epsilon, 1 + epsilon].

    Args:
        log_ratio: log r.
        epsilon: Half the width of the interval.
    """
    return ((log_ratio.exp() - 1.0).abs() > epsilon).float().mean()


def explained_variance(
    value: Float[Tensor, " batch"],
    target: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Return 1 - var(target - value) / var(target): 1 is perfect, 0 no better than a constant.

    Args:
        value: Estimates.
        target: What they estimate; if it does not vary the answer is 0.
    """
    spread = target.var(correction=0)
    explained = 1.0 - (target - value).var(correction=0) / spread
    return torch.where(spread > 0.0, explained, torch.zeros_like(spread))


def require_finite(terms: Mapping[str, Tensor]) -> None:
    """Stop learning at the first term that is infinite or not a number.

    Args:
        terms: Tensors by the name to put in the error.

    Raises:
        DivergenceError: A term holds a value that is not finite.
    """
    for name, term in terms.items():
        if not torch.isfinite(term).all():
            raise DivergenceError(
                f"{name} is not finite, so learning stopped. Check the environment's rewards and "
                "observations, or continue from the last checkpoint with a lower learning_rate."
            )
