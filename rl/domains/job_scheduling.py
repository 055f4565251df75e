"""Jobs that wait for a cluster: what is observed, and when each could start.

The same lines run in training (torch), evaluation and serving (NumPy). The times at which a job
would fit are the bits of one integer, so that looking for a run of free steps takes a few shifts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import ConfigError

LONGEST_HORIZON = 24
"""Bits of which float32 sums every set exactly."""


@dataclass(frozen=True, kw_only=True)
class JobSchedulingConfig:
    """Sizes of the world; the defaults are those of the DeepRM paper (its code sees 5 jobs)."""

    num_resources: int = 2
    num_arrival_steps: int = 50
    window: int = 10
    """Waiting jobs that are seen and can be chosen."""
    backlog: int = 60
    """Jobs behind the window that count as many; none is ever turned away."""
    horizon: int = 20
    """Steps for which capacity can be booked."""
    max_steps: int = 400
    """Decisions in an episode."""

    def __post_init__(self) -> None:
        """Refuse empty worlds."""
        for name in ("num_resources", "num_arrival_steps", "window", "backlog", "max_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 1 <= self.horizon <= LONGEST_HORIZON:
            raise ConfigError(f"horizon must lie in 1 .. {LONGEST_HORIZON}, not {self.horizon}")

    @property
    def observation_size(self) -> int:
        """Numbers that are observed."""
        return self.num_resources * self.horizon + self.window * (self.num_resources + 2) + 2


@dataclass(frozen=True, kw_only=True)
class JobView:
    """What is known before a decision; any leading batch axes, NumPy or torch."""

    free: Any
    """`[..., resource, time]`: units not booked in this step and the following ones."""
    capacity: Any
    """`[..., resource]`: units there are; 0 where a resource is switched off."""
    length: Any
    """`[..., slot]`: steps that a waiting job runs; 0 where a slot is empty."""
    need: Any
    """`[..., slot, resource]`: units it occupies."""
    waited: Any
    """`[..., slot]`: steps since it arrived."""
    backlog: Any
    """`[...]`: jobs that wait behind the window."""
    arrivals_left: Any
    """`[...]`: share of the steps with arrivals that is still to come."""


class JobSchedulingDomain:
    """Observation and feasibility, on NumPy or torch arrays."""

    def __init__(
        self,
        config: JobSchedulingConfig,
        xp: Any = np,
        as_array: Callable[[Any], Any] = np.asarray,
    ) -> None:
        """Keep the sizes.

        Args:
            config: The world.
            xp: Array namespace, `numpy` or `torch`.
            as_array: Makes an array of the namespace, where the views are.
        """
        self.config = config
        self._xp = xp
        bits = as_array([1 << step for step in range(config.horizon)])
        self._bits = xp.asarray(bits, dtype=xp.float32)

    def encode(self, view: JobView) -> Any:
        """Observe bookings, waiting jobs and the queue behind.

        Args:
            view: What is known.

        Returns:
            `[..., observation_size]` in [0, 1]: free share of capacity per resource and step; per
            slot its length over the horizon, needs over capacities and w / (w + horizon) after w
            steps of waiting; jobs behind over `backlog`; share of arrivals left.
        """
        xp, config = self._xp, self.config
        scale = xp.clip(view.capacity, 1.0, None)
        slots = xp.concatenate(
            [
                (view.length / config.horizon)[..., None],
                view.need / scale[..., None, :],
                (view.waited / (view.waited + config.horizon))[..., None],
            ],
            -1,
        )
        free = view.free / scale[..., None]
        behind = xp.clip(view.backlog / config.backlog, 0.0, 1.0)
        lead = free.shape[:-2]
        return xp.concatenate(
            [
                free.reshape((*lead, -1)),
                slots.reshape((*lead, -1)),
                behind[..., None],
                view.arrivals_left[..., None],
            ],
            -1,
        )

    def earliest_start(self, view: JobView) -> Any:
        """Find the first step from which on each waiting job fits until it ends.

        Args:
            view: What is known; `length` holds whole numbers.

        Returns:
            `[..., slot]`: steps from now; `horizon` where it fits nowhere or the slot is empty.
        """
        xp, config = self._xp, self.config
        fits = view.free[..., None, 0, :] >= view.need[..., 0, None]
        for resource in range(1, config.num_resources):
            fits = fits & (view.free[..., None, resource, :] >= view.need[..., resource, None])
        packed = xp.matmul(xp.asarray(fits, dtype=xp.float32), self._bits)
        start, left, shift = xp.asarray(packed, dtype=xp.int64), view.length - 1, 1
        while shift < config.horizon:
            step = xp.clip(left, 0, shift)
            start = start & (start >> step)
            left = left - step
            shift *= 2
        lowest = xp.asarray(start & -start, dtype=xp.float32)
        first = xp.asarray(xp.log2(xp.clip(lowest, 1.0, None)), dtype=xp.int64)
        return xp.where((lowest > 0) & (view.length > 0), first, config.horizon)

    def feasible(self, start: Any) -> Any:
        """Tell which choices do something; the last one, to let a step pass, always does.

        Args:
            start: `[..., slot]`: of `earliest_start`.

        Returns:
            `[..., slot + 1]`, bool.
        """
        fits = start < self.config.horizon
        return self._xp.concatenate([fits, self._xp.ones_like(fits[..., :1])], -1)
