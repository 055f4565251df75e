"""Figures of a portfolio, by hand, and paired differences with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from rl.evaluation.portfolio_scores import compute_lead, compute_scores
from rl.evaluation.statistics import StatisticsError


def test_figures_by_hand():
    """Up a tenth, down a fifth, up a half: 1.1, 0.88, 1.32."""
    scores = compute_scores(np.log([1.1, 0.8, 1.5]))
    returns = np.asarray([0.1, -0.2, 0.5])
    assert scores.annual_return == pytest.approx(1.32 ** (252 / 3) - 1)
    assert scores.volatility == pytest.approx(returns.std() * np.sqrt(252))
    assert scores.sharpe_ratio == pytest.approx(returns.mean() / returns.std() * np.sqrt(252))
    assert scores.max_drawdown == pytest.approx(-0.2)


def test_a_fall_from_the_start_is_a_drawdown():
    assert compute_scores(np.log([0.7, 1.1])).max_drawdown == pytest.approx(-0.3)


def test_a_constant_lead_is_certain():
    growth = np.random.default_rng(0).normal(0, 0.01, 300)
    lead = compute_lead(growth + 0.001, growth)
    assert lead.annual_log_growth.low == pytest.approx(0.252)
    assert lead.annual_log_growth.high == pytest.approx(0.252)
    gain = compute_scores(growth + 0.001).sharpe_ratio - compute_scores(growth).sharpe_ratio
    assert lead.sharpe_ratio == pytest.approx(gain)
    assert lead.sharpe_ratio_low < gain < lead.sharpe_ratio_high
    assert lead.sharpe_ratio_high - lead.sharpe_ratio_low < 0.5


def test_noise_of_one_block_is_no_lead():
    """All of the lead lies in one month of twelve: the interval reaches zero."""
    reference = np.random.default_rng(0).normal(0, 0.01, 252)
    growth = reference.copy()
    growth[:21] += 0.01
    lead = compute_lead(growth, reference)
    assert lead.annual_log_growth.mean == pytest.approx(0.21)
    assert lead.annual_log_growth.low == 0
    assert lead.sharpe_ratio_low == pytest.approx(0, abs=1e-9)


def test_unknown_growth_is_refused():
    with pytest.raises(StatisticsError, match="same days"):
        compute_lead(np.asarray([0.1, 0.2]), np.asarray([0.1, 0.2, 0.3]))
    for bad in ([0.1], [0.1, np.nan]):
        with pytest.raises(StatisticsError, match="two finite days"):
            compute_scores(np.asarray(bad))
    with pytest.raises(StatisticsError, match="no risk"):
        compute_scores(np.zeros(5))
