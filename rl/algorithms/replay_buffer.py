"""What an agent that learns from a replay is shown of every step."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float, Shaped
from torch import Tensor


class Step(NamedTuple):
    """One step of all copies."""

    observation: Float[Tensor, "env agent obs"]
    action_mask: Bool[Tensor, "env agent act"]
    alive: Bool[Tensor, "env agent"]
    action: Shaped[Tensor, "env agent ..."]
    reward: Float[Tensor, "env agent"]
    terminated: Bool[Tensor, " env"]
    truncated: Bool[Tensor, " env"]
    next_observation: Float[Tensor, "env agent obs"]
    """After an episode's end: the first of the next one (SAME_STEP)."""
    next_action_mask: Bool[Tensor, "env agent act"]
    next_alive: Bool[Tensor, "env agent"]
    final_observation: Float[Tensor, "env agent obs"]
    """The true last observation where an episode ended, else `next_observation`."""
    state: Float[Tensor, "env state"]
    next_state: Float[Tensor, "env state"]
