"""Runs within tasks, on numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import trim_mean

from rl.evaluation.resampling import Resampling, count_blocks, count_runs, middle_means
from rl.evaluation.run_statistics import aggregate_runs, probability_of_improvement, profile_runs
from rl.evaluation.statistics import StatisticsError
from utils.errors import ConfigError

SMALL = Resampling(num_resamples=500)


def test_mean_median_and_iqm_by_hand():
    found = aggregate_runs([[1.0, 10.0, 3.0], [3.0, 20.0, 5.0]], SMALL)
    assert found.mean.value == 7.0
    assert found.median.value == 4.0  # of the task means 2, 15, 4
    assert found.iqm.value == 5.25  # 1 3 | 3 5 10 20 without one at each end: (3+3+5+10)/4


def test_two_runs_of_one_task_give_the_interval_of_their_means():
    found = aggregate_runs([[0.0], [4.0]], SMALL)
    assert (found.mean.low, found.mean.value, found.mean.high) == (0.0, 2.0, 4.0)


def test_tasks_are_strata_that_are_never_left_out():
    """Runs that agree within each task leave no doubt, however far the tasks are apart."""
    found = aggregate_runs([[0.0, 100.0], [0.0, 100.0]], SMALL)
    assert found.mean.low == found.mean.high == 50.0


def test_one_run_has_no_interval():
    found = aggregate_runs([[1.0, 2.0, 6.0]], SMALL)
    assert (found.mean.value, found.mean.low, found.mean.high) == (3.0, None, None)
    assert probability_of_improvement([[1.0]], [[0.0]]).low is None


def test_probability_of_improvement_by_hand():
    found = probability_of_improvement([[1.0], [3.0]], [[0.0], [3.0], [9.0]], SMALL)
    assert found.value == pytest.approx((1 + 0 + 0 + 1 + 0.5 + 0) / 6)
    assert found.low < found.value < found.high
    assert probability_of_improvement([[2.0], [2.0]], [[1.0], [1.0]], SMALL).low == 1.0


def test_improvement_both_ways_sums_to_one():
    generator = np.random.default_rng(0)
    ours, theirs = generator.integers(0, 4, (5, 3)), generator.integers(0, 4, (4, 3))
    there, back = (
        probability_of_improvement(*pair, SMALL).value for pair in ((ours, theirs), (theirs, ours))
    )
    assert there + back == pytest.approx(1.0)


def test_equal_numbers_of_runs_are_drawn_apart():
    """Against itself the chance is a half, but other seeds could have made it another."""
    same = [[0.0], [1.0], [2.0], [3.0]]
    found = probability_of_improvement(same, same, SMALL)
    assert found.value == 0.5
    assert found.low < 0.4
    assert found.high > 0.6


def test_profile_by_hand_counts_what_is_above():
    found = profile_runs([[0.0, 1.0], [1.0, 3.0]], [0.0, 0.5, 1.0, 3.0], SMALL)
    assert [share.value for share in found.shares] == [0.75, 0.75, 0.25, 0.0]
    assert found.shares[1].low == 0.5  # the second task is above 0.5 in both runs


@settings(max_examples=40)
@given(
    scores=st.lists(st.integers(-5, 5), min_size=1, max_size=12),
    seed=st.integers(0, 2**16),
)
def test_counted_scores_mean_what_repeated_scores_mean(scores, seed):
    values = np.asarray(scores, float)
    counts = np.random.default_rng(seed).integers(0, 3, (4, len(values)))
    counts[:, 0] += 1
    found = middle_means(values, counts)
    for row, times in enumerate(counts):
        repeated = np.repeat(values, times)
        assert found[0][row] == pytest.approx(repeated.mean())
        assert found[1][row] == pytest.approx(np.median(repeated))
        assert found[2][row] == pytest.approx(trim_mean(repeated, 0.25))


def test_every_resample_has_as_many_scores():
    assert (count_runs(5, 3, SMALL).sum(1) == 5).all()
    drawn = count_blocks(2, [0, 0, 1], SMALL)
    assert (drawn[:, :, 0] == drawn[:, :, 1]).all()


def test_same_seed_same_interval():
    scores = np.random.default_rng(1).normal(size=(5, 3))
    other = Resampling(num_resamples=500, seed=1)
    assert aggregate_runs(scores, SMALL) == aggregate_runs(scores, SMALL)
    assert aggregate_runs(scores, SMALL) != aggregate_runs(scores, other)


@pytest.mark.parametrize("scores", [[[np.nan, 1.0]], [1.0, 2.0], [[]]])
def test_scores_that_are_none_are_refused(scores):
    with pytest.raises(StatisticsError):
        aggregate_runs(scores)


def test_what_does_not_fit_is_refused():
    with pytest.raises(StatisticsError, match="give the same"):
        probability_of_improvement([[1.0, 2.0]], [[1.0]])
    with pytest.raises(StatisticsError, match="rise"):
        profile_runs([[1.0]], [1.0, 1.0])
    with pytest.raises(ConfigError, match="level"):
        Resampling(level=95)
    with pytest.raises(ConfigError, match="num_resamples"):
        Resampling(num_resamples=10)
