"""Estimates of what a step was worth: pure functions over `[time, ...]` arrays."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
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


def n_step_sums(
    reward: Float[Tensor, "step batch agent"],
    discount: Float[Tensor, "step batch agent"],
    boundary: Bool[Tensor, "step batch"],
) -> tuple[Float[Tensor, "batch agent"], Float[Tensor, "batch agent"], Int64[Tensor, " batch"]]:
    """Sum the rewards of up to n steps and give the discount of what follows them.

    R = sum over k < m of (d_0 ... d_{k-1}) r_k and D = d_0 ... d_{m-1}, where m is the number of
    steps up to and with the first boundary, or n (Sutton and Barto, 2nd edition, 7.1).

    Args:
        reward: r, received after each step.
        discount: d, zero where the episode terminated or the agent left it, gamma elsewhere.
        boundary: True where the path may not go on beyond the step, be it that the episode
            terminated, was truncated, or that no more is known.

    Returns:
        R, D and m.
    """
    reached = torch.ones_like(boundary)
    reached[1:] = ~boundary[:-1].cummax(0).values
    taken = reached.sum(0)
    power = torch.where(reached.unsqueeze(-1), discount, 1.0).cumprod(0)
    counted = reward * reached.unsqueeze(-1)
    total = counted[0] + (counted[1:] * power[:-1]).sum(0)
    return total, power[-1], taken


def n_step_returns(
    reward: Float[Tensor, "time ..."],
    discount: Float[Tensor, "time ..."],
    next_value: Float[Tensor, "time ..."],
    *,
    ended: Bool[Tensor, "time ..."],
    n_step: int,
) -> Float[Tensor, "time ..."]:
    """Estimate returns from n rewards and the value of the state they led to.

    In n passes: G^1_t = r_t + d_t v_{t+1} and G^n_t = r_t + d_t G^{n-1}_{t+1}; where an episode
    ended, or the block did, v stands in for G (Sutton and Barto, 2nd edition, 7.1).

    Args:
        reward: r, received after each step.
        discount: d, zero where the episode terminated, gamma elsewhere, truncation included.
        next_value: v, estimate of the state that each step led to; at a truncation that is the
            episode's own last observation.
        ended: True where an episode terminated or was truncated by the step.
        n_step: n, at least 1.
    """
    estimate = reward + discount * next_value
    cut = ended[:-1]
    for _ in range(n_step - 1):
        follows = torch.cat([torch.where(cut, next_value[:-1], estimate[1:]), next_value[-1:]])
        estimate = reward + discount * follows
    return estimate.detach()


def lambda_returns(
    reward: Float[Tensor, "time ..."],
    discount: Float[Tensor, "time ..."],
    next_value: Float[Tensor, "time ..."],
    *,
    ended: Bool[Tensor, "time ..."],
    trace_decay: float,
) -> Float[Tensor, "time ..."]:
    """Estimate returns by an exponential mix of n-step returns.

    Works backwards: G_t = r_t + d_t ((1 - l) v_{t+1} + l G_{t+1}), with v_{t+1} alone where an
    episode ended, or the block did (Sutton and Barto, 2nd edition, 12.1).

    Args:
        reward: r, received after each step.
        discount: d, zero where the episode terminated, gamma elsewhere, truncation included.
        next_value: v, estimate of the state that each step led to; at a truncation that is the
            episode's own last observation.
        ended: True where an episode terminated or was truncated by the step.
        trace_decay: l, mixing weight in [0, 1]; 0 trusts the critic, 1 the rewards.
    """
    estimate = torch.empty_like(reward)
    follows = next_value[-1]
    for time in range(len(reward) - 1, -1, -1):
        mixed = next_value[time] + trace_decay * (follows - next_value[time])
        mixed = torch.where(ended[time], next_value[time], mixed)
        follows = estimate[time] = reward[time] + discount[time] * mixed
    return estimate.detach()
