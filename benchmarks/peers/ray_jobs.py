"""No-op tasks of Ray on one machine: single starts, and many at once. They are not durable.

Arguments: the number of tasks, the number of single starts. Needs its own environment (`ray`). The
last line is JSON.
"""

from __future__ import annotations

import json
import sys
import time

import ray


@ray.remote(num_cpus=1)
def tell_start() -> float:
    """Tell when it began."""
    return time.perf_counter()


def quantile(seconds: list[float], share: float) -> float:
    """Return a quantile.

    Args:
        seconds: Each time.
        share: Such as 0.95.
    """
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


def main() -> None:
    """Measure and print."""
    jobs, starts = int(sys.argv[1]), int(sys.argv[2])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.get([tell_start.remote() for _ in range(4)])
    seconds = []
    for _ in range(starts):
        began = time.perf_counter()
        seconds.append(ray.get(tell_start.remote()) - began)
    began = time.perf_counter()
    ray.get([tell_start.remote() for _ in range(jobs)])
    rate = jobs / (time.perf_counter() - began)
    ray.shutdown()
    start = {
        "p50_seconds": quantile(seconds, 0.5),
        "p95_seconds": quantile(seconds, 0.95),
    }
    print(json.dumps({"version": ray.__version__, "tasks_per_second": rate, "start": start}))


if __name__ == "__main__":
    main()
