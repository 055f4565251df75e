"""Windows and blocks of real days: nothing invented, nothing shifted, nothing from the future."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from data.market import REGIMES, MarketRegime
from data.market_traces import (
    BlockBootstrapMarket,
    RealMarketConfig,
    TraceMarket,
    label_regimes,
)
from data.price_traces import PriceTable, load_google, load_stocks
from data.scenario import hash_scenarios
from data.traces import locate_traces
from utils.errors import ConfigError


def table(days=40, symbols=3, *, volume=True, seed=0):
    generator = np.random.default_rng(seed)
    return PriceTable(
        symbols=tuple("ABCDEFGH"[:symbols]),
        dates=np.datetime64("2020-01-01") + np.arange(days),
        price=np.exp(generator.normal(0, 0.02, (days, symbols)).cumsum(0)) * 50,
        volume=generator.integers(1, 1000, (days, symbols)).astype(float) if volume else None,
    )


CONFIG = RealMarketConfig(max_steps=6, lookback=4)


def prices_of(scenarios):
    """Return history and what follows, `[episode, time, symbol]`."""
    newest = scenarios.history[:, -1:].astype(float)
    later = newest * np.exp(scenarios.log_return.astype(float).cumsum(1))
    return np.concatenate([scenarios.history, later], axis=1)


def test_a_window_is_the_prices_of_its_days():
    real = table()
    scenarios = TraceMarket(real, CONFIG).cut(np.asarray([0, 7, 30]), np.random.default_rng(0))
    for episode, start in enumerate((0, 7, 30)):
        expected = real.price[start : start + 10]
        np.testing.assert_allclose(prices_of(scenarios)[episode], expected, rtol=1e-5)
        # Step t goes from day 3 + t to day 4 + t, and so does its volume.
        np.testing.assert_array_equal(
            scenarios.volume[episode], real.volume[start + 4 : start + 10].astype(np.float32)
        )


def test_every_window_can_be_drawn_and_no_other():
    source = TraceMarket(table(12), CONFIG)
    assert source.num_windows == 3
    drawn = source.draw(100, np.random.default_rng(0)).history[:, 0, 0]
    np.testing.assert_allclose(np.unique(drawn), np.sort(table(12).price[:3, 0]), rtol=1e-6)
    with pytest.raises(ConfigError, match="9 days do not fill a window of 10"):
        TraceMarket(table(9), CONFIG)


def test_held_out_days_are_never_trained_on():
    train, held_out = table(60).split(date(2020, 2, 10))
    seen = prices_of(TraceMarket(train, CONFIG).draw(500, np.random.default_rng(0)))[..., 0]
    unseen = prices_of(TraceMarket(held_out, CONFIG).draw(500, np.random.default_rng(0)))[..., 0]
    distance = np.abs(np.unique(seen)[:, None] / np.unique(unseen) - 1)
    assert distance.min() > 1e-5
    assert len(np.unique(seen.round(3))) == 40


def test_symbols_beyond_the_stage_are_switched_off():
    config = RealMarketConfig(max_steps=6, lookback=4, max_symbols=5, num_symbols=2)
    for source in (TraceMarket(table(), config), BlockBootstrapMarket(table(), config)):
        scenarios = source.draw(3, np.random.default_rng(0))
        assert scenarios.symbol_active.tolist() == [[1, 1, 0, 0, 0]] * 3
        for values in (scenarios.log_return, scenarios.volume, scenarios.noise):
            assert values.shape == (3, 6, 5)
            assert values[..., :2].all()
            assert not values[..., 2:].any()
        assert (scenarios.history[..., 2:] == 1).all()


def test_without_volume_it_is_the_set_one():
    config = RealMarketConfig(max_steps=6, lookback=4, unknown_volume=77.0)
    source = TraceMarket(table(volume=False), config)
    assert (source.draw(2, np.random.default_rng(0)).volume == 77).all()


def test_blocks_are_real_days_in_a_row_with_all_symbols_together():
    real = table(200)
    config = RealMarketConfig(max_steps=500, lookback=1)
    scenarios = BlockBootstrapMarket(real, config, mean_block=10).draw(40, np.random.default_rng(0))
    returns = real.log_return.astype(np.float32)
    row_of = {row.tobytes(): index for index, row in enumerate(returns)}
    rows = np.asarray([[row_of[day.tobytes()] for day in one] for one in scenarios.log_return])
    goes_on = (rows[:, 1:] - rows[:, :-1]) % len(returns) == 1
    # One in ten begins anew, one in 199 of these where it would have gone on anyway.
    assert 1 - goes_on.mean() == pytest.approx(0.1, abs=0.01)
    assert np.bincount(rows.ravel(), minlength=len(returns)).min() > 0
    expected = real.volume.astype(np.float32)[1:][rows]
    np.testing.assert_array_equal(scenarios.volume, expected)


def test_independent_days_have_no_memory():
    config = RealMarketConfig(max_steps=400, lookback=1)
    source = BlockBootstrapMarket(table(300), config, mean_block=1)
    order = source.draw(20, np.random.default_rng(0)).log_return[..., 0]
    assert abs(np.corrcoef(order[:, 1:].ravel(), order[:, :-1].ravel())[0, 1]) < 0.05


def test_a_bootstrap_goes_on_from_its_own_history():
    real = table()
    scenarios = BlockBootstrapMarket(real, CONFIG).draw(5, np.random.default_rng(0))
    np.testing.assert_allclose(scenarios.history[:, 0], real.price[-1:].repeat(5, 0), rtol=1e-6)
    moves = np.diff(np.log(scenarios.history.astype(float)), axis=1)
    known = real.log_return
    assert all(np.abs(known - move).max(1).min() < 1e-5 for move in moves.reshape(-1, 3))


@pytest.mark.parametrize("make", [TraceMarket, BlockBootstrapMarket])
def test_the_same_seed_gives_the_same_episodes(make):
    def drawn(seed):
        return hash_scenarios(make(table(), CONFIG).draw(4, np.random.default_rng(seed)))

    assert drawn(1) == drawn(1) != drawn(2)


def wave(volatility, drift):
    """Return a year of a market of exactly this annual volatility and drift."""
    signs = np.tile([1.0, -1.0], 126)
    return signs * volatility / np.sqrt(252) + drift / 252


@pytest.mark.parametrize(
    ("volatility", "drift", "expected"),
    [
        (0.15, 0.15, MarketRegime.BULL),
        (0.25, -0.15, MarketRegime.BEAR),
        (0.10, 0.0, MarketRegime.SIDEWAYS),
        (0.35, 0.5, MarketRegime.VOLATILE),
        (0.50, -0.25, MarketRegime.CRISIS),
    ],
)
def test_each_regime_is_recognised_once_it_is_known(volatility, drift, expected):
    labels = label_regimes(wave(volatility, drift), 252)
    assert (labels[:20] == REGIMES.index(MarketRegime.SIDEWAYS)).all()
    assert (labels[20::2] == REGIMES.index(expected)).all()


def test_a_label_knows_nothing_of_its_own_step_or_later():
    returns = wave(0.1, 0.0)
    changed = returns.copy()
    changed[100:] = 0.3
    before, after = label_regimes(returns, 252), label_regimes(changed, 252)
    assert (before[:101] == after[:101]).all()
    assert after[101] == REGIMES.index(MarketRegime.CRISIS)


def test_labels_travel_with_their_days():
    calm_then_wild = np.concatenate([wave(0.1, 0.0), wave(0.5, 0.0)])
    real = PriceTable(
        symbols=("A",),
        dates=np.datetime64("2020-01-01") + np.arange(505),
        price=np.exp(np.concatenate([[0.0], calm_then_wild.cumsum()]))[:, None],
    )
    labels = label_regimes(real.log_return[:, 0], 252)
    config = RealMarketConfig(max_steps=500, lookback=5)
    scenarios = TraceMarket(real, config).cut(np.asarray([0]), np.random.default_rng(0))
    np.testing.assert_array_equal(scenarios.regime[0], labels[4:])
    assert len(np.unique(labels)) > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RealMarketConfig(max_steps=0), "max_steps"),
        (lambda: RealMarketConfig(lookback=0), "lookback"),
        (lambda: RealMarketConfig(unknown_volume=-1.0), "unknown_volume"),
        (lambda: TraceMarket(table(), RealMarketConfig(max_symbols=2)), "3 symbols of the table"),
        (lambda: TraceMarket(table(), RealMarketConfig(num_symbols=4)), "num_symbols=4"),
        (lambda: TraceMarket(table(), RealMarketConfig(num_symbols=0)), "num_symbols=0"),
        (lambda: BlockBootstrapMarket(table(), CONFIG, mean_block=0.5), "mean_block is 0.5"),
        (lambda: BlockBootstrapMarket(table(1), CONFIG), "two days"),
    ],
)
def test_settings_that_make_no_episodes_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_real_prices_make_episodes():
    folder = locate_traces()
    stocks = load_stocks(folder)
    train, held_out = stocks.split(date(2018, 1, 2))
    assert held_out.dates[0] == np.datetime64("2018-01-02")
    config = RealMarketConfig(max_steps=252, lookback=252, max_symbols=24)
    drawn = TraceMarket(train, config).draw(20, np.random.default_rng(0))
    assert drawn.symbol_active.sum(1).tolist() == [20] * 20
    made = BlockBootstrapMarket(stocks, RealMarketConfig(max_steps=2000, lookback=1))
    returns = made.draw(10, np.random.default_rng(0)).log_return.reshape(-1, 20).astype(float)
    real = stocks.log_return
    np.testing.assert_allclose(np.corrcoef(returns.T), np.corrcoef(real.T), atol=0.1)
    google = load_google(folder)
    volume = TraceMarket(google, RealMarketConfig(max_steps=2334, lookback=1))
    scenarios = volume.cut(np.asarray([0]), np.random.default_rng(0))
    size = np.log(np.abs(scenarios.log_return[0, :, 0]) + 1e-5)
    assert np.corrcoef(size, np.log(scenarios.volume[0, :, 0]))[0, 1] > 0.2
