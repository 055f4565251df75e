"""Which errors are tried again, and when."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from orchestration.retry import Backoff, ErrorClass, RetryPolicy
from utils.errors import ConfigError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BACKOFF = Backoff(first_delay_seconds=2, factor=3, max_delay_seconds=10, jitter_fraction=0)
POLICY = RetryPolicy(crashed=BACKOFF, hung=BACKOFF, lost=BACKOFF)


@pytest.mark.parametrize(
    ("error_class", "number", "seconds"),
    [
        (ErrorClass.CRASHED, 1, 2),
        (ErrorClass.CRASHED, 2, 6),
        (ErrorClass.CRASHED, 3, 10),
        (ErrorClass.HUNG, 1, 2),
        (ErrorClass.LOST, 1, 0),
        (ErrorClass.LOST, 2, 2),
        (ErrorClass.LOST, 3, 6),
    ],
)
def test_waiting_grows_up_to_a_limit(error_class, number, seconds):
    assert POLICY.retry_at(error_class, number, NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "error_class",
    [
        ErrorClass.CONFIG,
        ErrorClass.USER,
        ErrorClass.STORAGE,
        ErrorClass.INTERNAL,
        ErrorClass.TIMEOUT,
    ],
)
def test_errors_that_would_repeat_are_not_tried_again(error_class):
    assert POLICY.retry_at(error_class, 1, NOW) is None


def test_impossible_policies_are_refused():
    with pytest.raises(ConfigError, match="max_delay_seconds"):
        Backoff(first_delay_seconds=5, max_delay_seconds=1)
    with pytest.raises(ConfigError, match="factor"):
        Backoff(factor=0.5)
    with pytest.raises(ConfigError, match="jitter_fraction"):
        Backoff(jitter_fraction=2)


def test_each_class_of_error_has_a_field_of_its_own():
    assert {field.name for field in dataclasses.fields(RetryPolicy)} == set(ErrorClass)


def test_jobs_that_fail_together_come_back_apart_and_the_same_each_time():
    backoff = Backoff(first_delay_seconds=100, max_delay_seconds=100, jitter_fraction=0.2)
    delays = [backoff.delay_seconds(1, f"job {number}") for number in range(200)]
    assert delays == [backoff.delay_seconds(1, f"job {number}") for number in range(200)]
    assert 90 <= min(delays) < 92
    assert 108 < max(delays) <= 110
