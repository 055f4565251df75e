"""What experts hold: by hand for two symbols, by their conditions of optimality for many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from rl.domains.portfolio import PortfolioConfig, PortfolioDomain, PortfolioView
from rl.domains.portfolio_experts import (
    EXPERTS,
    RULES,
    ConstantProportion,
    Rebalanced,
    hold_by_inverse_volatility,
    hold_equal_risk,
    hold_equally,
    hold_maximum_sharpe,
    hold_merton,
    hold_minimum_variance,
)

CONFIG = PortfolioConfig(num_steps=50, cash_rate=0.0001)


def make_view(*, batch=5, symbols=6, active=None, seed=0, step=0):
    generator = np.random.default_rng(seed)
    loadings = generator.normal(0, 0.01, (batch, 1, symbols))
    common = generator.standard_normal((batch, 80, 1))
    own = generator.normal(0, 0.01, (batch, 80, symbols)) * np.linspace(0.5, 2, symbols)
    active = np.ones(symbols) if active is None else np.asarray(active, float)
    drift = generator.normal(0.0005, 0.001, (batch, 1, symbols))
    return PortfolioView(
        returns=common * loadings + own + drift,
        active=np.tile(active, (batch, 1)),
        weights=generator.dirichlet(np.ones(symbols), batch) * active * 0.9,
        steps_left=np.full(batch, float(CONFIG.num_steps - step)),
    )


def moments(view, shrinkage):
    """Of the simple returns of each batch entry, by NumPy's own functions."""
    for returns in np.expm1(view.returns):
        covariance = np.cov(returns.T)
        diagonal = np.diag(np.diag(covariance))
        mean = returns.mean(0) - CONFIG.cash_rate
        yield mean, (1 - shrinkage) * covariance + shrinkage * diagonal


