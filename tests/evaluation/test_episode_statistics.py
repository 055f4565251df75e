"""Figures of played episodes, on numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from rl.evaluation.episode_statistics import (
    estimate_mean,
    jain_index,
    locate_episodes,
    mean_of_worst,
    profile_episodes,
    share_of,
    share_of_wins,
)
from rl.evaluation.resampling import Resampling
from rl.evaluation.statistics import StatisticsError

SMALL = Resampling(num_resamples=500)


def test_locations_by_hand_and_whole_blocks_drawn():
    found = locate_episodes([[0, 2, 10, 12]], [0, 0, 1, 1], SMALL)
    assert (found.mean.value, found.median.value, found.iqm.value) == (6, 6, 6)
    assert (found.mean.low, found.mean.high) == (1, 11)
    noisy = locate_episodes([[0, 100, 0, 100]], [0, 0, 1, 1], SMALL)
    assert noisy.mean.low == noisy.mean.high == 50


def test_runs_are_drawn_as_wholes_too():
    found = locate_episodes([[0.0] * 3, [2.0] * 3], [0, 1, 2], SMALL)
    assert (found.mean.low, found.mean.value, found.mean.high) == (0, 1, 2)


def test_one_block_of_one_run_has_no_interval():
    assert estimate_mean([[1.0, 3.0]], ["day", "day"], SMALL).low is None


def test_interval_of_a_mean_covers_as_often_as_it_says():
    generator, hits = np.random.default_rng(5), 0
    for trial in range(150):
        drawn = generator.normal(size=(1, 40))
        found = estimate_mean(drawn, np.arange(40), Resampling(num_resamples=400, seed=trial))
        hits += found.low <= 0.0 <= found.high
    assert 0.88 <= hits / 150 <= 0.99


def test_wins_are_counted_on_the_same_episodes():
    found = share_of_wins([[1, 5, 3, 0]], [[0, 5, 4, 0], [2, 4, 2, 1]], range(4), SMALL)
    assert found.value == pytest.approx((0.5 + 0.75 + 0.5 + 0.25) / 4)


def test_tails_by_hand():
    scores = [list(range(100))]
    assert mean_of_worst(scores, 0.05).value == pytest.approx(2.0)
    assert mean_of_worst(scores, 0.01).value == pytest.approx(0.0)
    two = [list(range(20)), list(range(10, 30))]
    assert mean_of_worst(two, 0.05).value == pytest.approx(5.0)


@pytest.mark.parametrize(("tail", "least"), [(0.05, 20), (0.01, 100)])
def test_too_few_episodes_have_no_tail_and_say_so(tail, least):
    few = mean_of_worst(np.zeros((50, least - 1)), tail)
    assert few.value is None
    assert f"play {least} or more" in few.reason
    assert mean_of_worst(np.zeros((1, least)), tail).reason == ""


@pytest.mark.parametrize("successes", [0, 1, 17, 30])
def test_wilson_as_scipy_has_it(successes):
    found = share_of([np.arange(30) < successes])
    expected = binomtest(successes, 30).proportion_ci(method="wilson")
    assert found.value == successes / 30
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_more_runs_of_the_same_episodes_are_not_more_episodes():
    one, many = share_of([[True, False]]), share_of([[True, False]] * 50)
    assert one == many


@pytest.mark.parametrize(
    ("amounts", "fair"), [([3, 3, 3], 1), ([1, 0, 0], 1 / 3), ([2, 1, 0], 0.6), ([0, 0], 1)]
)
def test_jain_by_hand(amounts, fair):
    assert jain_index(amounts) == pytest.approx(fair)


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=6), st.floats(1e-6, 1e6))
def test_jain_lies_in_its_range_and_knows_no_unit(amounts, unit):
    fair = float(jain_index(amounts))
    assert 1 / len(amounts) - 1e-9 <= fair <= 1 + 1e-9
    if max(amounts) < 1e290 and max(amounts) > 1e-290:
        assert float(jain_index(np.asarray(amounts) * unit)) == pytest.approx(fair)


def test_profile_of_episodes():
    found = profile_episodes([[1.0, 2.0, 3.0]], [0, 1, 2], [0.0, 2.0], SMALL)
    assert [share.value for share in found.shares] == pytest.approx([1.0, 1 / 3])


def test_what_does_not_fit_is_refused():
    with pytest.raises(StatisticsError, match="blocks of shape"):
        locate_episodes([[1.0, 2.0]], [0])
    with pytest.raises(StatisticsError, match="not finite"):
        mean_of_worst([[np.inf] * 20], 0.05)
    with pytest.raises(StatisticsError, match="nothing for losses"):
        jain_index([-1.0, 2.0])
