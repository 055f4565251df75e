"""Going back walks the versions that an alias has meant, and never to and fro."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.persistence.alias_log import version_before

EVERY = range(100)


@pytest.mark.parametrize(
    ("meanings", "before"),
    [
        ([], None),
        ([1], None),
        ([1, 1], None),
        ([1, 2], 1),
        ([1, 2, 3, 2], 1),  # went back from 3: the next one back is 1
        ([1, 2, 3, 2, 1], None),
        ([1, 2, 1, 3], 1),
        ([1, 2, 2, 3, 3], 2),
    ],
)
def test_the_version_before(meanings, before):
    assert version_before(meanings, EVERY) == before


def test_deleted_versions_are_passed_over():
    assert version_before([1, 2, 3], {1, 3}) == 1
    assert version_before([1, 2, 3, 1], {1, 3}) is None
    assert version_before([1, 2, 3], {3}) is None


@given(st.lists(st.integers(1, 5)))
def test_going_back_ends_at_the_beginning(meanings):
    steps = 0
    while (before := version_before(meanings, EVERY)) is not None:
        assert before != meanings[-1]
        meanings = [*meanings, before]
        steps += 1
        assert steps <= len(meanings)
