"""The measures give the published table; the generator lies in the bands, and noise does not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from data.market_config import PLAIN, SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.price_traces import load_index, load_stocks
from data.stylised_facts import (
    BANDS,
    ReturnsError,
    StylisedFacts,
    autocorrelation,
    excess_kurtosis,
    hill_exponent,
    inside_bands,
    stylised_facts,
)
from data.traces import locate_traces

SERIES = 8_312
"""As long as the real ones, 1990 to 2022."""
TYPICAL = StylisedFacts(
    return_acf_1=-0.05,
    absolute_acf_1=0.25,
    absolute_acf_10=0.2,
    absolute_acf_50=0.1,
    kurtosis=8.0,
    kurtosis_20=2.0,
    hill=3.0,
    leverage=-0.04,
    decay=0.3,
)
# domains.md 3.4: acf1 r, acf |r| at 1, 10, 50, excess kurtosis at 1 and 20 days, Hill, leverage,
# decay.
PUBLISHED = {
    "SP500": (-0.082, 0.280, 0.289, 0.143, 10.6, 2.2, 2.94, -0.081, 0.38),
    "AAPL": (-0.019, 0.199, 0.147, 0.101, 63.3, 10.4, 3.16, -0.009, 0.16),
    "JPM": (-0.047, 0.345, 0.272, 0.214, 11.5, 2.4, 2.68, -0.038, 0.21),
    "XOM": (-0.078, 0.263, 0.223, 0.126, 8.4, 3.4, 3.13, -0.049, 0.36),
    "WMT": (-0.022, 0.247, 0.168, 0.139, 5.2, 1.9, 3.03, -0.021, 0.17),
}
DIGITS = (3, 3, 3, 3, 1, 1, 2, 3, 2)


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
@pytest.mark.parametrize("symbol", PUBLISHED)
def test_measures_give_the_published_table_to_the_last_digit(symbol):
    folder = locate_traces()
    table = load_index(folder) if symbol == "SP500" else load_stocks(folder, [symbol])
    figures = stylised_facts(table.log_return[:, 0]).values()
    rounded = [round(float(one), digits) for one, digits in zip(figures, DIGITS, strict=True)]
    assert tuple(rounded) == PUBLISHED[symbol]


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_the_index_is_inside_all_bands():
    returns = load_index(locate_traces()).log_return[:, 0]
    assert all(inside_bands(stylised_facts(returns)))


@pytest.mark.parametrize("seed", range(5))
def test_the_generator_is_inside_six_of_seven_bands(seed):
    source = SyntheticMarket(SyntheticMarketConfig(max_steps=SERIES, lookback=1))
    returns = source.draw(1, np.random.default_rng(seed)).log_return[0, :, 0]
    assert len(BANDS) == 7
    assert sum(inside_bands(stylised_facts(returns))) >= 6


@pytest.mark.parametrize("seed", range(5))
def test_independent_normal_returns_fail_at_least_four(seed):
    config = SyntheticMarketConfig(max_steps=SERIES, lookback=1, law=PLAIN)
    returns = SyntheticMarket(config).draw(1, np.random.default_rng(seed)).log_return[0, :, 0]
    assert sum(inside_bands(stylised_facts(returns))) <= 3


def test_facts_do_not_depend_on_scale():
    returns = np.random.default_rng(0).standard_t(4, 2000)
    one, other = stylised_facts(returns).values(), stylised_facts(1e-4 * returns).values()
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_autocorrelation_by_hand():
    # Mean 0: products at lag 1 are -1, -1, -1; at lag 2 1, 1; the variance sums to 4.
    series = np.asarray([1.0, -1.0, 1.0, -1.0])
    np.testing.assert_allclose(autocorrelation(series, 2), [1, -0.75, 0.5], atol=1e-12)


def test_kurtosis_by_hand():
    # Fourth moment 2 * 16 / 8, second 2 * 4 / 8: 4 / 1 - 3.
    assert excess_kurtosis(np.asarray([2.0, -2.0, 0, 0, 0, 0, 0, 0])) == pytest.approx(1.0)


def test_hill_by_hand():
    # The tail: 8 and 4 over 2, logarithms 2 log 2 and log 2, mean 1.5 log 2.
    size = np.asarray([1.0, 8.0, 1.0, 2.0, 4.0, 1.0, 1.0, 1.0])
    assert hill_exponent(size, 0.25) == pytest.approx(1 / (1.5 * math.log(2)))


def test_hill_finds_the_exponent_of_a_pareto_tail():
    size = np.random.default_rng(0).pareto(3.0, 200_000) + 1
    assert hill_exponent(size, 0.05) == pytest.approx(3.0, abs=0.1)


def test_leverage_is_negative_where_falls_raise_volatility():
    noise = np.random.default_rng(0).standard_normal(20_000)
    returns = noise[1:] * np.where(noise[:-1] < 0, 2.0, 1.0)
    assert stylised_facts(returns).leverage < -0.01
    assert stylised_facts(-returns).leverage > 0.01


def test_nothing_decays_in_noise():
    assert math.isnan(stylised_facts(np.random.default_rng(0).standard_normal(5000)).decay)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({}, None),
        ({"return_acf_1": 0.11}, 0),
        ({"return_acf_1": -0.11}, 0),
        ({"absolute_acf_1": 0.14}, 1),
        ({"absolute_acf_1": 0.41}, 1),
        ({"absolute_acf_10": 0.07}, 1),
        ({"absolute_acf_50": 0.02}, 1),
        ({"kurtosis": 21.0}, 2),
        ({"kurtosis_20": 4.1}, 3),
        ({"hill": 2.4}, 4),
        ({"hill": 4.1}, 4),
        ({"leverage": -0.13}, 5),
        ({"leverage": -0.004}, 5),
        ({"decay": 0.09}, 6),
        ({"decay": 0.51}, 6),
        ({"decay": math.nan}, 6),
    ],
)
def test_each_band_has_its_limits(change, lost):
    inside = inside_bands(dataclasses.replace(TYPICAL, **change))
    assert [index for index, holds in enumerate(inside) if not holds] == (
        [] if lost is None else [lost]
    )


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (np.zeros(499), "500 or more"),
        (np.zeros((600, 2)), "one series"),
        (np.full(600, np.nan), "not finite"),
        (np.full(600, 0.01), "all alike"),
    ],
)
def test_series_that_cannot_be_measured_are_refused(returns, message):
    with pytest.raises(ReturnsError, match=message):
        stylised_facts(returns)
