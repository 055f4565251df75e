"""What experts hold, from the same view as the agent; all in NumPy over any leading batch axes.

Risk is estimated from the simple returns of the look-back. Where covariances are inverted, they
are shrunk by a tenth towards their diagonal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rl.domains.portfolio import PortfolioConfig, PortfolioView

Floats = NDArray[np.float64]
Array = NDArray[np.float32]
Rule = Callable[[PortfolioView, PortfolioConfig], Floats]
"""Returns target weights `[..., symbol]`, not negative."""
SHRINKAGE = 0.1
MONTH = 21
_TOLERANCE = 1e-9
_MAX_SWEEPS = 20_000
_LEAST_VARIANCE = 1e-12


def as_action(weights: Floats, config: PortfolioConfig) -> Array:
    """Turn target weights into the action that asks for them; `project` keeps them in bounds.

    Args:
        weights: `[..., symbol]`.
        config: The task.
    """
    width = config.max_leverage + config.max_short
    return np.asarray((weights + config.max_short) / width, np.float32)


def hold_equally(view: PortfolioView, config: PortfolioConfig) -> Floats:
    """Hold the same share of every symbol (1/N).

    Args:
        view: What is known, NumPy.
        config: Not used.
    """
    del config
    return _normalise(np.asarray(view.active, np.float64))


def hold_by_inverse_volatility(view: PortfolioView, config: PortfolioConfig) -> Floats:
    """Hold symbols in proportion to one over their volatility.

    Args:
        view: What is known, NumPy.
        config: Not used.
    """
    del config
    variance = np.diagonal(_estimate_covariance(view, shrinkage=0.0), axis1=-2, axis2=-1)
    return _normalise(np.asarray(view.active, np.float64) / np.sqrt(variance))


def hold_equal_risk(view: PortfolioView, config: PortfolioConfig) -> Floats:
    """Hold weights of which each contributes the same to the variance (risk parity, ERC).

    Minimises y'Sy / 2 - sum log y (Maillard, Roncalli and Teiletche, 2010) by cyclical coordinate
    descent (Griveau-Billion, Richard and Roncalli, 2013).

    Args:
        view: What is known, NumPy.
        config: Not used.
    """
    del config
    covariance = _estimate_covariance(view, shrinkage=0.0)
    budget = np.asarray(view.active, np.float64)
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)

    def update(symbol: int, others: Floats) -> Floats:
        own = variance[..., symbol]
        root = np.sqrt(others**2 + 4.0 * own * budget[..., symbol])
        return np.asarray((root - others) / (2.0 * own))

    return _normalise(_descend(covariance, budget / np.sqrt(variance), update))


def hold_minimum_variance(view: PortfolioView, config: PortfolioConfig) -> Floats:
    """Hold the fully invested, long-only weights of the least variance.

    Args:
        view: What is known, NumPy.
        config: Not used.
    """
    del config
    covariance = _estimate_covariance(view, shrinkage=SHRINKAGE)
    return _normalise(minimise_quadratic(covariance, np.asarray(view.active, np.float64)))


def hold_maximum_sharpe(view: PortfolioView, config: PortfolioConfig) -> Floats:
    """Hold the long-only weights of the highest mean over deviation of the look-back (Markowitz).

    All cash if no symbol returned more than cash.

    Args:
        view: What is known, NumPy.
        config: For the return of cash.
    """
    covariance = _estimate_covariance(view, shrinkage=SHRINKAGE)
    return _normalise(minimise_quadratic(covariance, _estimate_excess(view, config)))


def hold_merton(view: PortfolioView, config: PortfolioConfig) -> Floats:
    """Hold the long-only weights that are best for the moments of the look-back (Merton, 1969).

    Maximises excess return less risk aversion / 2 times the variance; may leave or borrow cash.

    Args:
        view: What is known, NumPy.
        config: For the return of cash and the risk aversion.
    """
    covariance = _estimate_covariance(view, shrinkage=SHRINKAGE)
    excess = _estimate_excess(view, config)
    return minimise_quadratic(config.risk_aversion * covariance, excess)


@dataclass(frozen=True, kw_only=True)
class ConstantProportion:
    """A rule that always holds the same weights."""

    weights: tuple[float, ...]

    def __call__(self, view: PortfolioView, config: PortfolioConfig) -> Floats:
        """Return the weights.

        Args:
            view: Only its shape is used.
            config: Not used.
        """
        del config
        return np.broadcast_to(np.asarray(self.weights, np.float64), np.shape(view.active))


@dataclass(frozen=True, kw_only=True)
class Rebalanced:
    """Trade to the rule's weights every so many steps, from the first; hold in between."""

    rule: Rule
    every: int | None = MONTH
    """None trades in the first step only."""

    def __call__(self, view: PortfolioView, config: PortfolioConfig) -> Array:
        """Choose an action.

        Args:
            view: What is known, NumPy.
            config: The task.
        """
        step = config.num_steps - np.asarray(view.steps_left)
        is_due = step == 0 if self.every is None else step % self.every == 0
        held = np.asarray(view.weights, np.float64)
        if not is_due.any():
            return as_action(held, config)
        return as_action(np.where(is_due[..., None], self.rule(view, config), held), config)


