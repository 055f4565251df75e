"""A fitted market has the facts, volatility, drift and correlations of the series it was shown."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data.market import MarketRegime
from data.market_config import PLAIN, PriceLaw, SymbolLaw, SyntheticMarketConfig, VolatilityScale
from data.market_fit import FitSettings, compare_returns, fit_loadings, fit_market
from data.market_generator import SyntheticMarket
from data.price_traces import load_stocks
from data.stylised_facts import ReturnsError
from data.traces import locate_traces
from utils.errors import ConfigError

QUICK = FitSettings(num_paths=8, num_rounds=2)


def returns_of(config, seed=0):
    scenarios = SyntheticMarket(config).draw(1, np.random.default_rng(seed))
    return scenarios.log_return[0].astype(float)


def made_by(law, *, symbols=4, steps=2500):
    return returns_of(
        SyntheticMarketConfig(max_symbols=symbols, max_steps=steps, lookback=1, law=law)
    )


def figures_of(report):
    return {figure.name: figure for figure in report.figures}


def test_clustering_is_found_again():
    law = PriceLaw(
        scales=(VolatilityScale(half_life=40.0, deviation=0.6),),
        leverage=-0.2,
        innovation_kurtosis=0.5,
        jump_probability=0.0,
    )
    config, report = fit_market(made_by(law), QUICK)
    figures = figures_of(report)
    for name in ("absolute_acf_1", "absolute_acf_10", "hill"):
        assert figures[name].relative_error < 0.2, report.describe()
    middle = config.law.scales[1].deviation
    assert middle == max(scale.deviation for scale in config.law.scales)


def test_where_there_is_no_clustering_none_is_made():
    config, report = fit_market(made_by(PLAIN), QUICK)
    figures = figures_of(report)
    assert abs(figures["absolute_acf_1"].made) < 0.05
    assert max(scale.deviation for scale in config.law.scales) < 0.2


def test_every_symbol_keeps_its_volatility_drift_and_correlations():
    symbols = SymbolLaw(
        loadings=((0.9, 0.0), (0.8, 0.0), (0.3, 0.8), (0.3, 0.7)),
        volatility=(1.0, 2.0, 3.0, 4.0),
        drift=(0.3, 0.0, -0.3, 0.0),
    )
    real = returns_of(
        SyntheticMarketConfig(max_symbols=4, max_steps=4000, lookback=1, symbols=symbols)
    )
    config, report = fit_market(real, QUICK)
    long_run = dataclasses.replace(config, max_steps=4000, lookback=1)
    made = SyntheticMarket(long_run).draw(16, np.random.default_rng(1)).log_return.astype(float)
    made = made.reshape(-1, 4)
    np.testing.assert_allclose(made.std(0), real.std(0), rtol=0.15)
    expected = real.std(0) * np.sqrt(252) / MarketRegime.SIDEWAYS.volatility
    np.testing.assert_allclose(config.symbols.volatility, expected, rtol=1e-9)
    np.testing.assert_allclose(np.corrcoef(made.T), np.corrcoef(real.T), atol=0.06)
    expected = np.log(np.exp(real).mean(0)) * 252
    np.testing.assert_allclose(config.symbols.drift, expected, rtol=1e-9)
    assert config.regime is MarketRegime.SIDEWAYS
    assert figures_of(report)["correlation"].relative_error < 0.15
    assert figures_of(report)["annual_volatility"].relative_error < 0.1


def test_a_seed_gives_one_answer_and_one_series_is_enough():
    real = made_by(PriceLaw(), symbols=1, steps=1000)[:, 0]
    first, report = fit_market(real, QUICK)
    again, _ = fit_market(real, QUICK)
    assert first == again
    assert first.max_symbols == 1
    assert "correlation" not in figures_of(report)


def test_a_series_compared_with_itself_is_off_by_nothing():
    real = made_by(PriceLaw())
    report = compare_returns(real, real[None])
    assert len(report.figures) == 11
    assert [figure.relative_error for figure in report.figures] == [0.0] * 11


def test_comparison_sees_volatility_and_correlation_by_hand():
    real = made_by(PLAIN, symbols=2)
    mixed = np.stack([real[:, 0], real[:, 0]], axis=1)[None] * 3
    figures = figures_of(compare_returns(real, mixed))
    assert figures["correlation"].made == pytest.approx(1.0)
    expected = 3 * real[:, 0].std() * np.sqrt(252)
    assert figures["annual_volatility"].made == pytest.approx(expected)


def test_loadings_of_one_factor_are_found_exactly():
    loadings = np.asarray([0.9, 0.6, -0.5, 0.3])
    correlation = np.outer(loadings, loadings)
    np.fill_diagonal(correlation, 1.0)
    found = fit_loadings(correlation, 1)
    np.testing.assert_allclose(found @ found.T, np.outer(loadings, loadings), atol=1e-4)


def test_loadings_never_explain_more_than_all():
    same = np.ones((3, 3))
    assert (fit_loadings(same, 2) ** 2).sum(1).max() <= 0.999 + 1e-12
    assert fit_loadings(np.ones((1, 1)), 3).tolist() == [[0.0]]


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (np.zeros((600, 2, 2)), "time, symbol"),
        (np.zeros((600, 0)), "time, symbol"),
        (np.ones((600, 2)), "all alike"),
        (np.full(600, np.inf), "not finite"),
        (np.zeros(10), "500 or more"),
    ],
)
def test_returns_that_cannot_be_fitted_are_refused(returns, message):
    with pytest.raises(ReturnsError, match=message):
        fit_market(returns)


@pytest.mark.parametrize("name", ["num_paths", "num_rounds", "steps_per_year", "num_factors"])
def test_a_search_that_tries_nothing_is_refused(name):
    with pytest.raises(ConfigError, match=name):
        FitSettings(**{name: 0})


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_a_real_share_is_matched_in_what_is_fitted():
    real = load_stocks(locate_traces(), ["JPM"]).log_return
    _, report = fit_market(real, FitSettings(num_paths=8, num_rounds=4))
    figures = figures_of(report)
    names = ("absolute_acf_1", "absolute_acf_10", "absolute_acf_50", "hill", "annual_volatility")
    for name in names:
        assert figures[name].relative_error < 0.25, report.describe()
