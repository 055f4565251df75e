"""Holding wealth in symbols and cash: what is observed, what is feasible, what trading costs.

The same lines run in training (torch), evaluation and serving (NumPy). Weights are shares of
wealth; what is not in symbols is cash, or borrowed if it is negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from data.market import TRADING_DAYS
from utils.errors import ConfigError

OBSERVATION_LIMIT = 10.0
MOMENTUM_WINDOWS = (5, 21, 63)
VOLATILITY_WINDOW = 21
FEATURES_PER_SYMBOL = 5 + len(MOMENTUM_WINDOWS)
FEATURES_PER_AGENT = 2
MINIMUM_LOOKBACK = 2
RUIN = 0.01
"""An account that a step leaves with less than this share of its wealth is closed at it."""
_LEAST_VOLATILITY = 1e-6
PortfolioAction = Literal["weights", "rebalancing"]
"""Weights wanted, or how far to go from those held to equal ones; see `PortfolioDomain`."""


@dataclass(frozen=True, kw_only=True)
class PortfolioConfig:
    """One investor's task; long only and without borrowing unless said."""

    num_steps: int = 252
    num_agents: int = 1
    """Investors who each have their own portfolio of the same market and move no price."""
    cost_bps: float = 10.0
    """Paid on what is bought and on what is sold, in hundredths of a percent of its value."""
    cash_rate: float = 0.0
    """Return of cash per step; what is borrowed pays it too."""
    max_short: float = 0.0
    """Largest short position in one symbol, as a share of wealth."""
    max_leverage: float = 1.0
    """Largest sum of long and short positions, as a share of wealth."""
    risk_aversion: float = 1.0
    """1 is the logarithm of wealth; above it a penalty on the squared growth of each step."""
    action: PortfolioAction = "weights"

    def __post_init__(self) -> None:
        """Refuse empty tasks, and limits that contradict one another."""
        for name in ("num_steps", "num_agents"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        ranges = {
            "max_leverage": (1.0, 100.0),
            "max_short": (0.0, self.max_leverage),
            "cash_rate": (-0.5, 0.5),
            "risk_aversion": (1.0, 1e6),
        }
        for name, (lowest, highest) in ranges.items():
            if not lowest <= getattr(self, name) <= highest:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; give a number from {lowest} to {highest}"
                )
        if not 0 <= self.cost * self.max_leverage < 0.5:
            raise ConfigError(
                f"cost_bps is {self.cost_bps}; give a number from 0 to below 5000 / max_leverage"
            )

    @property
    def cost(self) -> float:
        """Cost of a trade as a share of its value."""
        return self.cost_bps / 1e4


@dataclass(frozen=True, kw_only=True)
class PortfolioView:
    """What an investor knows when it chooses; NumPy or torch."""

    returns: Any
    """`[..., lookback, symbol]`: changes of the logarithm of prices so far, newest last."""
    active: Any
    """`[..., symbol]`: 1 where the symbol is traded, else 0."""
    weights: Any
    """`[..., symbol]`: share of wealth in each symbol now, after prices have moved."""
    steps_left: Any
    """`[...]`: choices that are still to be made, this one included."""

    @property
    def cash(self) -> Any:
        """`[...]`: share of wealth in cash; negative if borrowed."""
        return 1.0 - self.weights.sum(-1)