RULES: dict[str, Rule] = {
    "equal": hold_equally,
    "inverse_volatility": hold_by_inverse_volatility,
    "risk_parity": hold_equal_risk,
    "minimum_variance": hold_minimum_variance,
    "maximum_sharpe": hold_maximum_sharpe,
    "merton": hold_merton,
}
EXPERTS: dict[str, Rebalanced] = {
    "buy_and_hold": Rebalanced(rule=hold_equally, every=None),
    **{name: Rebalanced(rule=rule) for name, rule in RULES.items()},
}


def minimise_quadratic(matrix: Floats, linear: Floats) -> Floats:
    """Minimise y'My / 2 - b'y over y >= 0 by cyclical coordinate descent.

    Args:
        matrix: M, `[..., symbol, symbol]`, positive definite.
        linear: b, `[..., symbol]`.

    Returns:
        y, `[..., symbol]`.
    """
    diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)

    def update(symbol: int, others: Floats) -> Floats:
        return np.maximum(0.0, (linear[..., symbol] - others) / diagonal[..., symbol])

    return _descend(matrix, np.maximum(0.0, linear) / diagonal, update)


def _descend(matrix: Floats, first: Floats, update: Callable[[int, Floats], Floats]) -> Floats:
    """Minimise over one symbol after the other until none moves."""
    found = first.copy()
    for _ in range(_MAX_SWEEPS):
        before = found.copy()
        for symbol in range(found.shape[-1]):
            row = matrix[..., symbol, :]
            others = (row * found).sum(-1) - row[..., symbol] * found[..., symbol]
            found[..., symbol] = update(symbol, others)
        if (np.abs(found - before).max(-1) <= _TOLERANCE * np.abs(found).max(-1)).all():
            return found
    raise ArithmeticError(f"weights still move after {_MAX_SWEEPS} sweeps")


def _simple_returns(view: PortfolioView) -> Floats:
    return np.expm1(np.asarray(view.returns, np.float64))


def _estimate_excess(view: PortfolioView, config: PortfolioConfig) -> Floats:
    """Mean return of each symbol over that of cash; 0 where it is not traded."""
    mean = _simple_returns(view).mean(-2) - config.cash_rate
    return np.asarray(mean * view.active)


def _estimate_covariance(view: PortfolioView, *, shrinkage: float) -> Floats:
    """Sample covariance; symbols that are not traded have variance 1 and hang on nothing."""
    returns = _simple_returns(view)
    centred = (returns - returns.mean(-2, keepdims=True)) * np.asarray(view.active)[..., None, :]
    covariance = np.swapaxes(centred, -1, -2) @ centred / (returns.shape[-2] - 1)
    own = np.eye(returns.shape[-1])
    variance = covariance * own
    idle = (1.0 - np.asarray(view.active, np.float64))[..., None] * own
    return np.asarray(
        (1.0 - shrinkage) * covariance + shrinkage * variance + idle + _LEAST_VARIANCE * own
    )


def _normalise(weights: Floats) -> Floats:
    """Scale to a sum of 1; nothing where all are 0."""
    total = weights.sum(-1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1.0))
