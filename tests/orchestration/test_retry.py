"""Which errors are tried again, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestration.retry import ErrorClass, RetryPolicy
from utils.errors import ConfigError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = RetryPolicy(first_delay_seconds=2, factor=3, max_delay_seconds=10)


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
    "error_class", [ErrorClass.CONFIG, ErrorClass.USER, ErrorClass.STORAGE, ErrorClass.INTERNAL]
)
def test_errors_that_would_repeat_are_not_tried_again(error_class):
    assert POLICY.retry_at(error_class, 1, NOW) is None


def test_impossible_policies_are_refused():
    with pytest.raises(ConfigError, match="max_delay_seconds"):
        RetryPolicy(first_delay_seconds=5, max_delay_seconds=1)
    with pytest.raises(ConfigError, match="factor"):
        RetryPolicy(factor=0.5)
