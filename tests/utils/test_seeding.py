"""Seeds are the same everywhere and for ever, and no two uses share one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.seeding import derive_seed, make_generator


@pytest.mark.parametrize(
    ("arguments", "seed"),
    [
        ((0, "bank/train", 0), 4005613449561858716),
        ((7, "bank/train", 3), 7857572589524515262),
    ],
)
def test_seeds_never_change(arguments, seed):
    assert derive_seed(*arguments) == seed


@given(
    run=st.integers(min_value=0, max_value=2**63 - 1),
    stream=st.text(max_size=20),
    counter=st.integers(min_value=0, max_value=2**31),
)
def test_seeds_fit_every_generator(run, stream, counter):
    assert 0 <= derive_seed(run, stream, counter) < 2**63


def test_run_stream_and_counter_all_matter():
    uses = [(r, s, c) for r in range(20) for s in ("a", "b", "1/a") for c in range(20)]
    assert len({derive_seed(*use) for use in uses}) == len(uses)


def test_a_generator_repeats_its_draws_and_no_other_stream_has_them():
    draws = [make_generator(1, stream, 2).random(8) for stream in ("a", "a", "b")]
    assert np.array_equal(draws[0], draws[1])
    assert not np.isin(draws[2], draws[0]).any()
