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
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from rl.algorithms.replay_endings import Endings
from rl.algorithms.replay_records import Field, RecordLayout, rows_at, smallest_integer
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
        action_type = smallest_integer(shapes.mask_size) if shapes.is_choice else torch.float32
        self.seen_layout = RecordLayout(
            {
                "observation": Field((agents, shapes.observation_size), torch.float32),
                "state": Field((shapes.state_size,), torch.float32),
                "action_mask": Field((agents, shapes.mask_size), torch.bool),
                "alive": Field((agents,), torch.bool),
            }
        )
        self.done_layout = RecordLayout(
            {
                "reward": Field((agents,), torch.float32),
                "boundary": Field((), torch.int32),
                "action": Field(action_shape, action_type),
                "continues": Field((agents,), torch.bool),
            }
        )
        self._require_memory(capacity)
        self._seen_rows = self._no_rows(self.seen_layout)
        self._done_rows = self._no_rows(self.done_layout)
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

    def seen(self, position: Int64[Tensor, " batch"]) -> dict[str, Tensor]:
        """Return observation, state, action_mask and alive at some positions.

        Args:
            position: Which.
        """
        return self.seen_layout.columns(rows_at(self._seen_rows, position))

    def done(self, position: Int64[Tensor, " batch"]) -> dict[str, Tensor]:
        """Return reward, action, boundary and continues of the steps at some positions.

        `boundary` is the number of the boundary that the step came to, or -1. `continues` is True
        where an agent took part and has a future to bootstrap from: its episode did not terminate,
        and it did not leave.

        Args:
            position: Which.
        """
        return self.done_layout.columns(rows_at(self._done_rows, position))

    def add(self, step: Step) -> None:
        """Append a step; the oldest one goes when the ring is full.

        Where a step does not begin with the observation that followed the one before, the episode
        was left there: the earlier step counts as truncated.

        Args:
            step: Copied.
        """
        row, following = self.head, (self.head + 1) % self.ring_rows
        if following >= len(self._seen["observation"]):
            self._grow(min(2 * following, self.ring_rows))
        self._begin_episodes(row, step.observation)
        self.endings.forget(following)
        ended = step.terminated | step.truncated
        future = (step.next_alive | ended.unsqueeze(-1)) & ~step.terminated.unsqueeze(-1)
        self._seen["observation"][row] = step.observation
        self._seen["observation"][following] = step.next_observation
        self._seen["state"][row] = step.state
        self._seen["state"][following] = step.next_state
        self._seen["action_mask"][row] = step.action_mask
        self._seen["action_mask"][following] = step.next_action_mask
        self._seen["alive"][row] = step.alive
        self._seen["alive"][following] = step.next_alive
        self._done["action"][row] = step.action
        self._done["reward"][row] = step.reward
        self._done["continues"][row] = step.alive & future
        self._done["boundary"][row] = -1
        self.head = following
        self.num_rows = min(self.num_rows + 1, self.ring_rows - 1)
        self._end_episodes(row, ended.nonzero().squeeze(-1), step.final_observation)

    def _begin_episodes(self, row: int, observation: Float[Tensor, "env agent obs"]) -> None:
        """Note episodes that begin although none was seen to end: the first, and after a break."""
        if self.num_rows == 0:
            env = torch.arange(self.shapes.num_envs, device=self.device)
            self.endings.append(observation, env, row)
            return
        expected = self._seen["observation"][row]
        if torch.equal(expected, observation):
            return
        before = (row - 1) % self.ring_rows
        broken = (expected != observation).flatten(1).any(1)
        broken &= self._done["boundary"][before] < 0
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
        self._done["boundary"][row, env] = numbers.to(torch.int32)

    def _no_rows(self, layout: RecordLayout) -> Tensor:
        """Return a table without rows."""
        return torch.zeros((0, layout.num_bytes), dtype=torch.uint8, device=self.device)

    def _grow(self, rows: int) -> None:
        """Make room for `rows` rows; those that exist stay where they are."""
        positions = rows * self.shapes.num_envs
        self._seen_rows = _lengthened(self._seen_rows, positions)
        self._done_rows = _lengthened(self._done_rows, positions)
        seen = self.seen_layout.columns(self._seen_rows)
        done = self.done_layout.columns(self._done_rows)
        self._seen = {name: self._by_row(column) for name, column in seen.items()}
        self._done = {name: self._by_row(column) for name, column in done.items()}

    def _by_row(self, column: Tensor) -> Tensor:
        """Return a column as `[row, env, ...]`."""
        envs = self.shapes.num_envs
        return column.view(len(column) // envs, envs, *column.shape[1:])

    def _require_memory(self, capacity: int) -> None:
        """Refuse a ring that cannot be filled."""
        per_position = self.seen_layout.num_bytes + self.done_layout.num_bytes
        needed, free = per_position * self.size, available_bytes(self.device)
        if needed > free:
            raise ConfigError(
                f"buffer_size {capacity:,} needs {needed:,} bytes ({per_position:,} a transition "
                f"of {self.shapes.num_agents} agents), but {free:,} are available on "
                f"{self.device}: set it to at most {free // per_position:,}"
            )


def _lengthened(table: Tensor, length: int) -> Tensor:
    """Return a longer copy, the new rows zero."""
    longer = table.new_zeros((length, *table.shape[1:]))
    longer[: len(table)] = table
    return longer