def two_symbols(first, second, days=400):
    """Moves of +- first and +- second, uncorrelated, of no mean."""
    signs = np.asarray([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    returns = np.log1p(np.tile(signs * [first, second], (days // 4, 1)))[None]
    return replace(make_view(batch=1, symbols=2), returns=returns)


def test_two_symbols_by_hand():
    view = two_symbols(0.01, 0.02)
    expected = {
        hold_equally: [0.5, 0.5],
        hold_by_inverse_volatility: [2 / 3, 1 / 3],
        hold_equal_risk: [2 / 3, 1 / 3],
        hold_minimum_variance: [0.8, 0.2],
    }
    for rule, weights in expected.items():
        np.testing.assert_allclose(rule(view, CONFIG)[0], weights, rtol=1e-4)
    assert (hold_maximum_sharpe(view, CONFIG) == 0).all()  # nothing returned more than cash
    better = np.expm1(view.returns) + np.asarray([0.0021, 0.0041])
    gain = replace(view, returns=np.log1p(better))
    # Excess 0.002 and 0.004, variance 1e-4 and 4e-4: weights go as 20 and 10, Sharpe is highest.
    np.testing.assert_allclose(hold_maximum_sharpe(gain, CONFIG)[0], [2 / 3, 1 / 3], rtol=1e-4)
    averse = replace(CONFIG, risk_aversion=20.0)
    np.testing.assert_allclose(hold_merton(gain, averse)[0], [1.0, 0.5], rtol=0.005)


def test_equal_risk_contributes_equally():
    view = make_view()
    weights = hold_equal_risk(view, CONFIG)
    for own, (_, covariance) in zip(weights, moments(view, 0.0), strict=True):
        contribution = own * (covariance @ own)
        np.testing.assert_allclose(contribution / contribution.sum(), 1 / 6, rtol=1e-6)


def test_minimum_variance_is_minimal():
    view = make_view()
    weights = hold_minimum_variance(view, CONFIG)
    for own, (_, covariance) in zip(weights, moments(view, 0.1), strict=True):
        gradient = covariance @ own
        np.testing.assert_allclose(gradient[own > 1e-6], own @ gradient, rtol=1e-6)
        assert (gradient >= own @ gradient * (1 - 1e-6)).all()


def test_maximum_sharpe_equals_a_general_solver():
    view = make_view(seed=3)
    weights = hold_maximum_sharpe(view, CONFIG)
    for own, (mean, covariance) in zip(weights, moments(view, 0.1), strict=True):

        def loss(other, mean=mean, covariance=covariance):
            return -(mean @ other) / np.sqrt(other @ covariance @ other)

        found = minimize(
            loss,
            np.full(6, 1 / 6),
            method="SLSQP",
            bounds=[(0, 1)] * 6,
            constraints={"type": "eq", "fun": lambda other: other.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert loss(own) <= found.fun + 1e-9
        np.testing.assert_allclose(own, found.x, atol=1e-3)


def test_merton_is_optimal_for_its_moments():
    view = make_view(seed=1)
    averse = replace(CONFIG, risk_aversion=4.0)
    for own, (mean, covariance) in zip(hold_merton(view, averse), moments(view, 0.1), strict=True):
        slope = mean - 4.0 * covariance @ own
        np.testing.assert_allclose(slope[own > 0], 0, atol=1e-9)
        assert (slope <= 1e-9).all()


@pytest.mark.parametrize("name", RULES)
def test_switched_off_symbols_are_left_out(name):
    all_six = make_view()
    five = replace(
        all_six,
        returns=all_six.returns[..., :5],
        active=all_six.active[..., :5],
        weights=all_six.weights[..., :5],
    )
    masked = replace(all_six, active=np.tile([1, 1, 1, 1, 1, 0.0], (5, 1)))
    weights = RULES[name](masked, CONFIG)
    assert (weights[:, 5] == 0).all()
    np.testing.assert_allclose(weights[:, :5], RULES[name](five, CONFIG), atol=1e-8)
    assert (weights >= 0).all()


@pytest.mark.parametrize("name", EXPERTS)
def test_one_row_does_not_depend_on_the_others(name):
    view = make_view()
    alone = PortfolioView(**{key: value[2:3] for key, value in vars(view).items()})
    together = EXPERTS[name](view, CONFIG)[2:3]
    np.testing.assert_allclose(together, EXPERTS[name](alone, CONFIG), atol=1e-6)


def test_between_rebalancing_nothing_is_traded():
    due, between = make_view(step=21), make_view(step=20)
    expert = Rebalanced(rule=hold_equally)
    np.testing.assert_allclose(expert(due, CONFIG), 1 / 6, rtol=1e-6)
    np.testing.assert_allclose(expert(between, CONFIG), between.weights, rtol=1e-6)
    first, later = make_view(step=0), make_view(step=21)
    held = Rebalanced(rule=hold_equally, every=None)
    np.testing.assert_allclose(held(first, CONFIG), 1 / 6, rtol=1e-6)
    np.testing.assert_allclose(held(later, CONFIG), later.weights, rtol=1e-6)
    mixed = replace(due, steps_left=np.asarray([29.0, 30, 29, 30, 50]))
    expected = np.where(np.asarray([1, 0, 1, 0, 1])[:, None] > 0, 1 / 6, mixed.weights)
    np.testing.assert_allclose(expert(mixed, CONFIG), expected, rtol=1e-6)


def test_a_price_that_never_moves_breaks_no_rule():
    view = make_view()
    still = replace(view, returns=view.returns * [0, 1, 1, 1, 1, 1])
    for rule in RULES.values():
        weights = rule(still, CONFIG)
        assert np.isfinite(weights).all()
        assert (weights >= 0).all()


def test_constant_proportion():
    rule = ConstantProportion(weights=(0.5, 0.2, 0.1, 0.0, 0.0, 0.0))
    assert rule(make_view(), CONFIG).shape == (5, 6)
    assert rule(make_view(), CONFIG)[4].tolist() == [0.5, 0.2, 0.1, 0.0, 0.0, 0.0]


def test_what_is_observed_of_a_symbol_by_hand():
    """Seven returns: the newest alone, the newest five, and all seven, in their deviations."""
    returns = np.asarray([0.05, -0.03, 0.01, 0.02, -0.01, 0.0, 0.04])
    view = PortfolioView(
        returns=returns[:, None],
        active=np.ones(1),
        weights=np.asarray([0.3]),
        steps_left=np.asarray(5.0),
    )
    seen = PortfolioDomain(PortfolioConfig(num_steps=10)).encode(view)
    spread = returns.std()
    whole = returns.sum() / (spread * 7**0.5)
    yearly = spread * 252**0.5
    momentum = (0.04 / spread, 0.06 / (spread * 5**0.5), whole, whole)
    assert seen == pytest.approx([*momentum, yearly, yearly, 0.3, 1.0, 0.7, 0.5])
