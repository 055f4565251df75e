"""Runs that never reach a score are counted, and said."""

from __future__ import annotations

import math

import pytest

from rl.evaluation.statistics import StatisticsError
from rl.evaluation.steps_to_threshold import CurveOfRun, steps_to_threshold


def curve(*scores: float, every: int = 100) -> CurveOfRun:
    steps = tuple(every * (number + 1) for number in range(len(scores)))
    return CurveOfRun(env_steps=steps, scores=scores)


def test_the_first_time_counts_even_if_lost_again():
    found = steps_to_threshold([curve(0, 5, 1, 9)], 5.0)
    assert found.steps == (200,)
    assert (found.num_reached, found.num_censored, found.median.value) == (1, 0, 200)


def test_censored_runs_push_the_median_back():
    reached = [curve(9), curve(0, 9), curve(0, 0, 9)]
    assert steps_to_threshold(reached, 9).median.value == 200
    found = steps_to_threshold([*reached, curve(0, 0, 0, 0)], 9)
    assert found.steps == (100, 200, 300, None)
    assert (found.num_censored, found.median.value) == (1, 200)
    two = steps_to_threshold([*reached, curve(0, 0, 0, 0), curve(0, 0, 0, 0)], 9)
    assert two.median.value == 300


def test_a_run_that_stopped_early_is_not_taken_for_one_that_would_have_reached_it():
    """Kaplan-Meier by hand: 1 - 1/3 at 200 after one left at 100, then 1/3 * ... at 300."""
    found = steps_to_threshold([curve(0), curve(0, 9), curve(0, 0, 9), curve(0, 0, 0, 9)], 9)
    assert found.median.value == 300


@pytest.mark.parametrize("runs", [[curve(0)], [curve(0, 9), curve(0, 0), curve(0, 0, 0)]])
def test_too_few_that_reached_it_have_no_median_and_say_so(runs):
    found = steps_to_threshold(runs, 9)
    assert found.median.value is None
    assert f"of {len(runs)} runs reached it" in found.median.reason


def test_curves_that_tell_nothing_are_refused():
    with pytest.raises(StatisticsError, match="no runs"):
        steps_to_threshold([], 1.0)
    with pytest.raises(StatisticsError, match="rise"):
        CurveOfRun(env_steps=(1, 1), scores=(0.0, 0.0))
    with pytest.raises(StatisticsError, match="not a number"):
        curve(math.nan)
    with pytest.raises(StatisticsError, match="step counts"):
        CurveOfRun(env_steps=(1,), scores=())
