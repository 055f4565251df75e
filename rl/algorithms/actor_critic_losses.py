"""Equations of off-policy actor-critic learning: pure functions of flat batches."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def weighted_mean(
    quantity: Float[Tensor, "*stack batch"], weight: Float[Tensor, " batch"]
) -> Float[Tensor, "*stack"]:
    """Return sum(w x) / sum(w) over the batch; zero if no row counts.

    Args:
        quantity: x.
        weight: w, zero for rows that must not be learnt from.
    """
    return (quantity * weight).sum(-1) / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def squared_td_loss(
    q_value: Float[Tensor, "stack batch"],
    target: Float[Tensor, " batch"],
    weight: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Return the sum over critics i of E[(Q_i - y)^2] / 2.

    Args:
        q_value: Q_i, estimates of every critic.
        target: y, constant, the same for all.
        weight: Of each row.
    """
    return 0.5 * weighted_mean((q_value - target).square(), weight).sum()


def soft_value(
    q_value: Float[Tensor, "stack batch"],
    log_prob: Float[Tensor, " batch"],
    temperature: Float[Tensor, ""],
) -> Float[Tensor, " batch"]:
    """Return V = min_i Q_i(s, a) - alpha log pi(a | s), a one-sample estimate (arXiv:1812.05905).

    Args:
        q_value: Q_i of an action drawn from the policy, one row per critic.
        log_prob: log pi of that action.
        temperature: alpha, worth of one nat of entropy in units of reward.
    """
    return q_value.amin(0) - temperature * log_prob


def target_entropy(
    num_dimensions: Float[Tensor, " batch"], *, per_dimension: float, low: float, high: float
) -> Float[Tensor, " batch"]:
    """Return the entropy H that the temperature is to hold the policy at, in nats.

    H = d (h + log((high - low) / 2)): h is counted as if actions lay in [-1, 1], so that stretching
    the range changes nothing.

    Args:
        num_dimensions: d, action dimensions in use.
        per_dimension: h; -1 is usual, log 2 would be uniform noise.
        low: Smallest action.
        high: Largest action.
    """
    return num_dimensions * (per_dimension + math.log((high - low) / 2.0))


def temperature_loss(
    log_temperature: Float[Tensor, ""],
    log_prob: Float[Tensor, " batch"],
    entropy_goal: Float[Tensor, " batch"],
    weight: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Return -log alpha E[log pi + H]: the temperature rises while entropy is below H.

    The gradient is that of the paper's -alpha E[log pi + H] divided by alpha, as its authors' code
    has it, so steps in log alpha have one size whatever alpha is.

    Args:
        log_temperature: log alpha.
        log_prob: log pi of actions drawn from the policy, constant.
        entropy_goal: H, from `target_entropy`.
        weight: Of each row.
    """
    return -log_temperature * weighted_mean((log_prob + entropy_goal).detach(), weight)


def smoothed_action(
    action: Float[Tensor, "*batch act"],
    noise: Float[Tensor, "*batch act"],
    *,
    noise_clip: float,
    low: float,
    high: float,
) -> Float[Tensor, "*batch act"]:
    """Return clip(a + clip(e, -c, c), low, high), the target policy's smoothed action.

    TD3 asks the target critics about a neighbourhood of the action rather than about one point, so
    that the policy cannot exploit a narrow error (arXiv:1802.09477, section 5.3).

    Args:
        action: a, of the target policy.
        noise: e, in units of the action.
        noise_clip: c, in the same units.
        low: Smallest action.
        high: Largest action.
    """
    return (action + noise.clamp(-noise_clip, noise_clip)).clamp(low, high)


def deterministic_policy_loss(
    q_value: Float[Tensor, " batch"], weight: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Return -E[Q(s, mu(s))], whose gradient is -E[grad_a Q grad_theta mu] (arXiv:1509.02971).

    Args:
        q_value: Of the policy's own actions, with their gradient.
        weight: Of each row.
    """
    return -weighted_mean(q_value, weight)


def entropy_policy_loss(
    q_value: Float[Tensor, "stack batch"],
    log_prob: Float[Tensor, " batch"],
    temperature: Float[Tensor, ""],
    weight: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Return E[alpha log pi(a | s) - min_i Q_i(s, a)], SAC's policy loss by reparametrisation.

    Args:
        q_value: Q_i of actions drawn from the policy, with their gradient.
        log_prob: log pi of them, with its gradient.
        temperature: alpha, constant.
        weight: Of each row.
    """
    return -weighted_mean(soft_value(q_value, log_prob, temperature), weight)
