"""How tests have jobs tried again."""

from __future__ import annotations

from orchestration.retry import Backoff, RetryPolicy

NO_WAITING = Backoff(first_delay_seconds=0)
AT_ONCE = RetryPolicy(
    database=NO_WAITING, crashed=NO_WAITING, hung=NO_WAITING, lost=NO_WAITING, resource=NO_WAITING
)
