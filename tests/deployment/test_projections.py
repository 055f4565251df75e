"""Projections: never above a limit, feasible input as it was, nearest where that is promised."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import minimize

from rl.deployment.projections import (
    ProjectionError,
    to_budget,
    to_leverage,
    to_lots,
    to_simplex,
)

ITEMS = 5
SHAPE = (3, ITEMS)
SIGNED = st.floats(-1e12, 1e12)
POSITIVE = st.floats(0.0, 1e12)
WEIGHTS = arrays.arrays(np.float64, SHAPE, elements=SIGNED)
PRICES = arrays.arrays(np.float64, SHAPE, elements=POSITIVE)
LIMITS = arrays.arrays(np.float64, SHAPE[:1], elements=POSITIVE)
LOTS = arrays.arrays(np.float64, SHAPE[:1], elements=st.integers(1, 1000).map(float))


@given(WEIGHTS, LIMITS)
def test_simplex_is_never_exceeded_and_projecting_twice_changes_nothing(weights, total):
    found = to_simplex(weights, total)
    assert (found >= 0).all()
    assert (found.sum(-1) <= total).all()
    assert (to_simplex(found, total) == found).all()


@given(WEIGHTS, PRICES, LIMITS)
def test_budget_pays_for_what_is_left(amounts, prices, budget):
    found = to_budget(amounts, prices, budget)
    assert (found >= 0).all()
    assert ((found * prices).sum(-1) <= budget).all()
    assert (to_budget(found, prices, budget) == found).all()
    assert ((np.floor(found) * prices).sum(-1) <= budget).all()


@given(WEIGHTS, LIMITS)
def test_leverage_is_never_exceeded_and_signs_stay(weights, limit):
    found = to_leverage(weights, limit)
    assert (np.abs(found).sum(-1) <= limit).all()
    assert (found * weights >= 0).all()
    assert (to_leverage(found, limit) == found).all()


@given(WEIGHTS, LOTS, LIMITS)
def test_lots_are_whole_and_never_above_the_limit(amounts, lot, limit):
    found = to_lots(amounts, lot, limit)
    assert found.dtype == np.int64
    assert (found >= 0).all()
    assert (found % lot[:, None].astype(np.int64) == 0).all()
    assert (found.sum(-1) <= np.floor(limit)).all()
    assert (to_lots(found, lot, limit) == found).all()


@given(arrays.arrays(np.float64, SHAPE, elements=POSITIVE), PRICES)
def test_what_is_feasible_stays_bit_for_bit(amounts, prices):
    assert (to_simplex(amounts, amounts.sum(-1)) == amounts).all()
    assert (to_leverage(-amounts, amounts.sum(-1)) == -amounts).all()
    assert (to_budget(amounts, prices, (amounts * prices).sum(-1)) == amounts).all()


@settings(max_examples=25)
@given(
    arrays.arrays(np.float64, 4, elements=st.floats(-3.0, 3.0)),
    st.floats(0.1, 4.0),
)
def test_simplex_gives_the_point_that_scipy_finds(weights, total):
    oracle = minimize(
        lambda x: 0.5 * ((x - weights) ** 2).sum(),
        np.full(4, total / 8),
        jac=lambda x: x - weights,
        bounds=[(0.0, None)] * 4,
        constraints={
            "type": "ineq",
            "fun": lambda x: total - x.sum(),
            "jac": lambda x: -np.ones(4),
        },
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(to_simplex(weights, total), oracle.x, atol=1e-5)


@given(
    arrays.arrays(np.float64, 3, elements=st.floats(-2.0, 6.0)),
    st.integers(1, 2),
    st.floats(0.0, 9.0),
)
def test_lots_are_the_nearest_of_all_that_fit(amounts, lot, limit):
    counts = itertools.product(range(0, 8, lot), repeat=3)
    fitting = np.asarray([one for one in counts if sum(one) <= limit], float)
    distances = ((fitting - amounts) ** 2).sum(-1)
    found = to_lots(amounts, lot, limit)
    assert ((found - amounts) ** 2).sum() <= distances.min() + 1e-9


@settings(max_examples=300)
@given(
    arrays.arrays(np.float64, SHAPE, elements=st.floats(1.0, 1e3)),
    arrays.arrays(np.float64, SHAPE[:1], elements=st.floats(1e-3, 4.0)),
)
def test_what_is_cut_still_uses_up_the_limit(amounts, limit):
    for used in (
        to_simplex(amounts, limit).sum(-1),
        to_leverage(-amounts, limit).sum(-1) * -1,
        (to_budget(amounts, amounts, limit) * amounts).sum(-1),
    ):
        np.testing.assert_allclose(used, limit, rtol=1e-12, atol=1e-11)


def test_budget_and_leverage_keep_the_mix():
    assert to_budget([2.0, 6.0], [1.0, 1.0], 4.0) == pytest.approx([1.0, 3.0])
    assert to_leverage([2.0, -6.0], 4.0) == pytest.approx([1.0, -3.0])


def test_rows_are_independent():
    weights = np.asarray([[0.2, 0.3], [4.0, 2.0]])
    both = to_simplex(weights, np.asarray([1.0, 3.0]))
    assert (both[0] == weights[0]).all()
    assert both[1] == pytest.approx([2.5, 0.5])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_what_is_no_number_is_refused_by_name(bad):
    for call in (
        lambda: to_simplex([bad, 1.0], 1.0),
        lambda: to_budget([bad, 1.0], [1.0, 1.0], 1.0),
        lambda: to_leverage([bad, 1.0], 1.0),
    ):
        with pytest.raises(ProjectionError, match=r"weights|amounts"):
            call()
    with pytest.raises(ProjectionError, match="total"):
        to_simplex([1.0], bad)
    with pytest.raises(ProjectionError, match="prices"):
        to_budget([1.0], [bad], 1.0)


@pytest.mark.parametrize("lot", [0.0, 0.5, -1.0])
def test_a_lot_is_a_whole_number(lot):
    with pytest.raises(ProjectionError, match="lot"):
        to_lots([1.0], lot, 1.0)


def test_no_items_and_negative_limits_are_refused():
    with pytest.raises(ProjectionError, match="at least one item"):
        to_simplex([], 1.0)
    with pytest.raises(ProjectionError, match="gross_limit"):
        to_leverage([1.0], -1.0)
