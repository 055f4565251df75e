"""The records that go into a replay and come out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float, Int32, Int64, Shaped
from torch import Tensor

from rl.algorithms.policy_state import StateMismatchError


class Step(NamedTuple):
    """One step of all copies."""

    observation: Float[Tensor, "env agent obs"]
    action_mask: Bool[Tensor, "env agent act"]
    alive: Bool[Tensor, "env agent"]
    action: Shaped[Tensor, "env agent ..."]
    """A choice (int64), one choice per head, or numbers."""
    reward: Float[Tensor, "env agent"]
    terminated: Bool[Tensor, " env"]
    truncated: Bool[Tensor, " env"]
    next_observation: Float[Tensor, "env agent obs"]
    """What follows; after an episode's end the first observation of the next one."""
    next_action_mask: Bool[Tensor, "env agent act"]
    next_alive: Bool[Tensor, "env agent"]
    final_observation: Float[Tensor, "env agent obs"]
    """The last observation of the episode where one ended, else `next_observation`."""
    state: Float[Tensor, "env state"]
    """Global state before the step; of width 0 if nobody needs it."""
    next_state: Float[Tensor, "env state"]
    """After an episode's end the first state of the next one."""
    final_state: Float[Tensor, "env state"]
    """The last state of the episode where one ended, else `next_state`."""


def without_state(step: Step) -> Step:
    """Return the step for a learner that looks at observations only.

    Args:
        step: Any.
    """
    nothing = step.state[:, :0]
    return step._replace(state=nothing, next_state=nothing, final_state=nothing)


class Shapes(NamedTuple):
    """Sizes of a step, as they are saved."""

    num_envs: int
    num_agents: int
    observation_size: int
    mask_size: int
    state_size: int
    action_size: int
    """Numbers or heads per action; -1 for a plain choice."""
    is_choice: int

    @classmethod
    def of(cls, step: Step) -> Shapes:
        """Read the sizes off a step.

        Args:
            step: Any.
        """
        return cls(
            num_envs=step.observation.shape[0],
            num_agents=step.observation.shape[1],
            observation_size=step.observation.shape[2],
            mask_size=step.action_mask.shape[-1],
            state_size=step.state.shape[-1],
            action_size=step.action.shape[2] if step.action.dim() > 2 else -1,
            is_choice=int(not step.action.is_floating_point()),
        )

    def require(self, step: Step) -> None:
        """Refuse a step of other copies or agents, which would be spread over those that are kept.

        Args:
            step: Any.

        Raises:
            StateMismatchError: It is.
        """
        found = step.observation.shape
        if found != self[:3]:
            raise StateMismatchError(
                f"observations of a step have shape {tuple(found)}, but those in the replay "
                f"{self[:3]}: go on with as many copies and agents as before"
            )


class Seen(NamedTuple):
    """What was known before steps."""

    observation: Float[Tensor, "batch agent obs"]
    action_mask: Bool[Tensor, "batch agent act"]
    alive: Bool[Tensor, "batch agent"]
    state: Float[Tensor, "batch state"]


class Done(NamedTuple):
    """What steps did."""

    reward: Float[Tensor, "batch agent"]
    action: Shaped[Tensor, "batch agent ..."]
    """Choices in the narrowest integers that hold them."""
    discount: Float[Tensor, "batch agent"]
    """0 where the episode terminated or an agent left it or was absent, gamma elsewhere."""
    boundary: Int32[Tensor, " batch"]
    """Number of the boundary between episodes that the step came to, or -1."""


@dataclass(frozen=True, kw_only=True)
class TransitionBatch:
    """Transitions to learn from.

    What a step record does not tell of an episode's last moment is taken from the moment before:
    where the transition ends with its episode, `next_action_mask` is that of the last step, while
    `next_observation` and `next_state` are the true last ones.
    """

    observation: Float[Tensor, "batch agent obs"]
    action_mask: Bool[Tensor, "batch agent act"]
    alive: Bool[Tensor, "batch agent"]
    """False where an agent was absent; such rows belong in no loss."""
    action: Shaped[Tensor, "batch agent ..."]
    reward: Float[Tensor, "batch agent"]
    """Discounted sum over the steps of the transition."""
    discount: Float[Tensor, "batch agent"]
    """gamma to the number of those steps; 0 where the episode terminated or the agent left."""
    next_observation: Float[Tensor, "batch agent obs"]
    next_action_mask: Bool[Tensor, "batch agent act"]
    state: Float[Tensor, "batch state"]
    next_state: Float[Tensor, "batch state"]
    weight: Float[Tensor, " batch"]
    """Importance weight; 1 if every transition is as likely."""
    index: Int64[Tensor, " batch"]
    """Names the transitions to `update_priorities`."""
