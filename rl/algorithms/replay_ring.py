"""Steps of all copies in a ring, each observation once; where episodes ended, beside it.

Row `t` holds what was seen before step `t` and what the step did; what followed is in row `t + 1`.
Only where an episode ended did something else follow: its last observation is in a side table,
in the order of time, together with the place where the next episode begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int32, Int64, Shaped
from torch import Tensor

from rl.algorithms.policy_state import (
    StateMismatchError,
    TensorDict,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.replay_columns import Columns, Field, available_bytes
from rl.algorithms.replay_endings import Endings
from rl.algorithms.replay_steps import Done, Seen, Shapes, Step
from utils.errors import ConfigError

FIRST_POSITIONS = 1024
SEEN = len(Seen._fields)


class StepRing:
    """The newest steps of every copy, in tensors that double until they hold the capacity.

    A position is row times copies plus copy.
    """

    def __init__(
        self, shapes: Shapes, *, capacity: int, gamma: float, device: torch.device
    ) -> None:
        """Make an empty ring.

        Args:
            shapes: Sizes of every step.
            capacity: Most transitions kept, over all copies.
            gamma: Discount of a step that does not end.
            device: Where the tensors lie.

        Raises:
            ConfigError: The full ring would not fit into memory.
        """
        self.shapes = shapes
        self.device = device
        self._gamma = gamma
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
        seen = (
            Field((agents, shapes.observation_size)),
            Field((agents, shapes.mask_size), torch.bool),
            Field((agents,), torch.bool),
            Field((shapes.state_size,)),
        )
        done = (
            Field((agents,)),
            Field(action_shape, action_type),
            Field((agents,)),
            Field((), torch.int32),
        )
        self.columns = Columns([*seen, *done], 0, device)
        self._require_memory(capacity)
        self._grow(min(max(FIRST_POSITIONS // shapes.num_envs, 2), self.ring_rows))
        finals = [Field((agents, shapes.observation_size)), Field((shapes.state_size,))]
        self.endings = Endings(finals, self.ring_rows, device)

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
        return Seen(*self.columns.at(position, SEEN))

    def steps(self, position: Int64[Tensor, " batch"]) -> tuple[Seen, Done]:
        """Return what was known before some steps, and what they did.

        Args:
            position: Which.
        """
        columns = self.columns.at(position)
        return Seen(*columns[:SEEN]), Done(*columns[SEEN:])

    def after(self, last: Int64[Tensor, " batch"], boundary: Int32[Tensor, " batch"]) -> Seen:
        """Return what followed some steps.

        Args:
            last: Positions of the steps.
            boundary: The boundaries that they came to, or -1.
        """
        envs, ended = self.shapes.num_envs, boundary >= 0
        known = self.seen(torch.add(last + envs, ended, alpha=-envs) % self.size)
        final, final_state = self.endings.finals(boundary.to(torch.int64))
        return known._replace(
            observation=torch.where(ended[:, None, None], final, known.observation),
            state=torch.where(ended[:, None], final_state, known.state),
        )

    @property
    def num_begun(self) -> int:
        """Episodes whose first steps are kept."""
        return self.endings.count - int(self.endings.begun[self.head])

    def is_newest(self, position: Int64[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Tell which steps are the newest of their copies.

        Args:
            position: Of steps.
        """
        return position // self.shapes.num_envs == (self.head - 1) % self.ring_rows

    def wide_action(self, action: Shaped[Tensor, "batch agent ..."]) -> Tensor:
        """Return choices as int64, and numbers as they are.

        Args:
            action: As stored.
        """
        return action.to(torch.int64) if self.shapes.is_choice else action

    def add(self, step: Step) -> None:
        """Append a step; the oldest one goes when the ring is full.

        Where a step does not begin with the observation that followed the one before, the episode
        was left there: the earlier step counts as truncated.

        Args:
            step: Copied.

        Raises:
            StateMismatchError: It is of other copies or agents than the ring.
        """
        self.shapes.require(step)
        row, following = self.head, (self.head + 1) % self.ring_rows
        if following >= len(self._seen.observation):
            self._grow(min(2 * following, self.ring_rows))
        seen, done, came = self._seen_rows, self._done_rows, _native(step)
        goes_on = self.num_rows > 0 and bool((seen.observation[row] == came.observation).all())
        if not goes_on and self._begin_episodes(row, step.observation, step.state):
            before = (came.observation, came.action_mask, came.alive, came.state)
            for column, entry in zip(seen, before, strict=True):
                column[row] = entry
        self.endings.forget(following)
        after = (came.next_observation, came.next_action_mask, came.next_alive, came.next_state)
        for column, entry in zip(seen, after, strict=True):
            column[following] = entry
        ended = came.terminated | came.truncated
        future = (came.next_alive | ended[:, None]) & ~came.terminated[:, None]
        done.reward[row] = came.reward
        done.action[row] = came.action
        done.discount[row] = (came.alive & future) * self._gamma
        done.boundary[row] = -1
        self.head = following
        self.num_rows = min(self.num_rows + 1, self.ring_rows - 1)
        if ended.any():
            env = (step.terminated | step.truncated).nonzero().squeeze(-1)
            self._end_episodes(row, env, (step.final_observation, step.final_state))

    def state_dict(self) -> TensorDict:
        """Return copies of all that is filled."""
        filled = min(self.num_rows + 1, self.ring_rows) * self.shapes.num_envs
        return {
            "shapes": torch.tensor(self.shapes),
            "rows": torch.tensor([self.ring_rows, self.head, self.num_rows]),
            **{name: column[:filled].clone() for name, column in self._named()},
            **with_prefix("endings", self.endings.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue with saved steps.

        Args:
            state: What `state_dict` returned, of a ring with the same shapes.

        Raises:
            StateMismatchError: It was saved with another capacity or other shapes.
        """
        ring_rows, head, num_rows = take_tensor(state, "rows").tolist()
        if ring_rows != self.ring_rows:
            raise StateMismatchError(
                f"the replay was saved with {ring_rows - 1} rows, but buffer_size gives "
                f"{self.ring_rows - 1} here: load it with the configuration it was saved with"
            )
        self._grow(min(num_rows + 1, ring_rows))
        for name, column in self._named():
            column.copy_(take_tensor(state, name, column))
        self.endings.load_state_dict(under_prefix("endings", state))
        self.head, self.num_rows = head, num_rows

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        """Return names and tensors of all columns."""
        return zip((*Seen._fields, *Done._fields), self.columns.tensors, strict=True)

    def _begin_episodes(
        self,
        row: int,
        observation: Float[Tensor, "env agent obs"],
        state: Float[Tensor, "env state"],
    ) -> bool:
        """Note episodes that begin although none was seen to end: the first, and after a break.

        Returns:
            False if the row holds already what the step before led to.
        """
        if self.num_rows == 0:
            env = torch.arange(self.shapes.num_envs, device=self.device)
            self.endings.append((observation, state), env, row)
            return True
        expected = self._seen.observation[row]
        observation = observation.to(expected.dtype)
        if torch.equal(expected, observation):
            return False
        before = (row - 1) % self.ring_rows
        broken = (expected != observation).flatten(1).any(1)
        broken &= self._done.boundary[before] < 0
        last = (expected, self._seen.state[row])
        self._end_episodes(before, broken.nonzero().squeeze(-1), last)
        return True

    def _end_episodes(
        self,
        row: int,
        env: Int64[Tensor, " ended"],
        finals: tuple[Float[Tensor, "env agent obs"], Float[Tensor, "env state"]],
    ) -> None:
        """Note that the steps of a row in some copies were the last of their episodes."""
        if len(env) == 0:
            return
        following = (row + 1) % self.ring_rows
        begins = env + following * self.shapes.num_envs
        observation, state = finals
        numbers = self.endings.append((observation[env], state[env]), begins, following)
        self._done.boundary[row, env] = numbers.to(torch.int32)

    def _grow(self, rows: int) -> None:
        """Make room for `rows` rows; those that exist stay where they are."""
        envs = self.shapes.num_envs
        self.columns = self.columns.resized(rows * envs)
        by_row = self.columns.by_row(envs)
        self._seen, self._done = Seen(*by_row[:SEEN]), Done(*by_row[SEEN:])
        self._seen_rows, self._done_rows = _native(self._seen), _native(self._done)

    def _require_memory(self, capacity: int) -> None:
        """Refuse a ring that cannot be filled."""
        one = self.columns.num_bytes
        needed, free = one * self.size, available_bytes(self.device)
        if needed > free:
            raise ConfigError(
                f"buffer_size {capacity:,} needs {needed:,} bytes ({one:,} a transition of "
                f"{self.shapes.num_agents} agents), but {free:,} are available on {self.device}: "
                f"set it to at most {max(free // one - self.shapes.num_envs, 0):,}"
            )


def _native(record: Any) -> Any:
    """Return a named tuple of tensors as one of NumPy arrays on the same memory, on the CPU.

    NumPy writes a few numbers in a fraction of the time; arrays and tensors share operators.
    """
    if record[0].device.type != "cpu":
        return record
    return type(record)(*(tensor.numpy() for tensor in record))


def _smallest_integer(num_choices: int) -> torch.dtype:
    """Return the narrowest type that holds 0 .. num_choices - 1."""
    kinds = (torch.int8, torch.int16, torch.int32)
    return next(kind for kind in kinds if num_choices - 1 <= torch.iinfo(kind).max)
