"""Nested settings by dotted names: set, read, listed, and the nearest name for a wrong one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.dotted import names_of, value_at, with_values
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    most: tuple[float, ...]
    method: Literal["hard", "soft"] = "hard"


@dataclass(frozen=True, kw_only=True)
class Learner:
    rate: float = 0.1
    layers: tuple[int, ...] = (8, 8)
    limits: Limits | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    steps: int = 10
    learner: Learner | None = None
    other: Learner = field(default_factory=Learner)


def test_a_nested_config_that_was_none_begins_with_its_defaults():
    run = with_values(Run(), {"learner.rate": 0.5})
    assert run == Run(learner=Learner(rate=0.5))


def test_what_was_set_before_stays():
    run = with_values(Run(learner=Learner(layers=(4,))), {"learner.rate": 1, "steps": 3})
    assert run == Run(steps=3, learner=Learner(rate=1.0, layers=(4,)))


def test_a_config_without_defaults_is_reached_too():
    run = with_values(Run(), {"other.limits.most": [0.5], "other.limits.method": "soft"})
    assert run.other.limits == Limits(most=(0.5,), method="soft")
    both = with_values(Run(), {"learner.limits.most": [0.5]})
    assert both.learner == Learner(limits=Limits(most=(0.5,)))
    with pytest.raises(ConfigError, match="most"):
        with_values(Run(), {"other.limits.method": "soft"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learner.rat": 1}, "no setting 'learner.rat': did you mean 'learner.rate'"),
        ({"lerner.rate": 1}, "did you mean 'learner.rate'"),
        ({"learner.rate.x": 1}, "no setting 'learner.rate.x'"),
        ({"learner.zzz": 1}, "no setting 'learner.zzz'; there are learner.rate, learner.layers"),
        ({"learner.rate": "fast"}, "learner.rate wants float, not 'fast'"),
        ({"learner.rate": None}, "learner.rate wants float, not None"),
        ({"other": None}, "other wants an object"),
    ],
)
def test_a_wrong_name_or_value_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        with_values(Run(), values)


def test_every_field_is_listed():
    assert list(names_of(Learner)) == [
        *("rate", "layers", "limits", "limits.most", "limits.method")
    ]


@given(st.floats(allow_nan=False, allow_infinity=False), st.lists(st.integers(1, 512), max_size=4))
def test_what_was_set_is_read(rate, layers):
    run = with_values(Run(), {"learner.rate": rate, "other.layers": layers})
    assert value_at(run, "learner.rate") == rate
    assert value_at(run, "other.layers") == tuple(layers)
    assert value_at(run, "other.limits.most") is None
