"""Selling several orders, one a desk: what a desk observes, what it may do, what experts would do.

The same lines run in training (torch), evaluation and serving (NumPy). Everything is in basis
points of an order's value at its arrival price. Impact after Almgren and Chriss (2000); risk is
what prices really did to what was held, so that volatility need not be known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError

OBSERVATION_LIMIT = 10.0
OBSERVATION_SIZE = 8
MOST_DESKS = 1_024
RECENT = 10
"""Moves that the observed recent volatility is taken from."""
_LEAST_MOVE = 1e-3


@dataclass(frozen=True, kw_only=True)
class OrderDesksConfig:
    """Several orders that are sold in as many steps."""

    num_desks: int = 4
    num_steps: int = 100
    half_spread: float = 5.0
    """Basis points paid on all that is sold."""
    permanent_share: float = 0.5
    """Lasting fall of the price by the whole order, over the temporary impact of selling evenly."""

    def __post_init__(self) -> None:
        """Refuse orders that cannot be sold, and impacts without an optimum.

        Raises:
            ConfigError: A field is out of range.
        """
        if not 1 <= self.num_desks <= MOST_DESKS or self.num_steps < 1:
            raise ConfigError(f"num_desks must lie in 1 .. {MOST_DESKS}, num_steps above 0: {self}")
        if not (0 <= self.half_spread < math.inf and 0 <= self.permanent_share < 2):
            raise ConfigError(
                "half_spread must be finite and not negative, permanent_share from 0 to below 2, "
                f"or splitting an order may not pay: {self}"
            )


@dataclass(frozen=True, kw_only=True)
class DeskView:
    """What desks know when they decide; any leading batch axes, NumPy or torch."""

    remaining: Any
    """`[...]`: share of the order that is not sold yet, in [0, 1]."""
    steps_left: Any
    """`[...]`: slices that can still be sold, this one included."""
    price_change: Any
    """`[...]`: price less arrival price in basis points, own permanent impact included."""
    moves: Any
    """`[..., lookback]`: moves of the share by itself, in long-run deviations, newest last."""
    volatility: Any
    """`[...]`: long-run deviation of a step's move, in basis points."""
    impact: Any
    """`[...]`: expected temporary impact of selling evenly, in basis points."""
    risk_aversion: Any
    """`[...]`: basis points for one squared basis point of risk."""


class OrderDesksDomain:
    """Observation and feasibility of each desk's order, on NumPy or torch arrays."""

    def __init__(self, config: OrderDesksConfig, xp: Any = np) -> None:
        """Keep the orders' common terms.

        Args:
            config: Them.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.config = config
        self._xp = xp

    def encode(self, view: DeskView, market: tuple[Any, Any, Any, Any] | None = None) -> Any:
        """Observe an order and its share.

        Args:
            view: What is known.
            market: From `read_market`, for callers who ask again of one moment; read if absent.

        Returns:
            `[..., 8]`, in [-10, 10]: remaining share, share of the steps left, the first less the
            second, logarithm of urgency (Almgren and Chriss's kappa T, nearly), logarithms of the
            volatility of the last 10 moves and of all known ones over the long-run one, price
            change in deviations of the horizon, last move in those of a step.
        """
        xp, steps = self._xp, self.config.num_steps
        urgency, recent, known, last = market or self.read_market(view)
        left = view.steps_left / steps
        parts = [
            view.remaining,
            left,
            view.remaining - left,
            urgency,
            recent,
            known,
            view.price_change / (view.volatility * math.sqrt(steps)),
            last,
        ]
        return xp.clip(xp.stack(parts, -1), -OBSERVATION_LIMIT, OBSERVATION_LIMIT)

    def read_market(self, view: DeskView) -> tuple[Any, Any, Any, Any]:
        """Return what is observed of the share, whatever is sold of it.

        Args:
            view: What is known.

        Returns:
            Urgency, volatility of the last and of all moves, last move; see `encode`.
        """
        xp = self._xp
        horizon = view.volatility * math.sqrt(self.config.num_steps)
        squared = xp.square(view.moves)
        return (
            0.5 * xp.log(view.risk_aversion * xp.square(horizon) / view.impact),
            0.5 * xp.log(squared[..., -RECENT:].mean(-1) + _LEAST_MOVE),
            0.5 * xp.log(squared.mean(-1) + _LEAST_MOVE),
            view.moves[..., -1],
        )

    def project(self, action: Any, view: DeskView) -> Any:
        """Turn actions into the slices that are sold.

        Args:
            action: `[..., 1]`, clipped to [0, 1]. With N steps, N times its square is the pace: 1
                sells as evenly as the rest allows, N sells all at once. In the last step
                everything that remains is sold.
            view: What is known.

        Returns:
            `[...]`: share of each order.
        """
        xp = self._xp
        pace = self.config.num_steps * xp.square(xp.clip(action[..., 0], 0.0, 1.0))
        chosen = xp.clip(pace / xp.clip(view.steps_left, 1.0, None), 0.0, 1.0)
        return view.remaining * xp.where(view.steps_left > 1, chosen, xp.ones_like(chosen))


Array = NDArray[np.float32]
Expert = Callable[[DeskView, OrderDesksConfig], Array]


def sell_evenly(view: DeskView, config: OrderDesksConfig) -> Array:
    """Sell equal slices (TWAP): the lowest expected cost, risk apart.

    Args:
        view: What is known, NumPy.
        config: The orders.
    """
    return _as_action(1.0 / np.maximum(view.steps_left, 1.0), view, config)


def sell_optimally(view: DeskView, config: OrderDesksConfig) -> Array:
    """Sell along the Almgren-Chriss curve: the best if volatility is what it is in the long run.

    Args:
        view: What is known, NumPy.
        config: The orders.
    """
    left = np.maximum(np.asarray(view.steps_left, np.float64), 1.0)
    impact = np.asarray(view.impact, np.float64)
    net_impact = impact * (config.num_steps - 0.5 * config.permanent_share)
    tilt = view.risk_aversion * np.square(np.asarray(view.volatility, np.float64)) / net_impact
    rate = np.maximum(2.0 * np.arcsinh(0.5 * np.sqrt(tilt)), 1e-9)
    kept = np.exp(-rate) * np.expm1(-2.0 * rate * (left - 1.0)) / np.expm1(-2.0 * rate * left)
    return _as_action(1.0 - kept, view, config)


def sell_at_once(view: DeskView, config: OrderDesksConfig) -> Array:
    """Sell everything in the first step: no risk, the highest cost.

    Args:
        view: What is known, NumPy.
        config: The orders.
    """
    return _as_action(np.ones_like(view.steps_left), view, config)


EXPERTS: dict[str, Expert] = {
    "twap": sell_evenly,
    "almgren_chriss": sell_optimally,
    "immediate": sell_at_once,
}


def _as_action(share: Any, view: DeskView, config: OrderDesksConfig) -> Array:
    """Return the action that sells a share of what remains."""
    action = np.sqrt(share * np.maximum(view.steps_left, 1.0) / config.num_steps)
    return np.asarray(action, np.float32)[..., None]
