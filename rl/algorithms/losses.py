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


def shares(weight: Float[Tensor, "*part row"]) -> Float[Tensor, "*part row"]:
    """Scale weights to sum to 1 over the rows; all zeros stay zeros.

    Args:
        weight: Not negative.
    """
    return weight / weight.sum(-1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)


def standardize(
    advantage: Float[Tensor, "*part row"], share: Float[Tensor, "*part row"] | None = None
) -> Float[Tensor, "*part row"]:
    """Shift and scale to weighted mean 0 and deviation 1; a single row is left as it is.

    The variance is the unbiased one, sum s (A - m)^2 / (1 - sum s^2).

    Args:
        advantage: A, of each part apart.
        share: s, which sums to 1 over the rows; None for equal shares.
    """
    if share is None:
        share = shares(torch.ones_like(advantage))
    mean = (share * advantage).sum(-1, keepdim=True)
    deviation = advantage - mean
    freedom = 1.0 - share.square().sum(-1, keepdim=True)
    variance = (share * deviation.square()).sum(-1, keepdim=True) / freedom.clamp_min(1e-12)
    return torch.where(freedom > 1e-6, deviation / (variance.sqrt() + 1e-8), advantage)


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


def adapted_penalty(
    coeff: Float[Tensor, ""], divergence: Float[Tensor, ""], target: float
) -> Float[Tensor, ""]:
    """Return 2 c if the divergence is beyond 1.5 targets, c / 2 if below target / 1.5, else c.

    Args:
        coeff: c, above 0 (arXiv:1707.06347, section 4).
        divergence: KL(old || new) after an update.
        target: What it should be.
    """
    raised = torch.where(divergence > 1.5 * target, 2.0 * coeff, coeff)
    return torch.where(divergence < target / 1.5, 0.5 * coeff, raised)


def clip_norm(gradient: Float[Tensor, " size"], limit: float) -> Float[Tensor, ""]:
    """Scale a gradient down in place to a norm of at most `limit`, and return the norm it had.

    Args:
        gradient: Of all weights.
        limit: Above 0.
    """
    norm: Tensor = torch.linalg.vector_norm(gradient)
    gradient.mul_((limit / (norm + 1e-6)).clamp_max_(1.0))
    return norm


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
