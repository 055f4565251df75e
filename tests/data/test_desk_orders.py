"""Orders of several desks: fair prices, terms in range, and no day that is not to be seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from data.desk_orders import DeskLaws, RealDesks, SyntheticDesks, mirror
from data.price_traces import PriceTable
from data.scenario import ScenarioError
from utils.errors import ConfigError

LAWS = DeskLaws(num_desks=3, num_steps=20, lookback=12)


def make_table(days=200, shares=4, seed=0):
    moves = 0.01 * np.random.default_rng(seed).standard_normal((days, shares))
    dates = np.datetime64("2010-01-01") + np.arange(days)
    names = tuple(f"S{share}" for share in range(shares))
    return PriceTable(symbols=names, dates=dates, price=100 * np.exp(moves.cumsum(0)))


def test_synthetic_moves_have_the_deviation_they_say_and_no_drift():
    drawn = SyntheticDesks(LAWS).draw(4000, np.random.default_rng(0))
    assert drawn.shock.shape == (4000, 20, 3)
    assert drawn.history.shape == (4000, 12, 3)
    assert abs(drawn.shock.mean()) < 5 * 1.5 / np.sqrt(drawn.shock.size)
    assert drawn.shock.std() == pytest.approx(1.0, abs=0.08)


def test_terms_follow_the_laws():
    drawn = SyntheticDesks(LAWS).draw(500, np.random.default_rng(1))
    horizon = drawn.volatility * np.sqrt(LAWS.num_steps)
    urgency = np.sqrt(drawn.risk_aversion / drawn.impact) * horizon
    for values, (low, high) in (
        (urgency, LAWS.urgency),
        (drawn.impact / horizon, LAWS.impact_ratio),
    ):
        assert low * 0.999 <= values.min() < values.max() <= high * 1.001


def test_a_crisis_and_an_illiquid_market_change_what_comes_and_nothing_else():
    def draw(laws):
        return SyntheticDesks(laws).draw(5, np.random.default_rng(2))

    plain, crisis = draw(LAWS), draw(replace(LAWS, volatility_scale=2.5))
    np.testing.assert_allclose(crisis.shock, 2.5 * plain.shock, rtol=1e-5)
    np.testing.assert_allclose(crisis.history, 2.5 * plain.history, rtol=1e-5)
    assert np.array_equal(crisis.volatility, plain.volatility)
    assert np.array_equal(crisis.risk_aversion, plain.risk_aversion)
    dry = draw(replace(LAWS, impact_scale=3.0))
    assert np.array_equal(dry.shock, plain.shock)
    assert (dry.impact_scale == 3.0).all()


def test_real_moves_are_returns_in_units_of_the_known_days():
    table = make_table()
    known, played = table.split(date(2010, 4, 11))
    drawn = RealDesks(known, played, LAWS).cut(np.array([7]), np.random.default_rng(3))
    moves = np.concatenate([drawn.history, drawn.shock], 1)[0]
    known_return = np.expm1(np.diff(np.log(known.price), axis=0))
    ours = np.expm1(np.diff(np.log(played.price), axis=0))[7 : 7 + 32]
    expected = (ours - known_return.mean(0)) / known_return.std(0)
    volatility = 1e4 * known_return.std(0)
    for desk in range(3):
        share = int(np.abs(volatility - drawn.volatility[0, desk]).argmin())
        np.testing.assert_allclose(moves[:, desk], expected[:, share], rtol=1e-4, atol=1e-5)


def test_days_that_are_not_played_change_nothing_but_the_units():
    """Episodes of the played days never hold a return of the known ones, and the reverse."""
    table = make_table()
    changed = replace(table, price=np.where(np.arange(200)[:, None] >= 100, 7.0, table.price))
    cut = date(2010, 4, 11)
    first, second = (one.split(cut)[0] for one in (table, changed))
    for source in (first, second):
        assert len(source.dates) == 100
    ours = [RealDesks(one, one, LAWS).draw(9, np.random.default_rng(4)) for one in (first, second)]
    assert np.array_equal(ours[0].shock, ours[1].shock)


def test_desks_of_an_episode_sell_different_shares_while_there_are_enough():
    table = make_table()
    drawn = RealDesks(table, table, LAWS).draw(30, np.random.default_rng(5))
    assert all(len(np.unique(row)) == 3 for row in drawn.volatility)
    many = RealDesks(table, table, replace(LAWS, num_desks=6)).draw(2, np.random.default_rng(5))
    assert many.shock.shape[-1] == 6


def test_a_mirror_turns_moves_round_and_keeps_the_past():
    drawn = SyntheticDesks(LAWS).draw(3, np.random.default_rng(6))
    turned = mirror(drawn)
    assert np.array_equal(turned.shock, -drawn.shock)
    assert np.array_equal(turned.history, drawn.history)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"shock": d.shock[..., 0]}, "shock has shape"),
        (lambda d: {"history": d.history[:2]}, "history has shape"),
        (lambda d: {"impact": d.impact[:, :1]}, "impact has shape"),
        (lambda d: {"impact": -d.impact}, "impact must be above 0"),
        (lambda d: {"shock": d.shock * np.nan}, "non-finite"),
    ],
)
def test_damaged_scenarios_are_refused(change, message):
    drawn = SyntheticDesks(LAWS).draw(3, np.random.default_rng(7))
    with pytest.raises(ScenarioError, match=message):
        replace(drawn, **change(drawn))


def test_impossible_laws_are_refused():
    for change in (
        {"num_desks": 0},
        {"urgency": (3.0, 1.0)},
        {"impact_ratio": (0.0, 1.0)},
        {"volatility_scale": 0.0},
    ):
        with pytest.raises(ConfigError):
            replace(LAWS, **change)
    table = make_table(days=20)
    with pytest.raises(ConfigError, match="do not fill"):
        RealDesks(table, table, LAWS)
    with pytest.raises(ConfigError, match="same shares"):
        RealDesks(table, make_table(shares=3), LAWS)
