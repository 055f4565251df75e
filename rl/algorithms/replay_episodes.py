"""Whole episodes out of a ring of steps, for learners with a memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from rl.algorithms.replay_ring import StepRing


@dataclass(frozen=True, kw_only=True)
class EpisodeBatch:
    """Episodes side by side, from their first steps on.

    What was seen has one moment more than there are steps: entry `t + 1` is what followed step `t`,
    be it the episode's true last observation and state. Mask and presence of that last moment are
    those of the moment before, because a step record does not tell them.
    """

    observation: Float[Tensor, "moment batch agent obs"]
    action_mask: Bool[Tensor, "moment batch agent act"]
    alive: Bool[Tensor, "moment batch agent"]
    state: Float[Tensor, "moment batch state"]
    action: Shaped[Tensor, "time batch agent ..."]
    reward: Float[Tensor, "time batch agent"]
    """Of one step each; 0 where not valid."""
    discount: Float[Tensor, "time batch agent"]
    """gamma; 0 where the episode terminated, the agent left, or nothing is valid."""
    valid: Bool[Tensor, "time batch"]
    """False after an episode's end, and after the newest step of one under way."""


def gather_episodes(
    ring: StepRing, start: Int64[Tensor, " batch"], max_length: int
) -> EpisodeBatch:
    """Follow episodes from their first steps.

    Args:
        ring: Where they lie.
        start: Positions of first steps.
        max_length: Most steps followed.
    """
    envs = ring.shapes.num_envs
    time = torch.arange(max_length + 1, device=start.device).unsqueeze(-1)
    path = (start + time[:-1] * envs) % ring.size
    _, done = ring.steps(path.flatten())
    boundary = done.boundary.view_as(path).to(torch.int64)
    valid = torch.ones_like(path, dtype=torch.bool)
    valid[1:] = ~((boundary >= 0) | ring.is_newest(path))[:-1].cummax(0).values
    length = valid.sum(0)
    last_boundary = boundary.gather(0, (length - 1).unsqueeze(0)).squeeze(0)
    ended = last_boundary >= 0
    known = torch.minimum(time, length - ended.to(torch.int64))
    seen = ring.seen(((start + known * envs) % ring.size).flatten())
    rows = (max_length + 1, len(start))
    at_end = ((time >= length) & ended).unsqueeze(-1)
    final, final_state = ring.endings.finals(last_boundary)
    steps = (max_length, len(start))
    counts = valid.unsqueeze(-1)
    return EpisodeBatch(
        observation=torch.where(at_end.unsqueeze(-1), final, _split(seen.observation, rows)),
        action_mask=_split(seen.action_mask, rows),
        alive=_split(seen.alive, rows),
        state=torch.where(at_end, final_state, _split(seen.state, rows)),
        action=_split(ring.wide_action(done.action), steps),
        reward=_split(done.reward, steps) * counts,
        discount=_split(done.discount, steps) * counts,
        valid=valid,
    )


def _split(column: Tensor, lead: tuple[int, int]) -> Tensor:
    """Return a flat column as `[time, batch, ...]`."""
    return column.view(*lead, *column.shape[1:])
