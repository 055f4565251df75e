"""Quotes of the experts, distances and fill probabilities, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rl.domains.market_making import MarketMakingDomain, MarketMakingView, avellaneda_stoikov
from rl.domains.market_making_experts import EXPERTS, FixedSpread, compute_base_distance


def make_view(inventory, steps_left, volatility=2.0):
    inventory = np.asarray(inventory, float)
    same = np.zeros_like(inventory)
    return MarketMakingView(
        inventory=inventory,
        steps_left=same + steps_left,
        price_change=same + 1.0,
        last_move=same - 0.5,
        volatility=same + volatility,
        arrival_rate=same + 140.0,
    )


def quote(name, view, config):
    return MarketMakingDomain(config).project(EXPERTS[name](view, config))


def test_avellaneda_stoikov_by_hand():
    """At the start gamma sigma^2 T is 0.4; 20 ln(1 + 0.1 / 1.5) is 1.2908: the spread is 1.6908."""
    config = avellaneda_stoikov(0.1)
    distance = quote("avellaneda_stoikov", make_view([0, 1, -2], 200), config)
    expected = [[0.8454, 0.8454], [1.2454, 0.4454], [0.0454, 1.6454]]
    np.testing.assert_allclose(distance, expected, atol=1e-4)
    distance = quote("avellaneda_stoikov", make_view([0, 1, -2], 100), config)
    expected = [[0.7454, 0.7454], [0.9454, 0.5454], [0.3454, 1.1454]]
    np.testing.assert_allclose(distance, expected, atol=1e-4)


def test_symmetric_quotes_lie_at_half_of_the_mean_spread_1_49():
    distance = quote("symmetric", make_view([0, 9], 17), avellaneda_stoikov(0.1))
    np.testing.assert_allclose(2 * distance, 1.4908, atol=1e-4)


def test_without_risk_aversion_quotes_lie_at_one_over_k():
    config = avellaneda_stoikov(0.0)
    for name in EXPERTS:
        np.testing.assert_allclose(quote(name, make_view([5], 100), config), 1 / 1.5, rtol=1e-6)
    assert compute_base_distance(avellaneda_stoikov(1e-7)) == pytest.approx(1 / 1.5)


def test_far_quotes_stop_at_the_ends_of_the_range():
    distance = quote("avellaneda_stoikov", make_view([20], 200), avellaneda_stoikov(0.1))
    np.testing.assert_allclose(distance, [[3.0, -1.0]])


def test_fill_probability_by_hand():
    """A dt = 0.7; at distance 1 it is 0.7 exp(-1.5); at -1 it would exceed 1."""
    domain = MarketMakingDomain(avellaneda_stoikov())
    view = make_view([0, 30, -30], 5)
    chance = domain.compute_fill_probability(np.asarray([[1.0, -1.0]] * 3), view)
    expected = 0.7 * np.exp(-1.5)
    np.testing.assert_allclose(chance, [[expected, 1.0], [0.0, 1.0], [expected, 0.0]])


def test_observation_by_hand():
    seen = MarketMakingDomain(avellaneda_stoikov()).encode(make_view([3], 50))
    np.testing.assert_allclose(seen, [[0.1, 0.25, 1.5, -0.75, 3.0, 0.7]])


def test_a_fixed_spread_is_the_same_everywhere():
    config = avellaneda_stoikov()
    action = FixedSpread(distance=0.5)(make_view([[1, 2], [3, 4]], 50), config)
    assert action.shape == (2, 2, 2)
    np.testing.assert_allclose(MarketMakingDomain(config).project(action), 0.5, atol=1e-6)
