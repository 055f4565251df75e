"""Experience replay: what happened, drawn at random as n-step transitions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from rl.algorithms.replay_ring import Shapes, Step, StepRing
from rl.algorithms.returns import n_step_sums
from utils.errors import ConfigError

__all__ = ["ReplayBuffer", "Step", "TransitionBatch"]


@dataclass(frozen=True, kw_only=True)
class TransitionBatch:
    """Transitions to learn from.

    What a step record does not tell of an episode's last moment is taken from the moment before:
    where the transition ends with its episode, `next_action_mask` and `next_state` are those of
    the last step, while `next_observation` is the true last one.
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


class ReplayBuffer:
    """The newest transitions of all copies and agents."""

    def __init__(
        self,
        *,
        capacity: int,
        gamma: float,
        n_step: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        """Make an empty buffer; shapes come with the first step, memory as it fills.

        Args:
            capacity: Most transitions kept, over all copies; one is a step of all agents.
            gamma: Discount in [0, 1].
            n_step: Most steps whose rewards a transition sums up.
            device: Where the steps lie and batches are made.

        Raises:
            ConfigError: A setting is out of range.
        """
        if capacity < 1:
            raise ConfigError(f"buffer_size is {capacity}: it must hold at least 1 transition")
        if n_step < 1:
            raise ConfigError(f"n_step is {n_step}: a transition takes at least 1 step")
        if not 0.0 <= gamma <= 1.0:
            raise ConfigError(f"gamma is {gamma}: a discount lies in [0, 1]")
        self._capacity = capacity
        self._gamma = gamma
        self._n_step = n_step
        self._device = torch.device(device)
        self._ring: StepRing | None = None

    def __len__(self) -> int:
        """Return how many transitions can be drawn."""
        return self._ring.num_rows * self._ring.shapes.num_envs if self._ring else 0

    def add(self, step: Step) -> None:
        """Append one step of every copy; the oldest goes when the buffer is full.

        Where a step does not begin with the observation that followed the one before, the episode
        was left there (a run resumed at an episode's start): that earlier step counts as truncated.

        Args:
            step: Copied.

        Raises:
            ConfigError: The full buffer would not fit into memory; says how much it needs.
        """
        if self._ring is None:
            shapes = Shapes.of(step)
            self._ring = StepRing(shapes, capacity=self._capacity, device=self._device)
        self._ring.add(step)

    def sample(self, batch_size: int, generator: torch.Generator) -> TransitionBatch:
        """Draw transitions, with replacement.

        The newest step of an episode under way ends a transition early: it bootstraps from the
        newest observation, with gamma to the number of steps really taken.

        Args:
            batch_size: How many.
            generator: Source of the draws, on the buffer's device.

        Raises:
            ConfigError: The buffer is empty.
        """
        ring = self._filled()
        number = torch.randint(len(self), (batch_size,), generator=generator, device=self._device)
        index = ring.positions(number)
        return self._transitions(ring, index, torch.ones(batch_size, device=self._device))

    def _filled(self) -> StepRing:
        """Return the ring, which must hold a step."""
        if self._ring is None or len(self) == 0:
            raise ConfigError("nothing to sample: add steps before, or raise learning_starts")
        return self._ring

    def _transitions(
        self,
        ring: StepRing,
        index: Int64[Tensor, " batch"],
        weight: Float[Tensor, " batch"],
    ) -> TransitionBatch:
        """Gather the transitions that begin at some positions."""
        first = ring.done(index)
        if self._n_step == 1:
            reward = first["reward"]
            discount = first["continues"] * self._gamma
            last, boundary = index, first["boundary"].to(torch.int64)
        else:
            reward, discount, last, boundary = self._follow(ring, index)
        ended = boundary >= 0
        following = (last + ~ended * ring.shapes.num_envs) % ring.size
        before, after = ring.seen(index), ring.seen(following)
        action = first["action"]
        return TransitionBatch(
            observation=before["observation"],
            action_mask=before["action_mask"],
            alive=before["alive"],
            action=action if action.is_floating_point() else action.to(torch.int64),
            reward=reward,
            discount=discount,
            next_observation=torch.where(
                ended[:, None, None],
                ring.endings.final_observations(boundary),
                after["observation"],
            ),
            next_action_mask=after["action_mask"],
            state=before["state"],
            next_state=after["state"],
            weight=weight,
            index=index,
        )

    def _follow(
        self, ring: StepRing, index: Int64[Tensor, " batch"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Walk up to n steps on: rewards, discounts, last positions and boundaries there."""
        envs = ring.shapes.num_envs
        ahead = torch.arange(self._n_step, device=index.device) * envs
        path = (index + ahead.unsqueeze(-1)) % ring.size
        steps = ring.done(path.flatten())
        boundary = steps["boundary"].view_as(path)
        newest = (path + envs) // envs % ring.ring_rows == ring.head
        reward, discount, taken = n_step_sums(
            steps["reward"].view(*path.shape, -1),
            steps["continues"].view(*path.shape, -1),
            (boundary >= 0) | newest,
            gamma=self._gamma,
        )
        at_last = (taken - 1).unsqueeze(0)
        last = path.gather(0, at_last).squeeze(0)
        return reward, discount, last, boundary.gather(0, at_last).squeeze(0).to(torch.int64)
