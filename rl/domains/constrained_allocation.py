"""Tasks that share costly resources under soft limits: what is observed and what is feasible.

The same lines run in training (torch), evaluation and serving (NumPy).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import ConfigError

OBSERVATION_LIMIT = 10.0
ROUNDING = 1e-6
"""Share of a resource left alone when it is used up, so that a sum of floats does not exceed it."""


@dataclass(frozen=True, kw_only=True)
class ConstrainedConfig:
    """Sizes, length and weights of the preset `constrained_allocation`."""

    num_resources: int = 3
    num_tasks: int = 5
    max_allocation_per_resource: float = 1.0
    """Most units of one resource that one task can take."""
    episode_length: int = 100
    reward_scale: float = 1.0
    """Multiplies every term of the reward."""
    cost_penalty: float = 0.1
    """Reward lost per unit of cost."""
    constraint_violation_penalty: float = 10.0
    """Reward lost per squared unit allocated beyond what is available."""

    def __post_init__(self) -> None:
        """Refuse empty worlds and negative weights."""
        if min(self.num_resources, self.num_tasks, self.episode_length) < 1:
            raise ConfigError(
                f"num_resources, num_tasks and episode_length must be at least 1: {self}"
            )
        sizes = (self.max_allocation_per_resource, self.reward_scale)
        weights = (self.cost_penalty, self.constraint_violation_penalty)
        if not all(math.isfinite(value) for value in sizes + weights):
            raise ConfigError(f"limits, scale and penalties must be finite: {self}")
        if min(sizes) <= 0 or min(weights) < 0:
            raise ConfigError(
                "max_allocation_per_resource and reward_scale must be above 0, cost_penalty and "
                f"constraint_violation_penalty not negative: {self}"
            )


@dataclass(frozen=True, kw_only=True)
class ConstrainedView:
    """What the planner knows when it decides; any leading batch axes, NumPy or torch."""

    availability: Any
    """`[..., resource]`: units there are."""
    demand: Any
    """`[..., task]`: units each task needs, of any resource."""
    allocation: Any
    """`[..., task, resource]`: units allocated in the step before."""
    time: Any
    """`[...]`: steps taken, over the length of the episode."""
    cost: Any
    """`[..., resource]`: of a unit; not observed."""
    priority: Any
    """`[..., task]`: not observed."""
    task_active: Any
    """`[..., task]`: one where the task exists."""
    resource_active: Any
    """`[..., resource]`: one where the resource exists."""


class ConstrainedDomain:
    """Observation and feasibility of one world, on NumPy or torch arrays."""

    def __init__(self, config: ConstrainedConfig, xp: Any = np) -> None:
        """Keep the world.

        Args:
            config: Sizes and limits.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.config = config
        self._xp = xp

    @property
    def observation_size(self) -> int:
        """Numbers observed: 24 in the preset."""
        config = self.config
        return config.num_resources + config.num_tasks * (1 + config.num_resources) + 1

    def encode(self, view: ConstrainedView) -> Any:
        """Observe availability, demands, the last allocation and the time.

        Args:
            view: What is known.

        Returns:
            `[..., observation]`; allocations as shares of the most one task can take; all in
            [0, 10].
        """
        held = view.allocation / self.config.max_allocation_per_resource
        flat = held.reshape((*held.shape[:-2], -1))
        parts = [view.availability, view.demand, flat, view.time[..., None]]
        return self._xp.clip(self._xp.concatenate(parts, axis=-1), 0.0, OBSERVATION_LIMIT)

    def project(self, action: Any, view: ConstrainedView) -> Any:
        """Turn an action into the allocation that is made.

        Args:
            action: `[..., task * resource]`, clipped to [0, 1]: share of the most one task can
                take. What is available is no limit, only dear to exceed.
            view: What is known.

        Returns:
            `[..., task, resource]`: units; none for tasks or resources that do not exist.
        """
        config = self.config
        share = self._xp.clip(action, 0.0, 1.0)
        share = share.reshape((*share.shape[:-1], config.num_tasks, config.num_resources))
        exists = view.task_active[..., :, None] * view.resource_active[..., None, :]
        return share * exists * config.max_allocation_per_resource

    def within_limits(self, action: Any, view: ConstrainedView) -> Any:
        """Scale down what is asked of a resource beyond what there is, alike for all tasks.

        Args:
            action: `[..., task * resource]`.
            view: What is known.

        Returns:
            An action of the same shape that exceeds no availability; unchanged where it did not.
        """
        allocation = self.project(action, view)
        used = allocation.sum(-2)
        available = view.availability * (1.0 - ROUNDING)
        exceeds = used > view.availability
        share = self._xp.where(exceeds, available / self._xp.where(exceeds, used, 1.0), 1.0)
        most = self.config.max_allocation_per_resource
        return (allocation * share[..., None, :] / most).reshape(action.shape)