class PortfolioDomain:
    """Observation, feasible weights and costs, on NumPy or torch arrays."""

    def __init__(self, config: PortfolioConfig, xp: Any = np) -> None:
        """Keep the task.

        Args:
            config: The task.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.config = config
        self._xp = xp

    def encode(self, view: PortfolioView) -> Any:
        """Observe the market and the portfolio.

        Args:
            view: What is known.

        Returns:
            `[..., 8 * symbol + 2]`, all in [-10, 10]. Per symbol: last return and momentum over 5,
            21 and 63 steps, in standard deviations; annual volatility over 21 steps and over the
            look-back; weight; whether it is traded. Then cash and share of the steps left.
        """
        xp, returns = self._xp, view.returns
        lookback = returns.shape[-2]
        spread = self._deviation(returns)
        scale = xp.clip(spread, _LEAST_VOLATILITY, None)
        features = [returns[..., -1, :] / scale]
        for window in MOMENTUM_WINDOWS:
            steps = min(window, lookback)
            features.append(returns[..., -steps:, :].sum(-2) / (scale * math.sqrt(steps)))
        recent = returns[..., -min(VOLATILITY_WINDOW, lookback) :, :]
        year = math.sqrt(TRADING_DAYS)
        features += [self._deviation(recent) * year, spread * year, view.weights, view.active]
        symbols = xp.stack(features, -1) * view.active[..., None]
        left = view.steps_left / self.config.num_steps
        flat = symbols.reshape((*symbols.shape[:-2], symbols.shape[-2] * symbols.shape[-1]))
        own = xp.stack([view.cash, left], -1)
        return xp.clip(xp.concatenate([flat, own], -1), -OBSERVATION_LIMIT, OBSERVATION_LIMIT)

    def project(self, action: Any, view: PortfolioView) -> Any:
        """Turn an action into weights that are allowed.

        Args:
            action: `[..., symbol]`, clipped to [0, 1]. Of "weights" 0 is `-max_short`, 1 is
                `max_leverage`. Of "rebalancing" it is the part of the way from the weight held to
                an equal one; the first step goes all the way.
            view: What is known; symbols that are not traded get nothing.

        Returns:
            `[..., symbol]`: scaled down in proportion if they exceed `max_leverage` together.
        """
        wanted, xp = self.wish(action, view), self._xp
        excess = xp.abs(wanted).sum(-1) / self.config.max_leverage
        return wanted / xp.clip(excess, 1.0, None)[..., None]

    def wish(self, action: Any, view: PortfolioView) -> Any:
        """Turn an action into the weights it asks for, allowed together or not.

        Args:
            action: As `project` takes it.
            view: What is known.

        Returns:
            `[..., symbol]`.
        """
        config = self.config
        chosen = self._xp.clip(action, 0.0, 1.0)
        if config.action == "rebalancing":
            return self._approach_equal_weights(chosen, view)
        width = config.max_leverage + config.max_short
        return (chosen * width - config.max_short) * view.active

    def compute_kept_share(self, held: Any, target: Any) -> Any:
        """Return the share of wealth that is left after trading, so that nothing is lost or made.

        Solves kept = 1 - c sum |kept * target - held| (Jiang, Xu and Liang, 2017, equation 14, with
        equal rates): convex and piecewise linear, so Newton's method ends at the exact root after
        at most one step per symbol. The result has the root's gradient.

        Args:
            held: `[..., symbol]`: weights before.
            target: `[..., symbol]`: weights after, as shares of what is left.

        Returns:
            `[...]`, in (0, 1].
        """
        xp, cost = self._xp, self.config.cost
        side = xp.sign(target - held)
        for _ in range(held.shape[-1]):
            kept = (1.0 + cost * (side * held).sum(-1)) / (1.0 + cost * (side * target).sum(-1))
            before, side = side, xp.sign(target * kept[..., None] - held)
            if not bool((before != side).any()):
                break
        return kept

    def _approach_equal_weights(self, part: Any, view: PortfolioView) -> Any:
        """Go part of the way from the weights held to equal ones; all of it in the first step."""
        xp = self._xp
        equal = view.active / xp.clip(view.active.sum(-1), 1.0, None)[..., None]
        is_first = (view.steps_left >= self.config.num_steps)[..., None]
        return view.weights + xp.where(is_first, 1.0, part) * (equal - view.weights)

    def _deviation(self, returns: Any) -> Any:
        """Standard deviation over the second last axis."""
        xp = self._xp
        centred = returns - returns.mean(-2)[..., None, :]
        return xp.sqrt((centred * centred).mean(-2))
