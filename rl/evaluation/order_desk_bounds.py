"""The least that selling an order can cost in hindsight, with a certificate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.desk_orders import DeskScenarios
from rl.domains.order_desks import OrderDesksConfig
from utils.errors import QuartermasterError

Floats = NDArray[np.float64]
TOLERANCE = 1e-3
"""Basis points that a bound may lie above what is really reachable."""
_MAX_ITERATIONS = 5_000


class DeskBoundError(QuartermasterError, ArithmeticError):
    """The search for the best schedule did not come close enough."""


def compute_desk_bound(scenarios: DeskScenarios, config: OrderDesksConfig) -> Floats:
    """Compute the KPI that nobody exceeds who knows all prices: a convex quadratic programme.

    The cost of slices n >= 0 that sum to 1 and leave x_k is half the spread, N h sum n_k^2 +
    g (1 - sum n_k^2) / 2 - sum x_k m_k + l sum (x_k m_k)^2, with impact h, permanent impact g,
    moves m and risk aversion l. Accelerated projected gradients approach its minimum; what is
    returned is cost less the duality gap, which no schedule is below.

    Args:
        scenarios: The episodes.
        config: The orders.

    Returns:
        `[episode]`: minus the cost and risk charge in basis points, mean over desks.

    Raises:
        DeskBoundError: The gap stays above `TOLERANCE`.
    """
    shock = np.moveaxis(scenarios.shock.astype(np.float64), 1, 2)
    programme = _Programme(scenarios, config, shock * scenarios.volatility[..., None])
    now = np.full(shock.shape, 1.0 / config.num_steps)
    ahead, momentum = now, 1.0
    for iteration in range(_MAX_ITERATIONS):
        following = project_to_simplex(ahead - programme.rate * programme.slope(ahead))
        swing = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        ahead = following + (momentum - 1.0) / swing * (following - now)
        now, momentum = following, swing
        if iteration % 50 == 49:
            slope = programme.slope(now)
            gap = (slope * now).sum(-1) - slope.min(-1)
            if gap.max() <= TOLERANCE:
                return -np.asarray((programme.cost(now) - gap).mean(-1))
            momentum = 1.0
            ahead = now
    raise DeskBoundError(f"a gap of {gap.max():.3g} basis points after {_MAX_ITERATIONS} steps")


class _Programme:
    """Costs of schedules `[episode, desk, time]`."""

    def __init__(self, scenarios: DeskScenarios, config: OrderDesksConfig, move: Floats) -> None:
        impact = scenarios.impact.astype(np.float64) * scenarios.impact_scale
        fixed = config.half_spread + 0.5 * config.permanent_share * impact
        curvature = impact * (config.num_steps - 0.5 * config.permanent_share)
        self._fixed, self._curvature = fixed, curvature[..., None]
        self._move = move
        self._risk = scenarios.risk_aversion[..., None] * np.square(move)
        later = np.cumsum(self._risk, -1).sum(-1)
        self.rate = 0.5 / (self._curvature + later[..., None])

    def cost(self, sold: Floats) -> Floats:
        held = 1.0 - sold.cumsum(-1)
        paid = (self._curvature * np.square(sold) - held * self._move).sum(-1)
        return np.asarray(self._fixed + paid + (self._risk * np.square(held)).sum(-1))

    def slope(self, sold: Floats) -> Floats:
        held = 1.0 - sold.cumsum(-1)
        by_holding = 2.0 * self._risk * held - self._move
        later = by_holding[..., ::-1].cumsum(-1)[..., ::-1]
        return np.asarray(2.0 * self._curvature * sold - later)


def project_to_simplex(values: Floats) -> Floats:
    """Return the nearest shares that are not negative and sum to 1.

    Args:
        values: `[..., share]`.
    """
    falling = -np.sort(-values, axis=-1)
    excess = falling.cumsum(-1) - 1.0
    rank = np.arange(1, values.shape[-1] + 1)
    kept = (falling * rank > excess).sum(-1, keepdims=True)
    level = np.take_along_axis(excess, kept - 1, -1) / kept
    return np.asarray(np.maximum(values - level, 0.0))
