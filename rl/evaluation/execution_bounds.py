"""Closed forms of selling one order: cost and variance of any schedule, and the best one.

Almgren and Chriss, Optimal execution of portfolio transactions, 2000. Under a price that is a
martingale with independent moves no policy, adaptive ones included, has a lower expected sum of
cost and risk penalty than the optimal schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rl.domains.execution import ExecutionConfig
from rl.domains.execution_experts import compute_urgency, hold_optimally
from utils.errors import ConfigError

Floats = NDArray[np.float64]
SHARE_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class CostMoments:
    """What a schedule costs, in currency."""

    expected_cost: Floats
    """`[...]`: mean of the implementation shortfall."""
    variance: Floats
    """`[...]`: of the implementation shortfall."""

    @property
    def deviation(self) -> Floats:
        """Standard deviation of the implementation shortfall."""
        return np.asarray(np.sqrt(self.variance))

    def disutility(self, risk_aversion: float) -> Floats:
        """Return expected cost plus risk aversion times variance: what is made small.

        Args:
            risk_aversion: Weight of the variance.
        """
        return np.asarray(self.expected_cost + risk_aversion * self.variance)


@dataclass(frozen=True, kw_only=True)
class ExecutionBound:
    """The best schedule of an order and what it costs; nobody can expect a lower disutility."""

    urgency: float
    """kappa, per day."""
    holdings: Floats
    """`[time]`: shares held after each slice."""
    expected_cost: float
    deviation: float
    disutility: float


def compute_moments(holdings: Floats, config: ExecutionConfig) -> CostMoments:
    """Compute mean and variance of the cost of schedules fixed beforehand.

    E = eps X + gamma X^2 / 2 + (eta~ / tau) sum_k n_k^2 and V = sigma^2 tau sum_k x_k^2, with
    slices n_k = x_{k-1} - x_k and holdings x_0 = X, x_N = 0.

    Args:
        holdings: `[..., time]`: shares held after each slice.
        config: The order and its market.

    Raises:
        ConfigError: A schedule buys, sells more than the order, or leaves shares unsold.
    """
    first = np.full((*holdings.shape[:-1], 1), config.shares)
    slices = -np.diff(np.concatenate([first, holdings], axis=-1))
    room = SHARE_TOLERANCE * config.shares
    if holdings.shape[-1] != config.num_steps or np.abs(holdings[..., -1]).max() > room:
        raise ConfigError(f"give holdings after each of {config.num_steps} slices, the last 0")
    if slices.min() < -room:
        raise ConfigError("a schedule of holdings must not rise: this order only sells")
    fixed = config.half_spread * config.shares
    fixed += 0.5 * config.permanent_impact * config.shares**2
    impact = config.net_impact / config.step_days * np.square(slices).sum(-1)
    return CostMoments(
        expected_cost=np.asarray(fixed + impact),
        variance=np.asarray(config.step_deviation**2 * np.square(holdings).sum(-1)),
    )


def compute_execution_bound(config: ExecutionConfig) -> ExecutionBound:
    """Compute the best schedule, x_k = X sinh(kappa (T - k tau)) / sinh(kappa T).

    Args:
        config: The order and its market.
    """
    left = np.arange(config.num_steps, 0, -1)
    kept = np.cumprod(hold_optimally(left, config))
    holdings = np.asarray(config.shares * kept, np.float64)
    moments = compute_moments(holdings, config)
    return ExecutionBound(
        urgency=compute_urgency(config),
        holdings=holdings,
        expected_cost=float(moments.expected_cost),
        deviation=float(moments.deviation),
        disutility=float(moments.disutility(config.risk_aversion)),
    )


def compute_efficient_frontier(
    config: ExecutionConfig, risk_aversions: Sequence[float]
) -> tuple[ExecutionBound, ...]:
    """Compute the best schedule for each risk aversion: no other has less cost at equal risk.

    Args:
        config: The order and its market; its own risk aversion is not used.
        risk_aversions: Points of the frontier.
    """
    return tuple(
        compute_execution_bound(replace(config, risk_aversion=value)) for value in risk_aversions
    )
