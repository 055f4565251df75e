"""The short cuts give what NumPy's own functions give, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rl.domains.small_arrays import SmallArrays

values = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=1, max_dims=3, max_side=13),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)


@given(values, st.floats(-10, 10), st.none() | st.floats(10, 20))
def test_clip(array, low, high):
    found = SmallArrays.clip(array, low, high)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.clip(array, low, high))


@given(values)
def test_mean(array):
    with np.errstate(all="ignore"):
        found, expected = SmallArrays.mean(array, -1), np.mean(array, -1)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@given(values, st.integers(1, 4))
def test_broadcast_to(array, times):
    shape = (times, *array.shape)
    np.testing.assert_array_equal(
        SmallArrays.broadcast_to(array, shape), np.broadcast_to(array, shape)
    )
