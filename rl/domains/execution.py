"""Selling one order in steps: what is observed and what is feasible.

The same lines run in training (torch), evaluation and serving (NumPy). Shares are fractions of the
order and prices are differences from the arrival price, so that float32 loses less than a
millionth of what is gained or paid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import ConfigError

OBSERVATION_LIMIT = 10.0
OBSERVATION_SIZE = 4


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """One order, its market and the trader's risk aversion (Almgren and Chriss, 2000)."""

    shares: float = 1e6
    """X: shares to sell."""
    horizon_days: float = 5.0
    """T: by when."""
    num_steps: int = 5
    """N: slices of equal length."""
    volatility: float = 0.95
    """sigma: currency per share and square root of a day."""
    half_spread: float = 0.0625
    """epsilon: currency per share sold."""
    permanent_impact: float = 2.5e-7
    """gamma: fall of the price per share sold, for all that is sold later."""
    temporary_impact: float = 2.5e-6
    """eta: discount on a slice per share sold a day."""
    risk_aversion: float = 0.0
    """lambda: currency paid to be rid of one unit of variance of the cost."""
    arrival_price: float = 50.0

    def __post_init__(self) -> None:
        """Refuse orders without a size, and impacts without an optimum."""
        sizes = (self.shares, self.horizon_days, self.volatility, self.arrival_price)
        if not all(math.isfinite(value) and value > 0 for value in sizes) or self.num_steps < 1:
            raise ConfigError(
                "shares, horizon_days, volatility and arrival_price must be finite and above 0, "
                f"num_steps at least 1: {self}"
            )
        prices = (self.half_spread, self.permanent_impact, self.risk_aversion)
        if not all(math.isfinite(value) and value >= 0 for value in prices):
            raise ConfigError(
                "half_spread, permanent_impact and risk_aversion must be finite and not negative: "
                f"{self}"
            )
        if not math.isfinite(self.temporary_impact) or self.net_impact <= 0:
            raise ConfigError(
                "temporary_impact must exceed permanent_impact * step_days / 2, or splitting an "
                f"order never pays; raise it or take more steps: {self}"
            )

    @property
    def step_days(self) -> float:
        """Length of a step (tau)."""
        return self.horizon_days / self.num_steps

    @property
    def net_impact(self) -> float:
        """Temporary impact less what the permanent one saves within a slice (eta tilde)."""
        return self.temporary_impact - 0.5 * self.permanent_impact * self.step_days

    @property
    def step_deviation(self) -> float:
        """Standard deviation of the price over one step."""
        return self.volatility * math.sqrt(self.step_days)


def almgren_chriss(risk_aversion: float = 1e-6) -> ExecutionConfig:
    """Return the example of Almgren and Chriss: a million shares in five days.

    Args:
        risk_aversion: Theirs are 1e-6 and 2e-6; 0 asks for the lowest expected cost.
    """
    return ExecutionConfig(risk_aversion=risk_aversion)


@dataclass(frozen=True, kw_only=True)
class ExecutionView:
    """What the trader knows when it decides; any leading batch axes, NumPy or torch."""

    remaining: Any
    """`[...]`: share of the order that is not sold yet, in [0, 1]."""
    steps_left: Any
    """`[...]`: slices that can still be sold, this one included."""
    price_change: Any
    """`[...]`: price less arrival price, own permanent impact included."""
    last_move: Any
    """`[...]`: change of the price over the last step."""


class ExecutionDomain:
    """Observation and feasibility of one order, on NumPy or torch arrays."""

    def __init__(self, config: ExecutionConfig, xp: Any = np) -> None:
        """Keep the order.

        Args:
            config: The order and its market.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.config = config
        self._xp = xp
        self._horizon_deviation = config.volatility * math.sqrt(config.horizon_days)

    def encode(self, view: ExecutionView) -> Any:
        """Observe the order and the price.

        Args:
            view: What is known.

        Returns:
            `[..., 4]`: remaining share, share of the steps left, price change in standard
            deviations of the horizon, last move in those of a step; all in [-10, 10].
        """
        config, xp = self.config, self._xp
        parts = [
            view.remaining,
            view.steps_left / config.num_steps,
            view.price_change / self._horizon_deviation,
            view.last_move / config.step_deviation,
        ]
        return xp.clip(xp.stack(parts, -1), -OBSERVATION_LIMIT, OBSERVATION_LIMIT)

    def project(self, action: Any, view: ExecutionView) -> Any:
        """Turn an action into the slice that is sold.

        Args:
            action: `[..., 1]`: share of what remains; clipped to [0, 1]. In the last step
                everything that remains is sold, whatever the action.
            view: What is known.

        Returns:
            `[...]`: share of the order.
        """
        xp = self._xp
        chosen = xp.clip(action[..., 0], 0.0, 1.0)
        return view.remaining * xp.where(view.steps_left > 1, chosen, xp.ones_like(chosen))
