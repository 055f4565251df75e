"""The gradient of PPO's loss at the outputs of its networks, worked out by hand.

Equal to what autograd makes of the functions in `losses`, in a third of the operations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rl.algorithms.actor_critic import OutputGradient
from rl.algorithms.heads import ActionDistribution
from rl.algorithms.ppo_batch import Batch
from rl.algorithms.ppo_config import PPOConfig


class LossSettings(NamedTuple):
    """Numbers of one update."""

    epsilon: float
    value_clip: float | None
    value_loss_coeff: float
    entropy_coeff: float
    kl_coeff: Float[Tensor, ""] | None
    """None for no penalty."""


def loss_settings(config: PPOConfig, progress: float, kl_coeff: Float[Tensor, ""]) -> LossSettings:
    """Return what the loss is made of at this point of training.

    Args:
        config: Settings.
        progress: Share of training done, in [0, 1].
        kl_coeff: Of the penalty, if the configuration has one.
    """
    entropy = config.entropy_coeff
    if config.final_entropy_coeff is not None:
        entropy += progress * (config.final_entropy_coeff - entropy)
    return LossSettings(
        epsilon=config.epsilon_clip * (1.0 - progress * config.decay_epsilon_clip),
        value_clip=config.value_clip,
        value_loss_coeff=config.value_loss_coeff,
        entropy_coeff=entropy,
        kl_coeff=kl_coeff if config.adaptive_kl_penalty else None,
    )


class LossRows(NamedTuple):
    """What each row of a minibatch adds to the figures that users look at, before weights."""

    surrogate: Float[Tensor, "stack row"]
    value_error: Float[Tensor, "stack row"]
    entropy: Float[Tensor, "stack row"]
    log_ratio: Float[Tensor, "stack row"]


def surrogate_gradient(
    ratio: Float[Tensor, "*batch"], advantage: Float[Tensor, "*batch"], epsilon: float
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return min(r A, clip(r) A) and its derivative by log r: r A, or 0 where the clip holds.

    Args:
        ratio: r, the new probability of each action by the old.
        advantage: A.
        epsilon: Half the width of the interval that r is clipped to.
    """
    free = ratio * advantage
    surrogate = torch.minimum(free, ratio.clamp(1.0 - epsilon, 1.0 + epsilon).mul_(advantage))
    return surrogate, free * (free <= surrogate)


def value_gradient(
    value: Float[Tensor, "*batch"],
    old_value: Float[Tensor, "*batch"],
    target: Float[Tensor, "*batch"],
    epsilon: float | None,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return each row of `losses.value_error` and its derivative by the value.

    Args:
        value: v, current estimates.
        old_value: Estimates at the time of acting.
        target: y, constant.
        epsilon: How far the clipped estimate may be from the old value; None for no clip.
    """
    error = value - target
    square = error.square()
    if epsilon is None:
        return square, error.mul_(2.0)
    change = value - old_value
    clipped = (old_value + change.clamp(-epsilon, epsilon) - target).square_()
    counts = (square >= clipped) | (change.abs() <= epsilon)
    return torch.maximum(square, clipped), error.mul_(2.0).mul_(counts)


def loss_gradient(
    policy: ActionDistribution,
    value: Float[Tensor, "stack row"],
    part: Batch,
    settings: LossSettings,
) -> tuple[OutputGradient, LossRows]:
    """Return the gradient of the loss of a minibatch at the networks' outputs.

    The loss is sum_i s_i (-min(r A, clip(r) A) + c_v (v - y)^2 - c_e H + c_k (r - 1 - log r))_i,
    with s the share of each row.

    Args:
        policy: As it is now.
        value: v.
        part: Rows `[stack row ...]`, whose weights are the shares.
        settings: e, c_v, c_e and c_k.
    """
    share = part.weight
    log_ratio = policy.log_prob(part.action) - part.log_prob
    ratio = log_ratio.exp()
    surrogate, slope = surrogate_gradient(ratio, part.advantage, settings.epsilon)
    square, value_slope = value_gradient(value, part.value, part.target, settings.value_clip)
    grad_log_prob = slope.neg_()
    if settings.kl_coeff is not None:
        grad_log_prob = grad_log_prob + settings.kl_coeff * (ratio - 1.0)
    grad_entropy = None if settings.entropy_coeff == 0.0 else share * -settings.entropy_coeff
    output, log_std = policy.output_gradient(part.action, grad_log_prob.mul_(share), grad_entropy)
    gradient = OutputGradient(
        output, log_std, value_slope.mul_(share).mul_(settings.value_loss_coeff)
    )
    return gradient, LossRows(surrogate, square, policy.entropy(), log_ratio)
