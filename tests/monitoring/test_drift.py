"""Drift is what textbooks say it is, is seen when it is there, and not when it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from rl.monitoring.drift import (
    DriftConfig,
    DriftWatch,
    count_in_bins,
    ks_distance,
    population_stability,
)
from utils.errors import ConfigError

SMALL = DriftConfig(reference_size=100, window=100)
SAMPLE = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=60)


def test_population_stability_worked_by_hand():
    # shares 0.5, 0.3, 0.2 before and 0.2, 0.3, 0.5 now:
    # (0.2 - 0.5) ln(0.2 / 0.5) + 0 + (0.5 - 0.2) ln(0.5 / 0.2) = 0.6 ln 2.5
    assert population_stability([50, 30, 20], [2, 3, 5]) == pytest.approx(0.6 * math.log(2.5))
    # an empty bin counts as one in ten thousand
    expected = (0.0001 - 0.25) * math.log(0.0001 / 0.25) + (1.0 - 0.75) * math.log(1.0 / 0.75)
    assert population_stability([1, 3], [0, 9]) == pytest.approx(expected)


def test_bins_hold_a_tenth_each_and_stay_in_their_order():
    before, now = count_in_bins(np.arange(100.0), [-5.0, 5.0, 9.0, 99.0, 500.0], 10)
    assert before.tolist() == [10] * 10
    assert now.tolist() == [3, 0, 0, 0, 0, 0, 0, 0, 0, 2]


def test_a_value_that_many_share_is_one_bin():
    before, now = count_in_bins([0.0] * 90 + [1.0] * 10, [0.0] * 9 + [1.0], 10)
    assert before.tolist() == [0, 90, 10]
    assert population_stability(before, now) == 0.0
    before, now = count_in_bins([3.0] * 50, [3.0, 4.0, 3.0, 3.0], 10)
    assert (before.tolist(), now.tolist()) == ([0, 50, 0], [0, 3, 1])


@given(SAMPLE, SAMPLE)
def test_the_distance_is_that_of_scipy(one, other):
    with np.errstate(divide="ignore"):  # of its p-value
        expected = ks_2samp(one, other, method="asymp").statistic
    assert ks_distance(one, other) == pytest.approx(expected)


@given(SAMPLE, SAMPLE, st.integers(2, 20))
def test_stability_is_no_less_than_zero_and_zero_for_the_same(one, other, bins):
    before, now = count_in_bins(one, other, bins)
    assert (before.sum(), now.sum()) == (len(one), len(other))
    assert population_stability(before, now) >= 0
    assert population_stability(*count_in_bins(one, one, bins)) == 0


def feed(watch, rows, *, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(rows):
        calm, moved = rng.standard_normal(2)
        watch.add({"calm": calm, "moved": moved + shift})


@pytest.mark.parametrize("now", [0.0, 2.0])
def test_a_number_that_never_changed_and_now_does_has_drifted(now):
    watch = DriftWatch(config=SMALL)
    for value in [1.0] * SMALL.reference_size + [now] * SMALL.window:
        watch.add({"active": value})
    (moved,) = watch.report().drifted
    assert (moved.feature, moved.ks) == ("active", 1.0)


def test_what_moves_is_named_and_what_does_not_is_not():
    watch = DriftWatch(config=SMALL)
    feed(watch, 99)
    assert watch.reference is None
    feed(watch, 1, seed=1)
    feed(watch, 99, seed=2)
    assert watch.report() is None
    feed(watch, 1, seed=3)
    report = watch.report()
    assert report.drifted == ()
    assert report.num_requests == 100
    feed(watch, 100, shift=2.0, seed=4)
    report = watch.report()
    assert [one.feature for one in report.drifted] == ["moved"]
    assert report.score == report.drifted[0].psi > 0.25
    feed(watch, 100, seed=5)
    assert watch.report().drifted == ()  # it came back


def test_memory_is_bounded():
    watch = DriftWatch(config=DriftConfig(reference_size=50, window=50, max_features=3))
    for number in range(1000):
        watch.add({f"f{k}": number for k in range(20)})
    assert list(watch.reference) == ["f0", "f1", "f2"]
    assert all(len(sample) == 50 for sample in watch.reference.values())
    assert len(watch._window) == 50
    assert all(len(request) == 3 for request in watch._window)
    assert watch._early == []


def test_odd_numbers_are_left_out_and_rare_features_are_not_judged():
    watch = DriftWatch(config=SMALL)
    for number in range(200):
        more = {"rare": 1.0} if number < 10 else {}
        watch.add({"x": float(number % 10), "y": math.nan, "z": math.inf, **more})
    assert list(watch.reference) == ["x"]
    assert watch.report().score == 0.0


@pytest.mark.parametrize(
    "wrong",
    [{"num_bins": 1}, {"window": 10}, {"reference_size": 20_000}, {"psi_limit": 0.0},
     {"ks_limit": 1.0}, {"max_features": 0}, {"psi_limit": math.nan}],
)  # fmt: skip
def test_odd_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DriftConfig(**wrong)
