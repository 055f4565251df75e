"""What a step of shared services is counted by, beside work and money: energy, carbon, fairness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rl.domains.resource_allocation import COVERAGE_SIZE
from rl.domains.service_market import EnergyConfig, read_carbon_intensity

Figures = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class ServiceStep:
    """What one step did for every service."""

    pending: Tensor
    """`[env, service]`: work that could be served."""
    work: Tensor
    """`[env, service]`: work served."""
    used: Tensor
    """`[env, service, resource]`: units that served."""
    idle: Tensor
    """`[env, service, resource]`: units held for nothing."""
    exists: Tensor
    """`[env, service]`: one where the service exists, else zero."""


class EnergyMeter:
    """Energy and carbon of the units held; both are only counted where their price is zero."""

    def __init__(self, config: EnergyConfig, device: torch.device) -> None:
        """Keep the numbers.

        Args:
            config: Energy of a unit, carbon of a kWh, prices of both.
            device: Where the copies live.
        """
        self._config, self._device = config, device
        self._busy = torch.tensor(config.busy_kwh, dtype=torch.float32, device=device)
        self._idle = torch.tensor(config.idle_kwh, dtype=torch.float32, device=device)
        self._intensity: Tensor

    def begin(self, time_of_day: Tensor) -> None:
        """Read the carbon intensity of new episodes.

        Args:
            time_of_day: `[env, time]`, in [0, 1).
        """
        curve = read_carbon_intensity(time_of_day.cpu().numpy(), self._config)
        self._intensity = torch.as_tensor(curve, device=self._device)

    def read(self, done: ServiceStep, t: int) -> tuple[Figures, Figures]:
        """Return the metrics of a step, and the reward terms that have a price.

        Args:
            done: The step.
            t: Its number.
        """
        config = self._config
        energy = done.used @ self._busy + done.idle @ self._idle
        carbon = energy * self._intensity[:, t, None]
        terms = {}
        if config.energy_price > 0:
            terms["energy_cost"] = -config.energy_price * energy
        if config.carbon_price > 0:
            terms["carbon_cost"] = -config.carbon_price * carbon
        return {"energy_kwh": energy.sum(-1), "carbon_kg": carbon.sum(-1)}, terms


def judge_sharing(
    done: ServiceStep, *, fairness_weight: float, efficiency_weight: float
) -> tuple[Figures, Figures]:
    """Return how evenly and how usefully was shared, and the reward terms that have a weight.

    Args:
        done: The step.
        fairness_weight: Of the Jain index of the served parts of all pending work.
        efficiency_weight: Of the part of the units held that served.
    """
    part = done.exists / done.exists.sum(-1, keepdim=True)
    wanting = (done.pending > 0).to(done.work.dtype)
    jain = compute_jain(done.work / done.pending.clamp(min=1e-9), wanting)
    terms = {}
    if fairness_weight > 0:
        terms["fairness"] = fairness_weight * jain[:, None] * part
    if efficiency_weight > 0:
        used = done.used.sum((-1, -2))
        useful = used / (used + done.idle.sum((-1, -2))).clamp(min=1e-9)
        terms["efficiency"] = efficiency_weight * useful[:, None] * part
    return {"jain_index": jain}, terms


def compute_jain(share: Tensor, counts: Tensor) -> Tensor:
    """Compute how even shares are, (sum x)^2 / (n sum x^2); one where nobody has or wants any.

    Args:
        share: `[env, service]`.
        counts: `[env, service]`: one for who is counted, else zero.
    """
    held = share * counts
    squares = counts.sum(-1) * held.square().sum(-1)
    even = held.sum(-1).square() / squares.clamp(min=1e-12)
    return torch.where(squares > 1e-12, even, 1.0)


def mask_actions(rows: Mapping[str, Tensor], *, coverage: bool, bids: bool) -> Tensor:
    """Return which numbers of an action act, `[env, service, act]`.

    Args:
        rows: Scenarios with `service_active` and `resource_active`.
        coverage: Whether actions are coverage, or shares.
        bids: Whether bids follow.
    """
    services = rows["service_active"] > 0
    each = services[..., None] & (rows["resource_active"] > 0)[:, None]
    asked = services[..., None].expand(-1, -1, COVERAGE_SIZE) if coverage else each
    return torch.cat([asked, each], dim=-1) if bids else asked
