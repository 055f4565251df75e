"""Intervals cover what they say, and days and seeds are resampled as wholes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from rl.evaluation.statistics import (
    StatisticsError,
    block_bootstrap_interval,
    block_bootstrap_ratio,
    clustered_t_interval,
    interquartile_mean,
)


def interval_of(values, blocks, **settings):
    return block_bootstrap_interval(values, blocks, num_resamples=2000, **settings)


def test_counts_and_mean_are_stated():
    estimate = interval_of([[1, 2, 3, 6], [3, 4, 5, 8]], ["a", "a", "b", "b"])
    assert estimate.mean == 4
    assert (estimate.num_windows, estimate.num_blocks, estimate.num_seeds) == (4, 2, 2)


def test_two_blocks_give_the_interval_of_their_means():
    estimate = interval_of([0, 2, 10, 12], [0, 0, 1, 1])
    assert (estimate.low, estimate.high) == (1, 11)


def test_windows_inside_a_block_are_never_resampled():
    noisy = [0, 100, 0, 100, 0, 100]
    estimate = interval_of(noisy, [0, 0, 1, 1, 2, 2])
    assert estimate.low == estimate.mean == estimate.high == 50


def test_one_block_and_constant_values_degenerate():
    assert interval_of([1, 5, 9], [7, 7, 7]).low == 5
    constant = interval_of([4.0] * 6, [0, 0, 1, 1, 2, 2])
    assert (constant.low, constant.high) == (4, 4)


def test_blocks_of_unequal_size_weigh_by_their_windows():
    assert interval_of([1, 1, 1, 5], [0, 0, 0, 1]).mean == 2
    extremes = interval_of([1, 1, 1, 5], [0, 0, 0, 1])
    assert (extremes.low, extremes.high) == (1, 5)


def test_seeds_are_resampled_too():
    values = np.asarray([[0.0] * 4, [2.0] * 4])
    estimate = interval_of(values, [0, 0, 1, 1])
    assert (estimate.low, estimate.mean, estimate.high) == (0, 1, 2)


def test_same_seed_same_interval_and_other_seed_another():
    values, blocks = np.random.default_rng(0).normal(size=40), np.arange(40) // 4
    assert interval_of(values, blocks, seed=1) == interval_of(values, blocks, seed=1)
    assert interval_of(values, blocks, seed=1) != interval_of(values, blocks, seed=2)


def coverage(make_interval, num_blocks, repeats=300):
    generator = np.random.default_rng(5)
    blocks = np.repeat(np.arange(num_blocks), 3)
    hits = 0
    for _ in range(repeats):
        day = generator.normal(size=num_blocks)
        values = day[blocks] + 0.3 * generator.normal(size=len(blocks))
        estimate = make_interval(values, blocks)
        hits += estimate.low <= 0 <= estimate.high
    return hits / repeats


def test_bootstrap_covers_with_many_days():
    assert 0.90 <= coverage(lambda v, b: block_bootstrap_interval(v, b, num_resamples=400), 40) < 1


def test_bootstrap_is_narrow_with_five_days_and_student_t_is_not():
    assert coverage(lambda v, b: block_bootstrap_interval(v, b, num_resamples=400), 5) < 0.9
    assert 0.92 <= coverage(clustered_t_interval, 5) < 0.99


def test_resampling_windows_instead_of_days_would_be_caught():
    everyone_for_himself = coverage(
        lambda v, _: block_bootstrap_interval(v, np.arange(len(v)), num_resamples=400), 40
    )
    assert everyone_for_himself < 0.85


def test_higher_level_is_wider():
    values, blocks = np.arange(20.0), np.arange(20) // 2
    narrow, wide = (interval_of(values, blocks, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_ratio_of_proportional_values_is_exact():
    gap = np.asarray([1.0, 2.0, 3.0, 4.0])
    estimate = block_bootstrap_ratio(0.25 * gap, gap, [0, 0, 1, 1], num_resamples=500)
    assert [estimate.mean, estimate.low, estimate.high] == pytest.approx([0.25] * 3)


def test_ratio_needs_a_positive_denominator():
    with pytest.raises(StatisticsError, match="positive"):
        block_bootstrap_ratio([1.0, 1.0], [1.0, -5.0], [0, 1], num_resamples=100)


def test_clustered_t_equals_the_one_sample_t_for_single_windows():
    values = np.random.default_rng(2).normal(size=9)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    estimate = clustered_t_interval(values, np.arange(9))
    assert [estimate.low, estimate.high] == pytest.approx([expected.low, expected.high])


def test_clustered_t_grows_with_differences_between_seeds():
    base = np.random.default_rng(2).normal(size=12)
    blocks = np.arange(12) // 2
    alike = clustered_t_interval(np.stack([base, base, base]), blocks)
    apart = clustered_t_interval(np.stack([base - 1, base, base + 1]), blocks)
    assert apart.high - apart.low > alike.high - alike.low


@pytest.mark.parametrize(
    ("values", "blocks"),
    [([], []), ([1, 2], [0]), ([[[1]]], [0]), ([1, np.nan], [0, 1]), ([1, np.inf], [0, 1])],
)
def test_bad_scores_are_refused(values, blocks):
    with pytest.raises(StatisticsError):
        interval_of(values, blocks)


def test_student_t_needs_two_days():
    with pytest.raises(StatisticsError, match="at least two"):
        clustered_t_interval([1.0, 2.0], [0, 0])


@pytest.mark.parametrize(
    ("values", "mean"), [([3], 3), ([1, 2, 9], 4), ([0, 1, 3, 100], 2), (range(8), 3.5)]
)
def test_interquartile_mean(values, mean):
    assert interquartile_mean(list(values)) == mean
