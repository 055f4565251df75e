"""Indicators against numbers worked by hand and against definitions written out at length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.price_indicators import compute_bands, compute_macd, compute_rsi
from rl.domains.indicators import (
    annualise,
    begin_indicators,
    read_indicators,
    update_indicators,
)

WILDER = [
    *(44.34, 44.09, 44.15, 43.61, 44.33, 44.83, 45.10, 45.42, 45.84, 46.08, 45.89, 46.03),
    *(45.61, 46.28, 46.28, 46.00, 46.03, 46.41, 46.22, 45.64),
]
"""The first prices of the worked example of the RSI at StockCharts."""


def make_prices(length=90, seed=0):
    draw = np.random.default_rng(seed)
    return 100 * np.exp(np.cumsum(0.02 * draw.standard_normal((length, 3)), 0))


def read(prices):
    return read_indicators(begin_indicators(np.asarray(prices)))


@pytest.mark.parametrize(
    ("length", "expected"), [(15, 70.46), (16, 66.25), (17, 66.48), (18, 69.35), (20, 57.92)]
)
def test_rsi_of_the_worked_example(length, expected):
    prices = np.asarray(WILDER[:length])[:, None]
    assert read(prices).rsi[0] == pytest.approx(expected, abs=0.05)


def test_rsi_at_its_ends():
    assert read([[1.0], [2.0], [3.0]]).rsi[0] == 100
    assert read([[3.0], [2.0], [1.0]]).rsi[0] == 0
    assert read([[2.0], [2.0], [2.0]]).rsi[0] == 50
    assert read([[2.0], [3.0], [2.0]]).rsi[0] == 50


def test_macd_of_three_prices_by_hand():
    """From 10 to 12: fast 10 + 2 * 2 / 13, slow 10 + 2 * 2 / 27; signal a fifth of that."""
    one = read([[10.0], [12.0]])
    assert one.macd[0] == pytest.approx(4 / 13 - 4 / 27)
    assert one.macd_signal[0] == pytest.approx((4 / 13 - 4 / 27) / 5)
    fast, slow = 10 + 4 / 13, 10 + 4 / 27
    two = read([[10.0], [12.0], [11.0]])
    macd = (fast + 2 / 13 * (11 - fast)) - (slow + 2 / 27 * (11 - slow))
    assert two.macd[0] == pytest.approx(macd)
    assert two.macd_signal[0] == pytest.approx(0.8 * (4 / 13 - 4 / 27) / 5 + 0.2 * macd)


def test_bands_and_volatility_of_a_window():
    prices = make_prices()
    found = read(prices)
    newest, returns = prices[-20:], np.diff(np.log(prices[-21:]), axis=0)
    np.testing.assert_allclose(found.band_middle, newest.mean(0))
    np.testing.assert_allclose(found.upper_band, newest.mean(0) + 2 * newest.std(0))
    np.testing.assert_allclose(found.lower_band, newest.mean(0) - 2 * newest.std(0))
    np.testing.assert_allclose(found.volatility, np.sqrt((returns**2).mean(0)))
    np.testing.assert_allclose(found.last_return, returns[-1])


def test_smoothed_means_written_out_at_length():
    prices = make_prices()
    change = np.diff(prices, axis=0)
    rise, fall = np.maximum(change, 0), np.maximum(-change, 0)
    gain, loss = rise[:14].mean(0), fall[:14].mean(0)
    for up, down in zip(rise[14:], fall[14:], strict=True):
        gain, loss = (13 * gain + up) / 14, (13 * loss + down) / 14
    squared = np.diff(np.log(prices), axis=0) ** 2
    slow = squared[:60].mean(0)
    for one in squared[60:]:
        slow = slow + (one - slow) / 60

    def smooth(values, steps):
        weight = 2 / (steps + 1)
        weights = weight * (1 - weight) ** np.arange(len(values))[::-1]
        weights[0] /= weight
        return weights @ values

    macd = [smooth(prices[:n], 12) - smooth(prices[:n], 26) for n in range(1, len(prices) + 1)]
    found = read(prices)
    np.testing.assert_allclose(found.rsi, 100 - 100 / (1 + gain / loss))
    np.testing.assert_allclose(found.macd, macd[-1], atol=1e-9)
    np.testing.assert_allclose(found.macd_signal, smooth(np.asarray(macd), 9), atol=1e-9)
    np.testing.assert_allclose(found.slow_volatility, np.sqrt(slow))


def test_later_prices_change_no_earlier_reading():
    prices = make_prices(80)
    state = begin_indicators(prices[:70])
    for price in prices[70:]:
        state = update_indicators(state, price)
    for name, value in vars(read_indicators(state)).items():
        np.testing.assert_allclose(value, getattr(read(prices), name), err_msg=name, atol=1e-9)


def test_torch_gives_the_same():
    prices = make_prices()
    found = read_indicators(begin_indicators(torch.from_numpy(prices), torch), torch)
    for name, value in vars(read(prices)).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, atol=1e-9)


def test_one_price_is_enough():
    found = read([[5.0, 7.0]])
    assert (found.rsi == 50).all()
    assert (found.macd == 0).all()
    assert found.volatility == pytest.approx(0, abs=1e-5)
    assert annualise(0.01) == pytest.approx(0.01 * 252**0.5)


def test_readings_step_by_step_equal_those_of_a_whole_series():
    prices = make_prices()
    series = (compute_rsi(prices), *compute_macd(prices), *compute_bands(prices))
    for known in (20, 27, 60, 90):
        read = read_indicators(begin_indicators(prices[:known]))
        held = (read.rsi, read.macd, read.macd_signal, read.band_middle, read.band_deviation)
        for one, whole in zip(held, series, strict=True):
            np.testing.assert_allclose(one, whole[known - 1], rtol=0, atol=1e-9)
