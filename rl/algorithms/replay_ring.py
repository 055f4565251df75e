"""Steps of all copies in a ring, each observation once; where episodes ended, beside it.

Row `t` holds what was seen before step `t` and what the step did; what followed is in row `t + 1`.
Only where an episode ended did something else follow: its last observation is in a side table,
in the order of time, together with the place where the next episode begins.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int32, Int64, Shaped
from torch import Tensor

from rl.algorithms.replay_columns import Columns
from rl.algorithms.replay_endings import Endings
from utils.errors import ConfigError

FIRST_POSITIONS = 1024
_MEMORY_INFO = Path("/proc/meminfo")


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
    continues: Bool[Tensor, "batch agent"]
    """True where an agent took part and has a future to bootstrap from: its episode did not
    terminate, and it did not leave."""
    boundary: Int32[Tensor, " batch"]
    """Number of the boundary between episodes that the step came to, or -1."""


def available_bytes(device: torch.device) -> int:
    """Return the memory that is free for new tensors.

    Args:
        device: Where they would lie.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if _MEMORY_INFO.exists():
        lines = (line.split() for line in _MEMORY_INFO.read_text().splitlines())
        return next(int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class StepRing:
    """The newest steps of every copy, in tensors that double until they hold the capacity.

    A position is row times copies plus copy.
    """

    def __init__(self, shapes: Shapes, *, capacity: int, device: torch.device) -> None:
        """Make an empty ring.

        Args:
            shapes: Sizes of every step.
            capacity: Most transitions kept, over all copies.
            device: Where the tensors lie.

        Raises:
            ConfigError: The full ring would not fit into memory.
        """
        self.shapes = shapes
        self.device = device
        self.head = 0
        """Row of the newest observation, whose step is still to come."""
        self.num_rows = 0
        """Rows with a whole step."""
        self.ring_rows = max(capacity // shapes.num_envs, 1) + 1
        """Rows of the full ring, the one of the newest observation included."""
        self.size = self.ring_rows * shapes.num_envs
        agents = shapes.num_agents
        action_shape = (agents,) if shapes.action_size < 0 else (agents, shapes.action_size)
        action_type = _smallest_integer(shapes.mask_size) if shapes.is_choice else torch.float32
        seen = Seen(
            observation=torch.zeros((0, agents, shapes.observation_size)),
            action_mask=torch.zeros((0, agents, shapes.mask_size), dtype=torch.bool),
            alive=torch.zeros((0, agents), dtype=torch.bool),
            state=torch.zeros((0, shapes.state_size)),
        )
        done = Done(
            reward=torch.zeros((0, agents)),
            action=torch.zeros((0, *action_shape), dtype=action_type),
            continues=torch.zeros((0, agents), dtype=torch.bool),
            boundary=torch.zeros(0, dtype=torch.int32),
        )
        self._seen_columns = Columns([column.to(device) for column in seen])
        self._done_columns = Columns([column.to(device) for column in done])
        self._require_memory(capacity)
        self._grow(min(max(FIRST_POSITIONS // shapes.num_envs, 2), self.ring_rows))
        final_like = torch.zeros((1, agents, shapes.observation_size), device=device)
        self.endings = Endings(final_like, self.ring_rows)

    def positions(self, number: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
        """Return the positions of steps counted from the oldest.

        Args:
            number: From 0 to `num_rows * num_envs - 1`.
        """
        if self.num_rows < self.ring_rows - 1:
            return number
        return (number + (self.head + 1) * self.shapes.num_envs) % self.size

    def seen(self, position: Int64[Tensor, " batch"]) -> Seen:
        """Return what was known before some steps.

        Args:
            position: Which.
        """
        return Seen(*self._seen_columns.at(position))

    def done(self, position: Int64[Tensor, " batch"]) -> Done:
        """Return what some steps did.

        Args:
            position: Which.
        """
        return Done(*self._done_columns.at(position))

    def add(self, step: Step) -> None:
        """Append a step; the oldest one goes when the ring is full.

        Where a step does not begin with the observation that followed the one before, the episode
        was left there: the earlier step counts as truncated.

        Args:
            step: Copied.
        """
        row, following = self.head, (self.head + 1) % self.ring_rows
        if following >= len(self._seen.observation):
            self._grow(min(2 * following, self.ring_rows))
        self._begin_episodes(row, step.observation)
        self.endings.forget(following)
        ended = step.terminated | step.truncated
        future = (step.next_alive | ended.unsqueeze(-1)) & ~step.terminated.unsqueeze(-1)
        before = Seen(step.observation, step.action_mask, step.alive, step.state)
        after = Seen(step.next_observation, step.next_action_mask, step.next_alive, step.next_state)
        for column, now, then in zip(self._seen, before, after, strict=True):
            column[row] = now
            column[following] = then
        self._done.reward[row] = step.reward
        self._done.action[row] = step.action
        self._done.continues[row] = step.alive & future
        self._done.boundary[row] = -1
        self.head = following
        self.num_rows = min(self.num_rows + 1, self.ring_rows - 1)
        self._end_episodes(row, ended.nonzero().squeeze(-1), step.final_observation)

    def _begin_episodes(self, row: int, observation: Float[Tensor, "env agent obs"]) -> None:
        """Note episodes that begin although none was seen to end: the first, and after a break."""
        if self.num_rows == 0:
            env = torch.arange(self.shapes.num_envs, device=self.device)
            self.endings.append(observation, env, row)
            return
        expected = self._seen.observation[row]
        if torch.equal(expected, observation):
            return
        before = (row - 1) % self.ring_rows
        broken = (expected != observation).flatten(1).any(1)
        broken &= self._done.boundary[before] < 0
        self._end_episodes(before, broken.nonzero().squeeze(-1), expected)

    def _end_episodes(
        self,
        row: int,
        env: Int64[Tensor, " ended"],
        final_observation: Float[Tensor, "env agent obs"],
    ) -> None:
        """Note that the steps of a row in some copies were the last of their episodes."""
        if len(env) == 0:
            return
        following = (row + 1) % self.ring_rows
        begins = env + following * self.shapes.num_envs
        numbers = self.endings.append(final_observation[env], begins, following)
        self._done.boundary[row, env] = numbers.to(torch.int32)

    def _grow(self, rows: int) -> None:
        """Make room for `rows` rows; those that exist stay where they are."""
        envs = self.shapes.num_envs
        self._seen_columns = self._seen_columns.lengthened(rows * envs)
        self._done_columns = self._done_columns.lengthened(rows * envs)
        self._seen = Seen(*self._seen_columns.by_row(envs))
        self._done = Done(*self._done_columns.by_row(envs))

    def _require_memory(self, capacity: int) -> None:
        """Refuse a ring that cannot be filled."""
        one = (
            self._seen_columns.lengthened(1).num_bytes + self._done_columns.lengthened(1).num_bytes
        )
        needed, free = one * self.size, available_bytes(self.device)
        if needed > free:
            raise ConfigError(
                f"buffer_size {capacity:,} needs {needed:,} bytes ({one:,} a transition of "
                f"{self.shapes.num_agents} agents), but {free:,} are available on {self.device}: "
                f"set it to at most {free // one:,}"
            )


def _smallest_integer(num_choices: int) -> torch.dtype:
    """Return the narrowest type that holds 0 .. num_choices - 1."""
    kinds = (torch.int8, torch.int16, torch.int32)
    return next(kind for kind in kinds if num_choices - 1 <= torch.iinfo(kind).max)
