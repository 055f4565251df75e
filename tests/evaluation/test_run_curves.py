"""Curves of several runs as one, against numbers worked by hand."""

from __future__ import annotations

import pytest

from rl.evaluation.run_curves import mean_interval, merge_curves
from rl.evaluation.run_report import Curve
from utils.errors import ConfigError

T_95_WITH_2_RUNS = 12.706


def curve(steps, values):
    return Curve(name="c", env_steps=tuple(steps), mean=tuple(values))


def test_mean_and_students_t_at_each_step():
    merged = merge_curves([curve([0, 10], [1.0, 2.0]), curve([0, 10], [3.0, 2.0])], name="both")
    assert merged.mean == (2.0, 2.0)
    # The standard error of 1 and 3 is 1.
    assert merged.low == pytest.approx((2 - T_95_WITH_2_RUNS, 2.0), abs=1e-3)
    assert merged.high == pytest.approx((2 + T_95_WITH_2_RUNS, 2.0), abs=1e-3)
    assert (merged.name, merged.num_runs) == ("both", 2)


def test_other_steps_are_interpolated_where_all_runs_are_known():
    merged = merge_curves([curve([0, 10, 20], [0, 10, 20]), curve([5, 15], [0, 0])], name="m")
    assert merged.env_steps == (5, 10, 15)
    assert merged.mean == (2.5, 5.0, 7.5)


def test_values_that_are_not_finite_are_bridged():
    merged = merge_curves([curve([0, 5, 10], [0, None, 10])] * 2, name="m")
    assert dict(zip(merged.env_steps, merged.mean, strict=True)) == {0: 0.0, 10: 10.0}


def test_a_single_curve_stays_as_it_is():
    one = Curve(name="c", env_steps=(0, 1), mean=(1.0, None), low=(0.0, 0.0), high=(2.0, 2.0))
    assert merge_curves([one], name="d") == Curve(
        name="d", env_steps=(0, 1), mean=(1.0, None), low=(0.0, 0.0), high=(2.0, 2.0)
    )


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        ([], "no curve"),
        ([curve([0, 1], [0, 0]), curve([5, 6], [0, 0])], "no step in common"),
        ([curve([0], [None]), curve([0], [1.0])], "no finite point"),
    ],
)
def test_what_cannot_be_merged_is_refused(curves, said):
    with pytest.raises(ConfigError, match=said):
        merge_curves(curves, name="m")


def test_one_run_has_no_interval():
    assert mean_interval([5.0]) == (5.0, None, None)
    mean, low, high = mean_interval([1.0, 3.0])
    assert (mean, low, high) == (
        2.0,
        pytest.approx(-10.706, abs=1e-3),
        pytest.approx(14.706, abs=1e-3),
    )
