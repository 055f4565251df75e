"""Temporal-difference learning of action values: targets, losses and their gradient by hand.

Masks act in one place, `greedy_choice`, which both acting and targets go through.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def greedy_choice(
    q: Float[Tensor, "*batch act"], mask: Bool[Tensor, "*batch act"] | None
) -> Int64[Tensor, "*batch"]:
    """Return argmax_a Q(a) over the choices that the mask allows.

    Args:
        q: Q, the values of the choices.
        mask: True where a choice may be taken; None where all may. A row without any gives 0, and
            must not be learnt from.
    """
    if mask is not None:
        q = q.masked_fill(~mask, -torch.inf)
    return q.argmax(-1)


def value_of_choice(
    q: Float[Tensor, "*batch act"], choice: Int64[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Return Q(a) of one choice per row.

    Args:
        q: Q, the values of the choices.
        choice: a.
    """
    return q.gather(-1, choice.unsqueeze(-1)).squeeze(-1)


def greedy_value(
    q: Float[Tensor, "*batch act"], mask: Bool[Tensor, "*batch act"] | None
) -> Float[Tensor, "*batch"]:
    """Return max_a Q(a) over the choices that the mask allows (Watkins 1989).

    Args:
        q: Q of the next observation, from the target network.
        mask: True where a choice may be taken then.
    """
    return value_of_choice(q, greedy_choice(q, mask))


def double_q_value(
    online_q: Float[Tensor, "*batch act"],
    target_q: Float[Tensor, "*batch act"],
    mask: Bool[Tensor, "*batch act"] | None,
) -> Float[Tensor, "*batch"]:
    """Return Q'(argmax_a Q(a)): the online network chooses, the target one judges.

    Breaks the upward bias of the maximum over noisy estimates (arXiv:1509.06461).

    Args:
        online_q: Q of the next observation.
        target_q: Q' of the next observation.
        mask: True where a choice may be taken then.
    """
    return value_of_choice(target_q, greedy_choice(online_q, mask))


def td_target(
    reward: Float[Tensor, "*batch"],
    discount: Float[Tensor, "*batch"],
    next_value: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Return y = r + discount * next_value, what a value should have been.

    Args:
        reward: r, the discounted sum of the steps between the two observations.
        discount: gamma to the number of those steps; zero where the episode terminated.
        next_value: Of the observation after them; at a truncation of the episode's own last one.
    """
    return torch.addcmul(reward, discount, next_value)


def dueling_q(
    value: Float[Tensor, "*batch 1"], advantage: Float[Tensor, "*batch act"]
) -> Float[Tensor, "*batch act"]:
    """Return Q(a) = V + A(a) - mean_b A(b) (arXiv:1511.06581, equation 9).

    Args:
        value: V.
        advantage: A; only its differences matter.
    """
    return advantage + (value - advantage.mean(-1, keepdim=True))


def dueling_gradient(gradient: Float[Tensor, "*batch act"]) -> Float[Tensor, "*batch 1+act"]:
    """Return the gradient of V and of A, side by side, from that of Q = V + A - mean A.

    dV = sum_a dQ(a) and dA(a) = dQ(a) - dV / n.

    Args:
        gradient: dQ, of a loss by the n values.
    """
    of_value = gradient.sum(-1, keepdim=True)
    return torch.cat((of_value, gradient - of_value / gradient.shape[-1]), -1)


def huber(error: Float[Tensor, "*batch"], delta: float = 1.0) -> Float[Tensor, "*batch"]:
    """Return e^2 / 2 within delta of zero, and delta (|e| - delta / 2) beyond (Huber 1964).

    Args:
        error: e.
        delta: Where the slope stops growing.
    """
    near = error.abs().clamp_max(delta)
    return near * (error.abs() - 0.5 * near)


class TDLoss(NamedTuple):
    """A loss, what it was made of, and its slope."""

    loss: Float[Tensor, ""]
    error: Float[Tensor, " batch"]
    """y - Q(a), before weights."""
    gradient: Float[Tensor, "batch act"]
    """Of the loss by every Q."""


def td_loss(
    q: Float[Tensor, "batch act"],
    action: Int64[Tensor, " batch"],
    target: Float[Tensor, " batch"],
    weight: Float[Tensor, " batch"],
) -> TDLoss:
    """Return sum_i w_i huber(y_i - Q_i(a_i)) and its gradient, without autograd.

    The slope by Q_i(a_i) is -w_i times the error cut to [-1, 1]; by other choices it is zero.

    With c the error cut to [-1, 1], huber(e) = c (e - c / 2).

    Args:
        q: Q of what was observed.
        action: a, what was done.
        target: y, constant.
        weight: w, for instance an importance weight divided by the number of rows; zero for rows
            that do not count.
    """
    choice = action.unsqueeze(-1)
    error = target - q.gather(-1, choice).squeeze(-1)
    cut = error.clamp(-1.0, 1.0)
    weighted = weight * cut
    gradient = torch.zeros_like(q).scatter_(-1, choice, weighted.neg().unsqueeze(-1))
    return TDLoss(torch.dot(weighted, error.sub(cut, alpha=0.5)), error, gradient)


def quantiles(
    quantity: Float[Tensor, " batch"],
    counts: Bool[Tensor, " batch"],
    probabilities: Float[Tensor, " level"],
) -> Float[Tensor, " level"]:
    """Return the nearest-rank quantiles of some of the rows, without waiting for the device.

    Args:
        quantity: One number per row.
        counts: True where a row counts; if none does the answer is infinite.
        probabilities: Each in [0, 1]: 0 the smallest, 0.5 the median, 1 the largest.
    """
    ordered = quantity.masked_fill(~counts, torch.inf).sort().values
    rank = (probabilities * (counts.sum() - 1)).round().long().clamp_min(0)
    return ordered[rank]
