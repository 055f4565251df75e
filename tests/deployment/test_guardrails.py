"""No answer exceeds a capacity, even by rounding; unknown ground is named."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rl.artifacts import ValidRange
from rl.deployment.guardrails import (
    find_out_of_range,
    finite_rows,
    fit_to_capacity,
    overbooked,
    project_safely,
)
from rl.domains.resource_allocation import AllocationDomain
from tests.serving import WORLD

DOMAIN = AllocationDomain(WORLD)
CAPACITY = arrays.arrays(np.float64, 2, elements=st.floats(0.0, 1e9))
ACTION = arrays.arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32))


@given(ACTION, CAPACITY)
def test_projection_is_feasible_in_any_order_of_summing(action, capacity):
    allocation = project_safely(DOMAIN, action, capacity)
    assert (allocation >= 0).all()
    for column, limit in zip(allocation.T, capacity, strict=True):
        assert all(sum(order) <= limit for order in itertools.permutations(column.tolist()))
        assert math.fsum(column) <= limit


@given(arrays.arrays(np.float32, 8, elements=st.floats(0.0, 1.0, width=32)), CAPACITY)
def test_projection_gives_away_what_the_domain_says(action, capacity):
    expected = DOMAIN.project(action, capacity.astype(np.float32))
    allocation = project_safely(DOMAIN, action, capacity)
    np.testing.assert_allclose(allocation, expected, rtol=1e-5, atol=1e-6 * capacity.max() + 1e-9)


def test_the_bare_projection_does_exceed_a_capacity_by_rounding():
    generator = np.random.default_rng(0)
    action = generator.random((1000, 8)).astype(np.float32)
    capacity = np.full((1000, 2), 80.1)
    bare = DOMAIN.project(action, capacity.astype(np.float32)).astype(np.float64)
    assert (bare.sum(1) > capacity).any()
    assert (project_safely(DOMAIN, action, capacity).sum(1) <= capacity).all()


def test_sums_do_not_depend_on_their_order():
    generator = np.random.default_rng(1)
    share = generator.dirichlet(np.ones(4), size=2000)
    capacity = generator.uniform(1.0, 100.0, (2000, 1))
    fitted = fit_to_capacity(share[..., None] * capacity[:, None], capacity)[..., 0]
    sums = np.stack(
        [
            ((fitted[:, a] + fitted[:, b]) + fitted[:, c]) + fitted[:, d]
            for a, b, c, d in itertools.permutations(range(4))
        ]
    )
    assert (sums == sums[0]).all()
    assert (sums <= capacity[:, 0]).all()


@pytest.mark.parametrize("capacity", [0.0, 5e-324, 1e-310, 1e-30, 1.0, 0.1, 1e300])
def test_extreme_capacities(capacity):
    limit = np.asarray([capacity])
    fitted = fit_to_capacity(np.full((3, 1), capacity), limit)
    assert np.isfinite(fitted).all()
    assert 0.0 <= fitted.sum() <= capacity


def test_finite_rows():
    output = np.zeros((3, 2), np.float32)
    output[1, 0], output[2, 1] = np.nan, -np.inf
    assert finite_rows(output).tolist() == [True, False, False]


def test_overbooked_names_the_resource():
    action = np.asarray([0.5, 0.3, 0.5, 0.3, 0.1, 0.2, 0.0, 0.2], np.float32)
    assert overbooked(DOMAIN, action).tolist() == [True, False]


def test_out_of_range_names_field_and_worst_value():
    valid = tuple(ValidRange(field=name, low=1.0, high=2.0) for name in ("a", "b", "c", "d"))
    values = {
        "a": [1.0, 2.000001],
        "b": [1.5, 7.0, 3.0],
        "c": [0.5, 1.0],
        "d": [],
        "e": [99.0],
    }
    found = find_out_of_range(values, valid)
    assert [(one.field, one.value) for one in found] == [("b", 7.0), ("c", 0.5)]
