"""Equations of actor-critic learning with a critic per agent: pure functions, one row per agent."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.policy_state import TensorDict
from rl.algorithms.td_losses import quantiles

QUANTILES = (0.5, 0.9, 0.99)


def row_shares(
    alive: Bool[Tensor, "agent batch"], weight: Float[Tensor, " batch"]
) -> Float[Tensor, "agent batch"]:
    """Return how much each row counts in an agent's mean; nothing where it is never alive.

    Args:
        alive: False where the agent was absent.
        weight: Importance of each row.
    """
    counted = alive * weight
    return counted / counted.sum(-1, keepdim=True).clamp_min(torch.finfo(counted.dtype).tiny)


def central_target(
    reward: Float[Tensor, "agent batch"],
    discount: Float[Tensor, "agent batch"],
    next_value: Float[Tensor, "critic agent batch"],
) -> Float[Tensor, "agent batch"]:
    """Return y_i = r_i + discount_i min_k Q'_ki(x', a'), each agent with a reward of its own.

    With one critic an agent that is MADDPG's target (arXiv:1706.02275, equation 6), with two it is
    the pessimistic one of TD3 (arXiv:1802.09477).

    Args:
        reward: r_i.
        discount: gamma, or zero where nothing follows for the agent.
        next_value: Q'_ki, target critics at the target policies' joint action.
    """
    return torch.addcmul(reward, discount, next_value.amin(0))


def central_td_loss(
    q_value: Float[Tensor, "critic agent batch"],
    target: Float[Tensor, "agent batch"],
    share: Float[Tensor, "agent batch"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "critic agent batch"]]:
    """Return the sum over critics k and agents i of E[(Q_ki - y_i)^2] / 2, and its gradient at Q.

    Args:
        q_value: Q_ki.
        target: y_i, constant.
        share: Weights of the mean, from `row_shares`.
    """
    error = q_value - target
    gradient = error * share
    return 0.5 * (error * gradient).sum(), gradient


def output_penalty(
    output: Float[Tensor, "agent batch act"],
    mask: Bool[Tensor, "agent batch act"],
    share: Float[Tensor, "agent batch"],
) -> Float[Tensor, ""]:
    """Return the sum over agents of E[mean of squares of the outputs in use].

    Keeps logits, and actions before the tanh, where they still have a slope.

    Args:
        output: Of the policies.
        mask: True where a dimension or choice is in use.
        share: Weights of the mean, from `row_shares`.
    """
    squares = (output.square() * mask).sum(-1) / mask.sum(-1).clamp_min(1)
    return (squares * share).sum()


def error_quantiles(
    error: Float[Tensor, "agent batch"], alive: Bool[Tensor, "agent batch"]
) -> TensorDict:
    """Return how large temporal-difference errors are, as metrics by name.

    Args:
        error: Of every agent.
        alive: False where the agent was absent.
    """
    levels = torch.tensor(QUANTILES, device=error.device)
    sizes = quantiles(error.abs().flatten(), alive.flatten(), levels)
    return {f"td_error_{round(100 * q)}": size for q, size in zip(QUANTILES, sizes, strict=True)}
