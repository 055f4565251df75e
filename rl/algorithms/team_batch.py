"""A sample of the replay as central critics need it: agents first, absent ones as zeros."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.central_losses import row_shares
from rl.algorithms.replay_buffer import TransitionBatch
from rl.algorithms.team_policies import TeamPolicies


class TeamBatch(NamedTuple):
    """Transitions of a team."""

    observation: Float[Tensor, "agent batch obs"]
    mask: Bool[Tensor, "agent batch act"]
    """True where a dimension or choice is in use, by an agent that is there."""
    action: Float[Tensor, "agent batch act"]
    """As critics read it."""
    context: Float[Tensor, "batch context"]
    """All observations in a row, or the global state."""
    reward: Float[Tensor, "agent batch"]
    discount: Float[Tensor, "agent batch"]
    next_observation: Float[Tensor, "agent batch obs"]
    next_mask: Bool[Tensor, "agent batch act"]
    next_context: Float[Tensor, "batch context"]
    share: Float[Tensor, "agent batch"]
    """How much a row counts in the agent's mean."""


def arrange(batch: TransitionBatch, policies: TeamPolicies, *, use_state: bool) -> TeamBatch:
    """Put the agents first, and zeros where an agent is absent or a dimension out of use.

    Args:
        batch: As sampled.
        policies: Know how the environment's actions are read.
        use_state: Let critics see the global state instead of all observations.
    """
    there, stays = batch.alive.unsqueeze(-1), (batch.discount != 0.0).unsqueeze(-1)
    observation = torch.where(there, batch.observation, 0.0)
    next_observation = torch.where(stays, batch.next_observation, 0.0)
    mask, next_mask = batch.action_mask & there, batch.next_action_mask & stays
    return TeamBatch(
        observation=observation.transpose(0, 1),
        mask=mask.transpose(0, 1),
        action=policies.from_environment(batch.action, mask).transpose(0, 1),
        context=batch.state if use_state else observation.flatten(1),
        reward=batch.reward.T,
        discount=batch.discount.T,
        next_observation=next_observation.transpose(0, 1),
        next_mask=next_mask.transpose(0, 1),
        next_context=batch.next_state if use_state else next_observation.flatten(1),
        share=row_shares(batch.alive.T, batch.weight),
    )


def join(
    context: Float[Tensor, "batch context"], action: Float[Tensor, "agent batch act"]
) -> Float[Tensor, "batch joint"]:
    """Return what critics read: the context, then the actions of all agents.

    Args:
        context: All observations, or the state.
        action: Of every agent.
    """
    return torch.cat((context, action.transpose(0, 1).flatten(1)), -1)
