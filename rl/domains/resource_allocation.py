"""Services that share capacities: what is observed and what is feasible.

The same lines run in training (torch), evaluation and serving (NumPy).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl.domains.small_arrays import SmallArrays
from utils.errors import ConfigError

SLACK_STEPS = (0, 1, 2, 4)
"""Waiting work is observed as the sums that are lost within so many further steps, and in all."""
RECENT_STEPS = 3
OBSERVATION_LIMIT = 10.0
COVERAGE_SIZE = 4
"""Numbers per service: coverage of waiting work, coverage of the forecast, bid, forecast blend."""
LARGEST_HEADROOM = 2.0
"""Full coverage of the forecast reserves so many times of it."""
LARGEST_BID = 4.0
"""A bid moves the value of a service in the queue by at most this factor, up or down."""
URGENT_BID = 8.0
"""Work that is lost unless served now counts so many times its value in the queue."""
BID_SOFTNESS = 0.1
"""Logarithm of values at which one of two goes before the other by 73 %."""
TINY = 1e-6


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """One service that asks for capacity."""

    name: str
    priority: float
    """Value of one unit of served work."""
    patience: int
    """Steps a unit of work may take, its arrival step included, before it is lost."""
    usage: tuple[float, ...]
    """Units of each resource that one unit of work needs while it is served."""

    def __post_init__(self) -> None:
        """Refuse services that cannot be served or never wait."""
        if self.patience < 1 or self.priority < 0 or not self.usage or min(self.usage) <= 0:
            raise ConfigError(f"patience >= 1, priority >= 0 and usage > 0 are needed: {self}")


@dataclass(frozen=True, kw_only=True)
class AllocationConfig:
    """The shared world: services, resources and their nominal capacities and prices."""

    services: tuple[ServiceSpec, ...]
    resources: tuple[str, ...]
    capacity: tuple[float, ...]
    """Units of each resource when nothing fails."""
    price: tuple[float, ...]
    """Cost of one unit of each resource held idle for one step."""
    max_steps: int = 72
    lookback: int = 12

    def __post_init__(self) -> None:
        """Check that sizes fit."""
        sizes = {len(self.resources), len(self.capacity), len(self.price)}
        if len(sizes) != 1 or any(len(s.usage) not in sizes for s in self.services):
            raise ConfigError("resources, capacity, price and every usage need one length")
        if not self.services or min(self.capacity) <= 0 or min(self.price) < 0:
            raise ConfigError("at least one service, capacities > 0 and prices >= 0 are needed")
        if self.max_steps < 1 or self.lookback < RECENT_STEPS:
            raise ConfigError(f"max_steps >= 1 and lookback >= {RECENT_STEPS} are needed")

    @property
    def max_patience(self) -> int:
        """The longest patience, in steps."""
        return max(service.patience for service in self.services)


@dataclass(frozen=True, kw_only=True)
class AllocationView:
    """What a planner knows when it decides; any leading batch axes, NumPy or torch."""

    backlog: Any
    """`[..., service, slack]`: waiting work by the further steps it can wait; 0 expires now."""
    recent_demand: Any
    """`[..., service, lookback]`: work that arrived in the last steps, newest last."""
    allocation: Any
    """`[..., service, resource]`: what was held in the last step."""
    capacity: Any
    """`[..., resource]`: what is there to be shared now."""
    priority: Any
    """`[..., service]`: value of one unit of served work."""
    price: Any
    """`[..., resource]`: cost of one idle unit."""
    time_of_day: Any
    """`[...]`, in [0, 1)."""


class AllocationDomain:
    """Observation and feasibility of one world, on NumPy or torch arrays."""

    def __init__(
        self,
        config: AllocationConfig,
        xp: Any = np,
        as_array: Callable[[Any], Any] = lambda values: np.asarray(values, np.float32),
    ) -> None:
        """Prepare the constants.

        Args:
            config: The world.
            xp: Array namespace, `numpy` or `torch`.
            as_array: Turns nested lists into a float32 array of that namespace.
        """
        services = config.services
        self.config = config
        self.num_services = len(services)
        self.num_resources = len(config.resources)
        self.num_slacks = config.max_patience
        self._xp = SmallArrays() if xp is np else xp
        usage = np.asarray([service.usage for service in services])
        nominal = np.asarray(config.capacity)
        share = usage / nominal
        dominant = share.max(axis=1, keepdims=True)
        patience = np.asarray([service.patience for service in services])
        bins = [np.arange(self.num_slacks) <= step for step in SLACK_STEPS]
        bins.append(np.ones(self.num_slacks, bool))
        newest = [
            np.arange(config.lookback) == config.lookback - 1 - k for k in range(RECENT_STEPS)
        ]
        halves = [np.arange(config.lookback) >= config.lookback // 2, np.ones(config.lookback)]
        means = [np.asarray(h) / np.sum(h) for h in halves]
        self.usage = as_array(usage)
        """`[service, resource]`: units per unit of work."""
        self.arrival_slot = as_array(np.arange(self.num_slacks) == patience[:, None] - 1)
        """`[service, slack]`: one where new work enters the backlog."""
        self.nominal = as_array(nominal)
        self._dominant = as_array(dominant)
        self._dominant_of_slacks = as_array(np.tile(dominant, len(bins)))
        self._dominant_of_demands = as_array(np.tile(dominant, len(newest) + len(means)))
        self._slack_sums = as_array(np.stack(bins, axis=1))
        self._demand_sums = as_array(np.stack([*newest, *means], axis=1))
        self._static = as_array(
            np.concatenate([patience[:, None] / self.num_slacks, share / dominant], axis=1)
        )
        self._impatient = as_array(patience == 1)
        self._usage_twice = as_array(np.tile(usage, (2, 1)))
        self._others = as_array(1.0 - np.eye(2 * len(services)))
        scale = max(service.priority for service in services) or 1.0
        self._priority_scale = scale
        self._price_scale = as_array([price or 1.0 for price in config.price])

    @property
    def service_features(self) -> int:
        """Numbers observed per service."""
        return len(SLACK_STEPS) + 1 + RECENT_STEPS + 2 + 2 * self.num_resources + 2

    @property
    def shared_features(self) -> int:
        """Numbers observed once: load, capacities, prices, time of day."""
        return 4 * self.num_resources + 2

    @property
    def observation_size(self) -> int:
        """Size of the planner's observation."""
        return self.num_services * self.service_features + self.shared_features

    def encode_services(self, view: AllocationView) -> Any:
        """Observe each service, in shares of the nominal capacity of its dominant resource.

        Args:
            view: What is known.

        Returns:
            `[..., service, feature]`: work lost within 0, 1, 2, 4 further steps and all waiting
            work, the last three demands, means of half and all of the look-back, allocation,
            priority, patience, resource mix; all in [0, 10].
        """
        parts = self.describe_services(view)
        return self._xp.clip(self._xp.concatenate(parts, axis=-1), 0.0, OBSERVATION_LIMIT)

    def describe_services(self, view: AllocationView) -> list[Any]:
        """Return what `encode_services` joins and clips, `[..., service, some features]` each.

        Args:
            view: What is known.
        """
        leading = view.backlog.shape[:-1]
        return [
            (view.backlog @ self._slack_sums) * self._dominant_of_slacks,
            (view.recent_demand @ self._demand_sums) * self._dominant_of_demands,
            view.allocation / self.nominal,
            view.priority[..., None] / self._priority_scale,
            self._xp.broadcast_to(self._static, (*leading, self._static.shape[-1])),
        ]

    def encode_shared(self, view: AllocationView) -> Any:
        """Observe what all services have in common.

        Args:
            view: What is known.

        Returns:
            `[..., feature]`: load (all waiting work and recent demand) and expiring work over the
            capacities, capacities and prices over their nominal values, time of day as a point
            on a circle moved into [0, 1]; all in [0, 10].
        """
        xp = self._xp
        angle = view.time_of_day[..., None] * (2 * np.pi)
        need = view.backlog.sum(-1) + xp.mean(view.recent_demand[..., -RECENT_STEPS:], -1)
        capacity = view.capacity + TINY
        parts = [
            (need @ self.usage) / capacity,
            (view.backlog[..., 0] @ self.usage) / capacity,
            view.capacity / self.nominal,
            view.price / self._price_scale,
            0.5 + 0.5 * xp.sin(angle),
            0.5 + 0.5 * xp.cos(angle),
        ]
        return self._xp.clip(xp.concatenate(parts, axis=-1), 0.0, OBSERVATION_LIMIT)

    def encode(self, view: AllocationView) -> Any:
        """Observe everything, for a planner.

        Args:
            view: What is known.

        Returns:
            `[..., observation]`: all services one after another, then what they share.
        """
        services = self.encode_services(view)
        flat = services.reshape((*services.shape[:-2], -1))
        return self._xp.concatenate([flat, self.encode_shared(view)], axis=-1)

    def cover(self, action: Any, view: AllocationView) -> Any:
        """Turn coverage and bids per service into the shares of the capacities they take.

        Coverage says how much of a service's need to reserve for, so one number means the same at
        any load. Where a resource is short, needs are filled in order of their bids: value per
        dominant share, times `LARGEST_BID` to the power of the bid in [-1, 1], times `URGENT_BID`
        for work that is lost unless served now. The order is smooth, so that it has a gradient.

        Args:
            action: `[..., service * 4]`, clipped to [0, 1]: per service the share of the waiting
                work that may still wait, half the multiple of the forecast demand, the bid, and
                how far the forecast goes from the mean of three steps to that of the look-back.
            view: What is known.

        Returns:
            `[..., service * resource]`: shares of each capacity.
        """
        xp = self._xp
        numbers = self._xp.clip(action, 0.0, 1.0)
        numbers = numbers.reshape((*numbers.shape[:-1], self.num_services, COVERAGE_SIZE))
        value = xp.log(view.priority / self._dominant[:, 0] + TINY)
        value = value + (2.0 * numbers[..., 2] - 1.0) * math.log(LARGEST_BID)
        bid = xp.concatenate([value + math.log(URGENT_BID), value], axis=-1)
        granted = self._fill(self._needs(numbers, view), bid, view.capacity)
        share = granted / (view.capacity[..., None, :] + TINY)
        return share.reshape((*share.shape[:-2], -1))

    def _needs(self, numbers: Any, view: AllocationView) -> Any:
        """Return the work to reserve for, `[..., 2 * service]`: urgent needs, then the others."""
        newest = self._xp.mean(view.recent_demand[..., -RECENT_STEPS:], -1)
        forecast = newest + numbers[..., 3] * (self._xp.mean(view.recent_demand, -1) - newest)
        forecast = LARGEST_HEADROOM * numbers[..., 1] * forecast
        expiring = view.backlog[..., 0]
        patient = numbers[..., 0] * (view.backlog.sum(-1) - expiring)
        urgent = expiring + self._impatient * forecast
        rest = patient + (1.0 - self._impatient) * forecast
        return self._xp.concatenate([urgent, rest], axis=-1)

    def _fill(self, work: Any, bid: Any, capacity: Any) -> Any:
        """Grant needs in order of their bids, `[..., service, resource]`; the order is soft."""
        xp = self._xp
        lead = self._xp.clip((bid[..., None, :] - bid[..., :, None]) / BID_SOFTNESS, -30.0, 30.0)
        before = self._others / (1.0 + xp.exp(-lead))
        wanted = work[..., None] * self._usage_twice
        room = self._xp.clip(capacity[..., None, :] - before @ wanted, 0.0, None)
        fit = self._xp.clip(room / (wanted + TINY), 0.0, 1.0)
        least = fit[..., 0]
        for resource in range(1, self.num_resources):
            least = xp.minimum(least, fit[..., resource])
        granted = wanted * least[..., None]
        return granted[..., : self.num_services, :] + granted[..., self.num_services :, :]

    def project(self, action: Any, capacity: Any) -> Any:
        """Turn a planner's action into the allocation that is held.

        Args:
            action: `[..., service * resource]`: share of each capacity asked for; clipped to
                [0, 1].
            capacity: `[..., resource]`: what is there.

        Returns:
            `[..., service, resource]`; where the shares of a resource sum to more than one they
            are scaled down in proportion.
        """
        share = self._xp.clip(action, 0.0, 1.0)
        share = share.reshape((*share.shape[:-1], self.num_services, self.num_resources))
        total = share.sum(-2)[..., None, :]
        return share / self._xp.clip(total, 1.0, float(self.num_services)) * capacity[..., None, :]
