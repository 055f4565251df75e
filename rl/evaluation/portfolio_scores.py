"""What a portfolio's growth is worth: the figures of a fund, and paired differences of two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.market import TRADING_DAYS
from rl.evaluation.statistics import Estimate, StatisticsError, block_bootstrap_interval

Floats = NDArray[np.float64]
MONTH = 21


@dataclass(frozen=True, kw_only=True)
class PortfolioScores:
    """Figures of one portfolio over consecutive days."""

    annual_return: float
    """Compound growth of wealth per year (CAGR)."""
    volatility: float
    """Standard deviation of daily returns, per square root of a year."""
    sharpe_ratio: float
    """Mean over standard deviation of daily returns, per square root of a year; cash earns 0."""
    max_drawdown: float
    """Deepest fall from an earlier peak, as a negative share of it."""


@dataclass(frozen=True, kw_only=True)
class Lead:
    """How far a portfolio is ahead of another on the same days; intervals hold 95 %."""

    annual_log_growth: Estimate
    sharpe_ratio: float
    sharpe_ratio_low: float
    sharpe_ratio_high: float


def compute_scores(log_growth: Floats) -> PortfolioScores:
    """Compute the figures of a portfolio.

    Args:
        log_growth: `[day]`: change of the logarithm of wealth, costs taken off.

    Raises:
        StatisticsError: There are fewer than two days, or wealth never changed its pace.
    """
    growth = _check(log_growth)
    wealth = np.exp(np.concatenate([[0.0], growth.cumsum()]))
    returns = np.expm1(growth)
    year = np.sqrt(TRADING_DAYS)
    return PortfolioScores(
        annual_return=float(np.expm1(growth.mean() * TRADING_DAYS)),
        volatility=float(returns.std() * year),
        sharpe_ratio=float(returns.mean() / returns.std() * year),
        max_drawdown=float((wealth / np.maximum.accumulate(wealth) - 1.0).min()),
    )


def compute_lead(
    log_growth: Floats,
    reference: Floats,
    *,
    block_days: int = MONTH,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Lead:
    """Compare two portfolios by a paired bootstrap of whole blocks of days.

    With few blocks the intervals are narrower than they say; see `block_bootstrap_interval`.

    Args:
        log_growth: `[day]`: of the portfolio.
        reference: `[day]`: of the one it is compared with, on the same days.
        block_days: Length of a block.
        num_resamples: How many resamples.
        seed: The only source of chance.

    Raises:
        StatisticsError: The days differ in number, or there are fewer than two.
    """
    ours, theirs = _check(log_growth), _check(reference)
    if ours.shape != theirs.shape:
        raise StatisticsError(f"{len(ours)} days against {len(theirs)}; give the same days")
    blocks = np.arange(len(ours)) // block_days
    pair = np.expm1(np.stack([ours, theirs]))
    generator = np.random.default_rng(seed)
    drawn = generator.integers(blocks[-1] + 1, size=(num_resamples, blocks[-1] + 1))
    weight = np.zeros((num_resamples, blocks[-1] + 1))
    np.add.at(weight, (np.arange(num_resamples)[:, None], drawn), 1.0)
    leads = _sharpe_lead(pair, weight[:, blocks])
    low, high = np.quantile(leads, [0.025, 0.975])
    return Lead(
        annual_log_growth=block_bootstrap_interval(
            (ours - theirs) * TRADING_DAYS, blocks, num_resamples=num_resamples, seed=seed
        ),
        sharpe_ratio=float(_sharpe_lead(pair, np.ones((1, len(ours))))[0]),
        sharpe_ratio_low=float(low),
        sharpe_ratio_high=float(high),
    )


def _sharpe_lead(returns: Floats, weight: Floats) -> Floats:
    """Difference of Sharpe ratios of `[2, day]` with days weighted `[resample, day]`."""
    total = weight.sum(-1)
    mean = weight @ returns.T / total[:, None]
    variance = weight @ np.square(returns).T / total[:, None] - mean**2
    ratio = mean / np.sqrt(variance) * np.sqrt(TRADING_DAYS)
    return np.asarray(ratio[:, 0] - ratio[:, 1])


def _check(log_growth: Floats) -> Floats:
    growth = np.asarray(log_growth, np.float64)
    if growth.ndim != 1 or len(growth) < 2 or not np.isfinite(growth).all():
        raise StatisticsError(f"give at least two finite days, not {growth.shape}")
    if np.ptp(growth) == 0:
        raise StatisticsError("wealth grew the same every day; there is no risk to compare")
    return growth
