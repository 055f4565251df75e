"""Indicators by hand and against their definitions written the slow way."""

from __future__ import annotations

import numpy as np
import pytest

from data.price_indicators import (
    average_exponentially,
    compute_bands,
    compute_macd,
    compute_rsi,
)


def column(*values):
    return np.asarray(values, float)[:, None]


def test_exponential_average_by_hand():
    averages = average_exponentially(column(4, 8, 0), 0.5)
    assert averages.ravel().tolist() == [4, 6, 3]


def test_rsi_with_wilders_smoothing_by_hand():
    # Moves +2, -1, +3 with two steps. First averages: U = 1, D = 1/2. Then U = (1 + 3) / 2 = 2,
    # D = (1/2 + 0) / 2 = 1/4.
    index = compute_rsi(column(10, 12, 11, 14), steps=2).ravel()
    assert index[:2].tolist() == [50, 50]
    assert index[2:] == pytest.approx([100 * 1 / 1.5, 100 * 2 / 2.25])


@pytest.mark.parametrize(("step", "expected"), [(1.0, 100.0), (-1.0, 0.0), (0.0, 50.0)])
def test_rsi_at_its_ends(step, expected):
    price = 100 + step * np.arange(40.0)[:, None]
    assert compute_rsi(price)[-1, 0] == pytest.approx(expected)


def test_rsi_of_too_short_a_past_is_neutral():
    assert (compute_rsi(column(1, 2, 3)) == 50).all()


def test_macd_by_hand():
    # Weights 1, 1/2 and 1/3: fast is the price, slow 4, 6, 3, signal 0, 2/3, -5/9.
    line, signal = compute_macd(column(4, 8, 0), steps=(1, 3, 5))
    assert line.ravel().tolist() == [0, 2, -3]
    assert signal.ravel() == pytest.approx([0, 2 / 3, 2 / 3 + (-3 - 2 / 3) / 3])


def test_bands_against_the_definition():
    values = np.random.default_rng(0).normal(500, 3, (70, 4))
    mean, deviation = compute_bands(values)
    for t in (0, 5, 19, 20, 69):
        window = values[max(0, t - 19) : t + 1]
        assert mean[t] == pytest.approx(window.mean(0))
        assert deviation[t] == pytest.approx(window.std(0), abs=1e-9)
