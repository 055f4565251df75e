"""How experts sell one order, from the same view as the agent: TWAP, Almgren-Chriss, at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.domains.execution import ExecutionConfig, ExecutionView

Array = NDArray[np.float32]
Expert = Callable[[ExecutionView, ExecutionConfig], Array]


def compute_urgency(config: ExecutionConfig) -> float:
    """Compute how fast the optimal holdings fall (kappa, per day).

    cosh(kappa tau) = 1 + lambda sigma^2 tau^2 / (2 eta~), with eta~ = eta - gamma tau / 2.

    Args:
        config: The order and its market.
    """
    tau = config.step_days
    tilt = config.risk_aversion * config.volatility**2 / config.net_impact
    return 2.0 * math.asinh(0.5 * math.sqrt(tilt) * tau) / tau


def hold_optimally(steps_left: Any, config: ExecutionConfig) -> NDArray[np.float64]:
    """Return the part of the holdings that is best kept over the next step.

    sinh(kappa tau (m - 1)) / sinh(kappa tau m) with m steps left, written so that no number is
    large; (m - 1) / m without risk aversion.

    Args:
        steps_left: `[...]`: slices that can still be sold, this one included; at least 1.
        config: The order and its market.
    """
    left = np.asarray(steps_left, np.float64)
    rate = compute_urgency(config) * config.step_days
    if rate * config.num_steps < 1e-8:
        return np.asarray((left - 1.0) / left)
    after, before = np.expm1(-2.0 * rate * (left - 1.0)), np.expm1(-2.0 * rate * left)
    return np.asarray(np.exp(-rate) * after / before)


def sell_evenly(view: ExecutionView, config: ExecutionConfig) -> Array:
    """Sell equal slices (TWAP): the lowest expected cost.

    Args:
        view: What is known, NumPy.
        config: Not used.
    """
    del config
    return _as_action(1.0 / np.maximum(view.steps_left, 1.0))


def sell_optimally(view: ExecutionView, config: ExecutionConfig) -> Array:
    """Sell along the Almgren-Chriss curve: the lowest cost plus risk aversion times variance.

    Args:
        view: What is known, NumPy.
        config: The order and its market.
    """
    return _as_action(1.0 - hold_optimally(np.maximum(view.steps_left, 1.0), config))


def sell_at_once(view: ExecutionView, config: ExecutionConfig) -> Array:
    """Sell everything in the first step: no risk, the highest cost.

    Args:
        view: What is known, NumPy.
        config: Not used.
    """
    del config
    return _as_action(np.ones_like(view.steps_left))


EXPERTS: dict[str, Expert] = {
    "twap": sell_evenly,
    "almgren_chriss": sell_optimally,
    "immediate": sell_at_once,
}


def _as_action(share: Any) -> Array:
    return np.asarray(share, np.float32)[..., None]
