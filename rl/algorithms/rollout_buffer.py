"""What was seen and done over some steps of all copies, in preallocated tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """A block of steps, written in place and reused for the next block."""

    observation: Float[Tensor, "time env agent obs"]
    action_mask: Bool[Tensor, "time env agent act"]
    alive: Bool[Tensor, "time env agent"]
    action: Shaped[Tensor, "time env agent ..."]
    log_prob: Float[Tensor, "time env agent"]
    reward: Float[Tensor, "time env agent"]
    discount: Float[Tensor, "time env agent"]
    """Zero where the episode terminated or the agent left it, gamma elsewhere."""
    ended: Bool[Tensor, "time env agent"]
    """True where the episode terminated or was truncated."""
    value: Float[Tensor, "time env agent"]
    next_value: Float[Tensor, "time env agent"]
    """Value of the state each step led to; at a truncation, of the episode's own last one."""
    cost: Float[Tensor, "time env agent constraint"]
    """Received after each step; no constraints, no columns."""
    cost_value: Float[Tensor, "time env agent constraint"]
    next_cost_value: Float[Tensor, "time env agent constraint"]
    memory: Float[Tensor, "env agent memory"]
    """Of a recurrent policy before the first step; no memory, no columns."""

    @classmethod
    def allocate(
        cls,
        num_steps: int,
        observation: Float[Tensor, "env agent obs"],
        action_mask: Bool[Tensor, "env agent act"],
        *,
        discrete: bool,
        num_costs: int = 0,
        memory_size: int = 0,
    ) -> Rollout:
        """Make an empty block.

        Args:
            num_steps: Steps per copy.
            observation: One step's, for shape and device.
            action_mask: One step's.
            discrete: True if an action is a choice.
            num_costs: Costs to keep.
            memory_size: Length of a recurrent policy's memory.
        """
        rows = (num_steps, *observation.shape[:2])
        device = observation.device
        numbers = (torch.zeros(rows, device=device) for _ in range(5))
        log_prob, reward, discount, value, next_value = numbers
        costs = (torch.zeros((*rows, num_costs), device=device) for _ in range(3))
        cost, cost_value, next_cost_value = costs
        return cls(
            observation=torch.zeros((*rows, observation.shape[-1]), device=device),
            action_mask=torch.zeros(
                (*rows, action_mask.shape[-1]), device=device, dtype=torch.bool
            ),
            alive=torch.zeros(rows, device=device, dtype=torch.bool),
            action=torch.zeros(rows, device=device, dtype=torch.int64)
            if discrete
            else torch.zeros((*rows, action_mask.shape[-1]), device=device),
            log_prob=log_prob,
            reward=reward,
            discount=discount,
            ended=torch.zeros(rows, device=device, dtype=torch.bool),
            value=value,
            next_value=next_value,
            cost=cost,
            cost_value=cost_value,
            next_cost_value=next_cost_value,
            memory=torch.zeros((*rows[1:], memory_size), device=device),
        )

    def first(self, steps: int) -> Rollout:
        """Return the first steps of the block, as views.

        Args:
            steps: How many.
        """
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        kept = {name: c if name == "memory" else c[:steps] for name, c in columns.items()}
        return Rollout(**kept)
