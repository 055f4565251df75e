"""Limits of portfolios: with hindsight, with constant weights in hindsight, and Merton's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from rl.domains.portfolio import PortfolioConfig
from utils.errors import ConfigError

Floats = NDArray[np.float64]
CASH = -1
"""Position of cash in a hindsight path."""
CERTIFICATE_TOLERANCE = 1e-7


@dataclass(frozen=True, kw_only=True)
class HindsightPath:
    """The best that anybody could have done who knew all prices, after costs."""

    log_growth: Floats
    """`[episode]`: of wealth over the episode."""
    holding: NDArray[np.intp]
    """`[episode, time]`: the symbol that all wealth is in, or `CASH`."""


@dataclass(frozen=True, kw_only=True)
class ConstantPortfolio:
    """The best weights to return to in every step, known in hindsight, before costs."""

    weights: Floats
    """`[symbol]`: the rest is cash."""
    log_growth: float
    """Over the episode."""
    log_growth_bound: float
    """No constant weights grow more: from the conditions of optimality."""


@dataclass(frozen=True, kw_only=True)
class MertonPortfolio:
    """The best constant weights under geometric Brownian motion, traded continuously."""

    weights: Floats
    """`[symbol]`: the rest is cash."""
    growth: float
    """Expected growth of the logarithm of wealth, per unit of time."""


def compute_hindsight_path(
    log_return: Floats, active: Floats, config: PortfolioConfig
) -> HindsightPath:
    """Compute the exact optimum over all long-only policies by backward recursion.

    Nothing is relaxed. Final wealth is linear in holdings, trades and their costs, so the best use
    of a unit of wealth depends on what it is in and not on the rest: one value per symbol and step.
    Wealth moves whole: to a symbol at 1 / (1 + c), out of one at 1 - c, between two at their
    product. Begins in cash; what is held at the end is not sold.

    Args:
        log_return: `[episode, time, symbol]`.
        active: `[episode, symbol]`: 1 where the symbol may be held.
        config: The task; long only, without borrowing.

    Raises:
        ConfigError: The task allows short positions or borrowing.
    """
    if config.max_short > 0 or config.max_leverage > 1:
        raise ConfigError(
            "the hindsight bound is for long-only portfolios; set max_short=0 and max_leverage=1"
        )
    episodes, steps, symbols = log_return.shape
    enter, leave = -np.log1p(config.cost), np.log1p(-config.cost)
    interest = np.log1p(config.cash_rate)
    value = np.zeros((episodes, symbols + 1))
    choice = np.empty((episodes, steps, symbols + 1), np.intp)
    for time in reversed(range(steps)):
        kept = np.where(active > 0, log_return[:, time], -np.inf) + value[:, :CASH]
        best = kept.argmax(-1)[:, None]
        bought = enter + np.take_along_axis(kept, best, axis=-1)
        cash = interest + value[:, CASH:]
        # Wealth in cash is best kept or put into the best symbol; so is that of a symbol sold.
        free = np.maximum(bought, cash)
        freed = np.where(bought > cash, best, CASH)
        is_kept = kept >= leave + free
        choice[:, time, :CASH] = np.where(is_kept, np.arange(symbols), freed)
        choice[:, time, CASH:] = freed
        value = np.concatenate([np.where(is_kept, kept, leave + free), free], axis=-1)
    holding = np.empty((episodes, steps), np.intp)
    now = np.full(episodes, CASH)
    for time in range(steps):
        now = choice[np.arange(episodes), time, now]
        holding[:, time] = now
    return HindsightPath(log_growth=value[:, CASH].copy(), holding=holding)


def compute_best_constant_portfolio(
    log_return: Floats, config: PortfolioConfig
) -> ConstantPortfolio:
    """Compute the best constant rebalanced portfolio in hindsight, before costs (Cover, 1991).

    The mean logarithm of growth is concave in the weights; the optimum is certified by
    mean(g_i / (w'g)) <= 1 for every symbol i, which also bounds how far off the weights are.

    Args:
        log_return: `[time, symbol]` of the symbols that are traded.
        config: The task; weights are long only, costs are not counted.

    Raises:
        ArithmeticError: The weights found are not optimal.
    """
    cash = np.full((len(log_return), 1), 1.0 + config.cash_rate)
    growth = np.concatenate([np.exp(np.asarray(log_return, np.float64)), cash], axis=-1)
    size = growth.shape[-1]

    def loss(weights: Floats) -> tuple[float, Floats]:
        wealth = growth @ weights
        return -float(np.log(wealth).sum()), -(growth / wealth[:, None]).sum(0)

    found = minimize(
        loss,
        np.full(size, 1.0 / size),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * size,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    weights = np.maximum(found.x, 0.0)
    weights /= weights.sum()
    wealth = growth @ weights
    reached = float(np.log(wealth).sum())
    excess = float((growth / wealth[:, None]).mean(0).max())
    if excess > 1.0 + CERTIFICATE_TOLERANCE:
        raise ArithmeticError(f"the weights are not optimal: {excess - 1.0} above the condition")
    return ConstantPortfolio(
        weights=weights[:CASH],
        log_growth=reached,
        log_growth_bound=reached + len(growth) * float(np.log(max(excess, 1.0))),
    )


def compute_merton_portfolio(
    drift: Floats, covariance: Floats, *, cash_rate: float = 0.0, risk_aversion: float = 1.0
) -> MertonPortfolio:
    """Compute the optimal constant weights, (1 / gamma) S^-1 (mu - r) (Merton, 1969).

    With one symbol and gamma = 1 wealth grows at r + (mu - r)^2 / (2 sigma^2).

    Args:
        drift: mu, `[symbol]`: of the price, dS / S.
        covariance: S, `[symbol, symbol]`.
        cash_rate: r.
        risk_aversion: gamma; 1 is the logarithm of wealth.
    """
    excess = np.asarray(drift, np.float64) - cash_rate
    weights = np.linalg.solve(covariance, excess) / risk_aversion
    growth = cash_rate + float(weights @ excess) - 0.5 * float(weights @ covariance @ weights)
    return MertonPortfolio(weights=np.asarray(weights), growth=growth)
