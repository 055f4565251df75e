"""Cost, variance and optimum of selling, against the paper's closed forms and the known table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.domains.execution import almgren_chriss
from rl.evaluation.execution_bounds import (
    compute_efficient_frontier,
    compute_execution_bound,
    compute_moments,
)
from utils.errors import ConfigError

TABLE = [
    (0.0, 0.0, 662_500, 1_040_673, 662_500, 662_500),
    (1e-6, 0.6071, 911_227, 603_431, 1_275_356, 1_745_500),
    (2e-6, 0.8463, 1_140_715, 449_368, 1_544_578, 2_828_500),
    (1e-5, 1.7267, 1_845_211, 171_712, 2_140_063, 11_492_500),
]


@pytest.mark.parametrize(("risk_aversion", "kappa", "cost", "deviation", "best", "twap"), TABLE)
def test_known_table(risk_aversion, kappa, cost, deviation, best, twap):
    config = almgren_chriss(risk_aversion)
    bound = compute_execution_bound(config)
    assert bound.urgency == pytest.approx(kappa, rel=1e-3)
    assert bound.expected_cost == pytest.approx(cost, abs=1.0)
    assert bound.deviation == pytest.approx(deviation, abs=1.0)
    assert bound.disutility == pytest.approx(best, abs=1.0)
    even = compute_moments(np.asarray([8e5, 6e5, 4e5, 2e5, 0.0]), config)
    assert float(even.disutility(risk_aversion)) == pytest.approx(twap, abs=1.0)


@pytest.mark.parametrize("risk_aversion", [1e-7, 1e-6, 1e-5])
@pytest.mark.parametrize("num_steps", [2, 5, 40])
def test_optimum_equals_the_formulas_of_the_paper(risk_aversion, num_steps):
    """Equations 20 and 21 of Almgren and Chriss, written out in hyperbolic functions."""
    config = replace(almgren_chriss(risk_aversion), num_steps=num_steps)
    bound = compute_execution_bound(config)
    order, days, tau, kappa = config.shares, config.horizon_days, config.step_days, bound.urgency
    whole = np.sinh(kappa * days)
    spread = tau * np.sinh(2 * kappa * days) + 2 * days * np.sinh(kappa * tau)
    cost = 0.5 * config.permanent_impact * order**2 + config.half_spread * order
    cost += (
        config.net_impact * order**2 * np.tanh(kappa * tau / 2) * spread / (2 * tau**2 * whole**2)
    )
    held = tau * whole * np.cosh(kappa * (days - tau)) - days * np.sinh(kappa * tau)
    variance = 0.5 * (config.volatility * order) ** 2 * held / (whole**2 * np.sinh(kappa * tau))
    assert bound.expected_cost == pytest.approx(cost, rel=1e-9)
    assert bound.deviation**2 == pytest.approx(variance, rel=1e-9)
    times = tau * np.arange(1, num_steps + 1)
    np.testing.assert_allclose(
        bound.holdings, order * np.sinh(kappa * (days - times)) / whole, atol=1e-6
    )


@settings(max_examples=200, deadline=None)
@given(
    fractions=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    risk_aversion=st.floats(0, 1e-4),
)
def test_no_schedule_is_better(fractions, risk_aversion):
    config = almgren_chriss(risk_aversion)
    holdings = config.shares * np.cumprod([*(1 - np.asarray(fractions)), 0.0])
    found = float(compute_moments(holdings, config).disutility(risk_aversion))
    assert found >= compute_execution_bound(config).disutility * (1 - 1e-12)


def test_frontier_trades_cost_for_risk():
    frontier = compute_efficient_frontier(almgren_chriss(), np.geomspace(1e-8, 1e-4, 9))
    assert (np.diff([point.expected_cost for point in frontier]) > 0).all()
    assert (np.diff([point.deviation for point in frontier]) < 0).all()


@pytest.mark.parametrize(
    ("holdings", "message"),
    [
        ([5e5, 6e5, 1e5, 1e5, 0.0], "must not rise"),
        ([8e5, 6e5, 4e5, 2e5, 1e5], "the last 0"),
        ([5e5, 0.0], "5 slices"),
    ],
)
def test_impossible_schedules_are_refused(holdings, message):
    with pytest.raises(ConfigError, match=message):
        compute_moments(np.asarray(holdings), almgren_chriss())
