"""One-step transitions out of a ring in host memory: NumPy alone, under half of torch's time.

About thirty operations on 256 rows are bound by what a call costs, and mixing two libraries costs
most, because the code of both takes turns in the processor's cache.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rl.algorithms.replay_ring import StepRing
from rl.algorithms.replay_steps import TransitionBatch

OBSERVATION, MASK, ALIVE, STATE, REWARD, ACTION, DISCOUNT, BOUNDARY = (f"f{i}" for i in range(8))
"""Columns of a packed row: those of `Seen`, then those of `Done`."""


def host_transitions(
    ring: StepRing, index: Int64[Tensor, " batch"], weight: Float[Tensor, " batch"]
) -> TransitionBatch:
    """Gather the transitions of one step that begin at some positions.

    Args:
        ring: Where they lie, in host memory.
        index: Their positions.
        weight: Goes into the batch.
    """
    position = index.numpy()
    rows = ring.columns.packed_at(position)
    boundary = rows[BOUNDARY]
    ended = (boundary >= 0).nonzero()[0]
    following = position + ring.shapes.num_envs
    following[ended] = position[ended]
    following %= ring.size
    after = ring.columns.packed_at(following)
    next_observation, next_state = after[OBSERVATION], after[STATE]
    next_observation[ended], next_state[ended] = ring.endings.host_finals(boundary[ended])
    action = rows[ACTION]
    tensor = torch.from_numpy
    return TransitionBatch(
        observation=tensor(rows[OBSERVATION]),
        action_mask=tensor(rows[MASK]),
        alive=tensor(rows[ALIVE]),
        action=tensor(action.astype(np.int64) if ring.shapes.is_choice else action),
        reward=tensor(rows[REWARD]),
        discount=tensor(rows[DISCOUNT]),
        next_observation=tensor(next_observation),
        next_action_mask=tensor(after[MASK]),
        state=tensor(rows[STATE]),
        next_state=tensor(next_state),
        weight=weight,
        index=index,
    )
