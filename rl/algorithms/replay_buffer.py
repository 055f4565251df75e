"""Experience replay: what happened, drawn at random as n-step transitions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rl.algorithms.host_arrays import as_array, as_float32, as_tensor
from rl.algorithms.host_priority_tree import HostPriorityTree
from rl.algorithms.host_transitions import host_transitions
from rl.algorithms.policy_state import (
    StateMismatchError,
    TensorDict,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.priority_config import PriorityConfig
from rl.algorithms.priority_tree import PriorityTree, importance_weights, priority_tree
from rl.algorithms.replay_episodes import EpisodeBatch, gather_episodes
from rl.algorithms.replay_ring import StepRing
from rl.algorithms.replay_steps import Shapes, Step, TransitionBatch
from rl.algorithms.returns import n_step_sums
from utils.errors import ConfigError

__all__ = ["EpisodeBatch", "ReplayBuffer", "Step", "TransitionBatch"]

STATE_VERSION = 1


class ReplayBuffer:
    """The newest transitions of all copies and agents."""

    def __init__(
        self,
        *,
        capacity: int,
        gamma: float,
        n_step: int = 1,
        priority: PriorityConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Make an empty buffer; shapes come with the first step, memory as it fills.

        Args:
            capacity: Most transitions kept, over all copies; one is a step of all agents.
            gamma: Discount in [0, 1].
            n_step: Most steps whose rewards a transition sums up.
            priority: How to prefer large errors; None draws uniformly.
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
        self._is_one_step_on_host = n_step == 1 and self._device.type == "cpu"
        self._priority = priority
        self._ring: StepRing | None = None
        self._tree: PriorityTree | HostPriorityTree | None = None
        self._largest = torch.ones((), device=self._device)
        self._num_drawn = 0
        self._added_since_draw = True

    def __len__(self) -> int:
        """Return how many transitions can be drawn."""
        return self._ring.num_rows * self._ring.shapes.num_envs if self._ring else 0

    @property
    def fill(self) -> float:
        """Share of the capacity that is in use."""
        return min(len(self) / self._capacity, 1.0)

    def add(self, step: Step) -> None:
        """Append one step of every copy; the oldest goes when the buffer is full.

        Where a step does not begin with the observation that followed the one before, the episode
        was left there (a run resumed at an episode's start): that earlier step counts as truncated.

        Args:
            step: Copied.

        Raises:
            ConfigError: The full buffer would not fit into memory; says how much it needs.
            StateMismatchError: The step is of other copies or agents than those before.
        """
        ring = self._ring or self._begin(Shapes.of(step))
        row = ring.head
        ring.add(step)
        self._added_since_draw = True
        if self._tree:
            copies = torch.arange(ring.shapes.num_envs, device=self._device)
            added, unfinished = (copies + at * len(copies) for at in (row, ring.head))
            self._tree.set(added, self._largest.expand(len(copies)))
            self._tree.set(unfinished, self._largest.new_zeros(len(copies)))

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
        if self._tree is None or self._priority is None:
            number = torch.randint(
                len(self), (batch_size,), generator=generator, device=self._device
            )
            weight = torch.ones(batch_size, device=self._device)
            return self._transitions(ring, ring.positions(number), weight)
        index, priority = self._tree.draw(batch_size, generator)
        beta = self._priority.beta_at(self._num_drawn)
        weight = importance_weights(as_float32(as_array(priority)), beta)
        self._num_drawn += 1
        self._added_since_draw = False
        return self._transitions(ring, index, as_tensor(weight))

    def update_priorities(
        self, index: Int64[Tensor, " batch"], td_error: Float[Tensor, " batch"]
    ) -> None:
        """Set the priorities of transitions to (|error| + epsilon)^alpha; nothing if uniform.

        Args:
            index: As drawn; steps may have been added since.
            td_error: One per transition; with several agents, their mean or largest.
        """
        if self._tree is None or self._priority is None:
            return
        error = as_array(td_error.detach())
        priority = (abs(error) + self._priority.epsilon) ** self._priority.alpha
        largest = as_array(self._largest)
        maximum = torch.maximum if isinstance(priority, Tensor) else np.maximum
        maximum(largest, priority.max(), out=largest)
        ring = self._filled()
        if self._added_since_draw:
            priority = priority * (as_array(index) // ring.shapes.num_envs != ring.head)
        self._tree.set(index, as_tensor(priority))

    def sample_episodes(
        self, batch_size: int, max_length: int, generator: torch.Generator
    ) -> EpisodeBatch:
        """Draw episodes whose first steps are still kept, uniformly, with replacement.

        Args:
            batch_size: How many.
            max_length: Most steps of each.
            generator: Source of the draws, on the buffer's device.

        Raises:
            ConfigError: No episode's first step is kept.
        """
        ring = self._filled()
        if ring.num_begun == 0:
            raise ConfigError(
                f"buffer_size {self._capacity} keeps no episode's first step: raise it above the "
                "number of copies times the longest episode"
            )
        ahead = torch.randint(
            ring.num_begun, (batch_size,), generator=generator, device=self._device
        )
        return gather_episodes(ring, ring.endings.beginnings(ahead), max_length)

    def state_dict(self) -> TensorDict:
        """Return copies of all that is needed to continue bit for bit."""
        state = {
            "version": torch.tensor([STATE_VERSION, self._num_drawn]),
            "largest": self._largest.clone(),
            "gamma": torch.tensor(self._gamma, dtype=torch.float64),
        }
        if self._ring:
            state |= with_prefix("ring", self._ring.state_dict())
        if self._ring and self._tree:
            filled = len(state["ring.boundary"])
            state["priority"] = self._tree.priorities[:filled].clone()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue with saved steps and priorities.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: It was saved by another version, or with another capacity, gamma,
                way of drawing, or other shapes.
        """
        version, num_drawn = take_tensor(state, "version").tolist()
        if version != STATE_VERSION:
            raise StateMismatchError(
                f"the replay was saved by version {version} of it, this is version {STATE_VERSION}"
            )
        gamma = float(take_tensor(state, "gamma"))
        if gamma != self._gamma:
            raise StateMismatchError(
                f"the replay was saved with gamma {gamma}, here it is {self._gamma}: load it with "
                "the configuration it was saved with"
            )
        contents = under_prefix("ring", state)
        if "priority" in state and self._priority is None:
            raise StateMismatchError(
                "the replay was saved with priorities, here it draws uniformly: load it with the "
                "configuration it was saved with"
            )
        self._ring = self._tree = None
        if contents:
            shapes = Shapes(*take_tensor(contents, "shapes").tolist())
            ring = self._begin(shapes)
            ring.load_state_dict(contents)
            if self._tree:
                filled = torch.arange(len(contents["boundary"]), device=self._device)
                self._tree.set(filled, take_tensor(state, "priority").to(self._device))
        self._largest.copy_(take_tensor(state, "largest", self._largest))
        self._num_drawn = num_drawn

    def _begin(self, shapes: Shapes) -> StepRing:
        """Make room for steps of known shapes."""
        self._ring = StepRing(
            shapes, capacity=self._capacity, gamma=self._gamma, device=self._device
        )
        if self._priority:
            self._tree = priority_tree(self._ring.size, self._device)
        return self._ring

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
        if self._is_one_step_on_host:
            return host_transitions(ring, index, weight)
        before, first = ring.steps(index)
        reward, discount, last, boundary = first.reward, first.discount, index, first.boundary
        if self._n_step > 1:
            reward, discount, last, boundary = _follow(ring, index, self._n_step)
        after = ring.after(last, boundary)
        return TransitionBatch(
            observation=before.observation,
            action_mask=before.action_mask,
            alive=before.alive,
            action=ring.wide_action(first.action),
            reward=reward,
            discount=discount,
            next_observation=after.observation,
            next_action_mask=after.action_mask,
            state=before.state,
            next_state=after.state,
            weight=weight,
            index=index,
        )


def _follow(
    ring: StepRing, index: Int64[Tensor, " batch"], n_step: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Walk up to n steps on: rewards, discounts, last positions and boundaries there."""
    envs = ring.shapes.num_envs
    ahead = torch.arange(n_step, device=index.device) * envs
    path = (index + ahead.unsqueeze(-1)) % ring.size
    _, steps = ring.steps(path.flatten())
    boundary = steps.boundary.view_as(path)
    reward, discount, taken = n_step_sums(
        steps.reward.view(*path.shape, -1),
        steps.discount.view(*path.shape, -1),
        (boundary >= 0) | ring.is_newest(path),
    )
    at_last = (taken - 1).unsqueeze(0)
    last = path.gather(0, at_last).squeeze(0)
    return reward, discount, last, boundary.gather(0, at_last).squeeze(0)
