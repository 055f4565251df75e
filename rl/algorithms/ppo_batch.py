"""A block of experience laid out for learning, and its minibatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rl.algorithms.actor_critic import ActorCritic
from rl.algorithms.losses import shares, standardize
from rl.algorithms.objective import Worth
from rl.algorithms.rollout_buffer import Rollout


class Batch(NamedTuple):
    """Rows to learn from, by set of weights; a moment is one step of one copy.

    A row is one slot (an agent) of one moment, and a minibatch takes all slots of its moments.
    """

    observation: Float[Tensor, "stack *part row seen"]
    """As the actors take it."""
    joint: Float[Tensor, "1 *moment joint"] | None
    """As a central critic takes it; None if critics take what actors do."""
    mask: Bool[Tensor, "stack *part row act"] | None
    """None where everything is in use."""
    action: Shaped[Tensor, "stack *part row ..."]
    log_prob: Float[Tensor, "stack *part row"]
    value: Float[Tensor, "stack *part row"]
    advantage: Float[Tensor, "stack *part row"]
    target: Float[Tensor, "stack *part row"]
    weight: Float[Tensor, "stack *part row"]
    """How much a row counts beside the others; 0 for absent agents."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Change every column.

        Args:
            change: What to do with one.
        """
        return Batch._make(None if column is None else change(column) for column in self)

    def parts(
        self, count: int, generator: torch.Generator, *, normalize_advantages: bool
    ) -> list[Batch]:
        """Deal the moments `[stack moment slot ...]` out at random to parts `[stack row ...]`.

        The weights of a part sum to 1. Parts are equal: up to `count - 1` moments are left out. A
        single part is not shuffled.

        Args:
            count: How many parts.
            generator: Source of the order, on the device of the rows.
            normalize_advantages: Standardise them within each part and set of weights.
        """
        moments = self.weight.shape[1]
        count = min(count, moments)
        chosen = self
        if count > 1:
            order = torch.randperm(moments, generator=generator, device=self.weight.device)
            order = order[: moments // count * count]
            chosen = self.map(lambda column: column.index_select(1, order))
        dealt = chosen.map(lambda c: c.reshape(len(c), count, -1, *c.shape[3:]))
        share = shares(dealt.weight)
        dealt = dealt._replace(weight=share)
        if normalize_advantages:
            dealt = dealt._replace(advantage=standardize(dealt.advantage, share))
        return [Batch._make(c if c is None else c[:, at] for c in dealt) for at in range(count)]


def lay_out(
    rollout: Rollout,
    network: ActorCritic,
    worth: Worth,
    weight: Float[Tensor, "time env agent"],
) -> Batch:
    """Arrange a block by moments and sets of weights, `[stack moment slot ...]`.

    Args:
        rollout: The block.
        network: Says who shares weights and what it sees.
        worth: Advantages and targets.
        weight: How much every row counts; 0 for absent agents.
    """
    seen, joint = network.inputs(rollout.observation.flatten(0, 1))

    def stacked(column: Tensor) -> Tensor:
        return network.groups.stacked(column.flatten(0, 1))

    return Batch(
        observation=seen,
        joint=joint,
        mask=None if rollout.action_mask.all() else stacked(rollout.action_mask),
        action=stacked(rollout.action),
        log_prob=stacked(rollout.log_prob),
        value=stacked(rollout.value),
        advantage=stacked(worth.advantage),
        target=stacked(worth.target),
        weight=stacked(weight) * network.groups.in_use,
    )
