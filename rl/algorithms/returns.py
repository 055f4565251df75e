"""Estimates of what a step was worth: pure functions over `[time, ...]` arrays."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def generalized_advantages(
    reward: Float[Tensor, "time ..."],
    discount: Float[Tensor, "time ..."],
    value: Float[Tensor, "time ..."],
    next_value: Float[Tensor, "time ..."],
    *,
    ended: Bool[Tensor, "time ..."],
    trace_decay: float,
) -> Float[Tensor, "time ..."]:
    """Estimate advantages by an exponential mix of n-step errors (arXiv:1506.02438).

    Works backwards: A_t = e_t + discount_t * trace_decay * A_{t+1}, the last term absent where an
    episode ended, with e_t = reward_t + discount_t * next_value_t - value_t.
    A truncated episode keeps its discount, so its error bootstraps from the value of the true last
    observation; only the trace is cut.

    Args:
        reward: Reward received after each step.
        discount: Zero where the episode terminated, gamma elsewhere, truncation included.
        value: Critic estimate before each step.
        next_value: Critic estimate of the state that the step led to; at a truncation that is the
            episode's own last observation, not the first of the next episode.
        ended: True where an episode terminated or was truncated by the step.
        trace_decay: Mixing weight in [0, 1]; 0 trusts the critic, 1 the rewards.

    Returns:
        Advantages, detached from the graph.
    """
    error = (reward + discount * next_value - value).detach()
    decay = (discount * trace_decay).masked_fill(ended, 0.0).detach()
    advantage = torch.empty_like(error)
    following = torch.zeros_like(error[0])
    for time in range(len(error) - 1, -1, -1):
        following = torch.addcmul(error[time], decay[time], following, out=advantage[time])
    return advantage


def discounted_sums(
    reward: Float[Tensor, "time ..."],
    ended: Bool[Tensor, "time ..."],
    carry: Float[Tensor, "*batch"],
    *,
    gamma: float,
) -> tuple[Float[Tensor, "time ..."], Float[Tensor, "*batch"]]:
    """Accumulate G_t = reward_t + gamma * G_{t-1} forwards, afresh in every episode.

    Args:
        reward: Reward received after each step.
        ended: True where the step was the last of its episode.
        carry: gamma * G of the step before the block, zero where an episode begins with it.
        gamma: Discount in [0, 1].

    Returns:
        The sums after each step, and the new carry.
    """
    sums = torch.empty_like(reward)
    for time in range(len(reward)):
        torch.add(reward[time], carry, out=sums[time])
        carry = (gamma * sums[time]).masked_fill(ended[time], 0.0)
    return sums, carry


def episode_sums(
    quantity: Float[Tensor, "time env"],
    ended: Bool[Tensor, "time env"],
    carry: Float[Tensor, " env"],
) -> tuple[Float[Tensor, " episode"], Float[Tensor, " env"]]:
    """Sum a quantity over every episode that ended within a block of steps.

    Args:
        quantity: What each step added.
        ended: True where the step was the last of its episode.
        carry: Sums of the episodes under way before the block.

    Returns:
        The sums of the finished episodes, copy by copy in order of time, and the new carry.
    """
    total = carry + quantity.to(carry.dtype).cumsum(0)
    env, time = ended.T.nonzero(as_tuple=True)
    at_end = total[time, env]
    before = torch.zeros_like(at_end)
    before[1:] = torch.where(env[1:] == env[:-1], at_end[:-1], 0.0)
    steps = torch.arange(len(ended), device=ended.device).unsqueeze(-1)
    last_end = torch.where(ended, steps, -1).amax(0)
    settled = total.gather(0, last_end.clamp_min(0).unsqueeze(0)).squeeze(0)
    return at_end - before, total[-1] - torch.where(last_end >= 0, settled, 0.0)
