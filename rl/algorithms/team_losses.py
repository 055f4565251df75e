"""The error of a team's value along episodes: one reward for all, one target for all."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.mixing import MixingWeights
from rl.algorithms.replay_buffer import EpisodeBatch, TransitionBatch
from rl.algorithms.td_losses import double_q_value, greedy_value, td_target, value_of_choice
from rl.algorithms.team_values import TeamNetwork


class TeamLoss(NamedTuple):
    """A loss and what it was made of."""

    loss: Float[Tensor, ""]
    error: Float[Tensor, "time batch"]
    """y - Q_tot; zero where nothing counts."""
    counts: Bool[Tensor, "time batch"]
    """True where the episode still ran and somebody was there."""
    total: Float[Tensor, "time batch"]
    """Q_tot of what was done."""
    weights: MixingWeights | None
    """Of the mixer; None where values are added."""


def team_td_loss(
    network: TeamNetwork,
    target: TeamNetwork,
    batch: EpisodeBatch,
    reward: Float[Tensor, "time batch"],
    *,
    double: bool,
) -> TeamLoss:
    """Return the mean of (y - Q_tot(s, a))^2 with y = r + discount * Q_tot'(s', a').

    a' is every agent's own best allowed choice after the step, by its online value if `double`,
    else by its target value; both networks read each episode from its beginning, with empty memory.
    An agent that left has no part in Q_tot'; the discount is the largest of the team's, so it is
    zero only where the task is over for all.

    Args:
        network: Q, learnt; gradients flow through Q_tot of what was done only.
        target: Q', constant.
        batch: Steps in the order of time.
        reward: r, of the team.
        double: Whether the online network chooses a'.
    """
    q, online_next = network.values.around(batch.observation)
    alive, mask = batch.alive[:-1], batch.action_mask[1:]
    with torch.no_grad():
        next_q = target.values.after(batch.observation)
        best = double_q_value(online_next, next_q, mask) if double else greedy_value(next_q, mask)
        stays = alive & (batch.discount > 0.0)
        following, _ = target.total(best, stays, batch.state[1:])
        wanted = td_target(reward, batch.discount.amax(-1), following)
    chosen = value_of_choice(q, batch.action)
    total, weights = network.total(chosen, alive, batch.state[:-1])
    counts = batch.valid & alive.any(-1)
    error = (wanted - total).masked_fill(~counts, 0.0)
    return TeamLoss(
        mean_where(error.square(), counts), error.detach(), counts, total.detach(), weights
    )


def mean_where(
    quantity: Float[Tensor, "*batch"], counts: Bool[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Return the mean of the rows that count, or zero if none does.

    Args:
        quantity: One number per row.
        counts: True where a row counts.
    """
    return quantity.masked_fill(~counts, 0.0).sum() / counts.sum().clamp_min(1)


def as_episodes(batch: TransitionBatch) -> EpisodeBatch:
    """Return single steps as episodes of one step each; who is there afterwards says the discount.

    Args:
        batch: Any.
    """
    return EpisodeBatch(
        observation=torch.stack((batch.observation, batch.next_observation)),
        action_mask=torch.stack((batch.action_mask, batch.next_action_mask)),
        alive=torch.stack((batch.alive, batch.alive)),
        state=torch.stack((batch.state, batch.next_state)),
        action=batch.action.unsqueeze(0),
        reward=batch.reward.unsqueeze(0),
        discount=batch.discount.unsqueeze(0),
        valid=torch.ones_like(batch.weight, dtype=torch.bool).unsqueeze(0),
    )
