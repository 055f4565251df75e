"""No-op jobs of DBOS on SQLite, in a queue with the fastest poll that it allows, and direct.

Arguments: a folder, the number of jobs, the number of single starts. Needs its own environment
(`dbos`). The last line is JSON.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from dbos import DBOS

POLL_SECONDS = 0.001
STARTED: list[float] = []


@DBOS.workflow()
def nothing() -> None:
    """Return at once."""


@DBOS.workflow()
def tell_start() -> float:
    """Tell when it began."""
    now = time.perf_counter()
    STARTED.append(now)
    return now


def quantile(seconds: list[float], share: float) -> float:
    """Return a quantile.

    Args:
        seconds: Each time.
        share: Such as 0.95.
    """
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


def main() -> None:
    """Measure and print."""
    folder, jobs, starts = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    url = f"sqlite:///{folder / 'dbos.sqlite'}"
    config = {"name": "speed", "system_database_url": url, "log_level": "ERROR",
              "notification_listener_polling_interval_sec": 0.001}  # fmt: skip
    DBOS(config=config)
    DBOS.launch()
    nothing()
    direct_starts = []
    for _ in range(starts):
        began = time.perf_counter()
        direct_starts.append(tell_start() - began)
    began = time.perf_counter()
    for _ in range(jobs):
        nothing()
    direct = jobs / (time.perf_counter() - began)
    queue = DBOS.register_queue("speed", polling_interval_sec=POLL_SECONDS)
    queue_starts = []
    for _ in range(starts):
        began = time.perf_counter()
        queue_starts.append(queue.enqueue(tell_start).get_result() - began)
    began = time.perf_counter()
    handles = [queue.enqueue(nothing) for _ in range(jobs)]
    for handle in handles:
        handle.get_result()
    queued = jobs / (time.perf_counter() - began)
    DBOS.destroy()
    print(
        json.dumps(
            {
                "version": version("dbos"),
                "poll_seconds": POLL_SECONDS,
                "direct_jobs_per_second": direct,
                "direct_start": {
                    "p50_seconds": quantile(direct_starts, 0.5),
                    "p95_seconds": quantile(direct_starts, 0.95),
                },
                "queue_jobs_per_second": queued,
                "queue_start": {
                    "p50_seconds": quantile(queue_starts, 0.5),
                    "p95_seconds": quantile(queue_starts, 0.95),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
