"""No-op jobs of Procrastinate on PostgreSQL: single starts, and batches with 20 at once.

Arguments: the connection string, the number of jobs, the number of single starts. Needs its own
environment (`procrastinate`). The last line is JSON.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  # the peer's own loop
import contextlib
import json
import sys
import time
from importlib.metadata import version

from procrastinate import App, PsycopgConnector

BATCH = 1000
AT_ONCE = 20


def quantile(seconds: list[float], share: float) -> float:
    """Return a quantile.

    Args:
        seconds: Each time.
        share: Such as 0.95.
    """
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


async def measure(url: str, jobs: int, starts: int) -> dict[str, object]:
    """Measure.

    Args:
        url: Connection string.
        jobs: How many no-op jobs.
        starts: How many single starts.
    """
    app = App(connector=PsycopgConnector(conninfo=url, max_size=AT_ONCE + 5))
    started: asyncio.Queue[float] = asyncio.Queue()
    left = jobs
    drained = asyncio.Event()

    @app.task(name="nothing")
    async def nothing() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            drained.set()

    @app.task(name="tell_start")
    async def tell_start() -> None:
        started.put_nowait(time.perf_counter())

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=AT_ONCE, install_signal_handlers=False)
        )
        await asyncio.sleep(1.0)
        seconds = []
        for _ in range(starts + 1):
            began = time.perf_counter()
            await tell_start.defer_async()
            seconds.append(await started.get() - began)
            await asyncio.sleep(0.02)  # its outcome is being written
        began = time.perf_counter()
        for first in range(0, jobs, BATCH):
            await nothing.batch_defer_async(*[{} for _ in range(min(BATCH, jobs - first))])
        await drained.wait()
        rate = jobs / (time.perf_counter() - began)
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
    return {
        "version": version("procrastinate"),
        "at_once": AT_ONCE,
        "jobs_per_second": rate,
        "start": {
            "p50_seconds": quantile(seconds[1:], 0.5),
            "p95_seconds": quantile(seconds[1:], 0.95),
        },
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
