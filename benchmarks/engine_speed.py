"""How fast the job engine is: starts, throughput, metrics, idleness, restarts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
from sqlalchemy import func, select

from benchmarks.engine_targets import CALLED, STARTED
from orchestration.executors.binding import (
    MetricRow,
    NullSink,
    Place,
    TaskBinding,
    TaskDefinition,
)
from orchestration.executors.process import ProcessExecutor
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.jobs import Job, JobState, NewJob
from orchestration.worker import Worker, WorkerConfig
from utils.clock import SystemClock
from utils.persistence import run_log
from utils.persistence.engine import Database, open_database
from utils.persistence.experiments import metric
from utils.persistence.jobs import job

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

TICKS = os.sysconf("SC_CLK_TCK")
POLL_SECONDS = 0.02
"""Seldom enough not to disturb what is measured."""
FIGURES, STEPS = 10, 10_000
RUN = "benchmark"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """An engine with a worker that is running."""

    database: Database
    store: SqlJobStore
    worker: Worker


class MetricSink(NullSink):
    """Keeps metrics as training does."""

    async def metrics(
        self, connection: AsyncConnection, job: Job, rows: Sequence[MetricRow]
    ) -> None:
        """See `FrameSink`."""
        await run_log.add_metrics(connection, job.spec["run_id"], rows, clock=CLOCK)


CLOCK = SystemClock()


def _bind(kind: str, target: str, place: Place, sink: NullSink | None = None) -> TaskBinding:
    target = f"benchmarks.engine_targets:{target}"
    definition = TaskDefinition(kind=kind, target=target, executor=place)
    return TaskBinding(definition=definition, sink=sink or NullSink())


REGISTRY = {
    "nothing": _bind("nothing", "do_nothing", Place.THREAD),
    "start": _bind("start", "tell_start", Place.THREAD),
    "child": _bind("child", "tell_start", Place.PROCESS),
    "metrics": _bind("metrics", "report_metrics", Place.PROCESS, MetricSink()),
}


@contextlib.asynccontextmanager
async def working(
    location: Path | str, *, threads: int = 16, fsync: bool = False
) -> AsyncIterator[Bench]:
    """Open an engine and let its worker run.

    Args:
        location: Of the database.
        threads: How many short jobs the worker carries at once.
        fsync: Whether each commit to a file survives a power cut; kill -9 it survives anyway.
    """
    database = await open_database(location)
    if fsync:
        database._engine = database._durable_engine  # noqa: SLF001
    ledger = JobLedger(database, CLOCK)
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(
            ledger,
            ProcessExecutor(),
            REGISTRY,
            work_root=Path(folder),
            config=WorkerConfig(parallel_threads=threads),
        )
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            yield Bench(database=database, store=SqlJobStore(ledger), worker=worker)
            group.cancel_scope.cancel()
    await database.aclose()


async def _finish(bench: Bench, job_id: str) -> Job:
    while not (found := await bench.store.get(job_id)).state.is_terminal:  # noqa: ASYNC110
        await anyio.sleep(POLL_SECONDS)
    if found.state is not JobState.SUCCEEDED:
        raise SystemExit(f"{found.kind} ended as {found.state}: {found.error}")
    return found


async def measure_starts(location: Path | str, kind: str, repeats: int) -> dict[str, float]:
    """Time from before a submission until the target runs, one job after another.

    Args:
        location: Of the database.
        kind: "start" in a thread, "child" in a process of its own.
        repeats: How many jobs, after one that warms up.
    """
    seconds = []
    async with working(location) as bench:
        for _ in range(repeats + 1):
            began = time.perf_counter()
            submitted = await bench.store.submit(kind, {})
            bench.worker.wake()
            done = await _finish(bench, submitted.id)
            seconds.append((done.result or {})["started"] - began)
    return quantiles(seconds[1:])


async def measure_throughput(
    location: Path | str, jobs: int, *, batch: int = 1000, fsync: bool = False
) -> float:
    """Return no-op jobs per second, from the first submission until the last has succeeded.

    Args:
        location: Of the database.
        jobs: How many.
        batch: How many are submitted in a transaction.
        fsync: Whether each commit survives a power cut.
    """
    async with working(location, threads=256, fsync=fsync) as bench:
        await _finish(bench, (await bench.store.submit("nothing", {})).id)
        done = CALLED.qsize()
        began = time.perf_counter()
        for first in range(0, jobs, batch):
            await bench.store.submit_all(
                [NewJob(kind="nothing") for _ in range(min(batch, jobs - first))]
            )
            bench.worker.wake()
        while CALLED.qsize() < done + jobs:  # noqa: ASYNC110
            await anyio.sleep(0.005)
        while await _count_done(bench.database) < jobs + 1:  # noqa: ASYNC110
            await anyio.sleep(0.005)
        return jobs / (time.perf_counter() - began)


async def _count_done(database: Database) -> int:
    query = select(func.count()).select_from(job).where(job.c.state == "succeeded")
    async with database.read() as connection:
        return int(await connection.scalar(query) or 0)


async def measure_metrics(location: Path | str) -> float:
    """Return metric points per second, from a child's first report until all are rows.

    Args:
        location: Of the database.
    """
    async with working(location) as bench:
        run = run_log.NewRun(
            id=RUN, experiment="speed", seed=0, config={}, code_commit="", versions={}
        )
        async with bench.database.write() as connection:
            await run_log.create_run(connection, run, clock=CLOCK)
        spec = {"steps": STEPS, "figures": FIGURES, "run_id": RUN}
        submitted = await bench.store.submit("metrics", spec)
        done = await _finish(bench, submitted.id)
        seconds = time.perf_counter() - (done.result or {})["began"]
        async with bench.database.read() as connection:
            rows = await connection.scalar(select(func.count()).select_from(metric))
    if rows != STEPS * FIGURES:
        raise SystemExit(f"{rows} metric rows of {STEPS * FIGURES}")
    return STEPS * FIGURES / seconds


async def fill(location: Path | str, jobs: int) -> None:
    """Queue jobs and leave.

    Args:
        location: Of the database.
        jobs: How many.
    """
    database = await open_database(location)
    await SqlJobStore(JobLedger(database, CLOCK)).submit_all([NewJob(kind="start")] * jobs)
    await database.aclose()


async def measure_restart(location: Path | str) -> float:
    """Return how long it takes from opening a database until its first job runs.

    Args:
        location: Of a database that `fill` filled.
    """
    while not STARTED.empty():
        STARTED.get()
    began = time.perf_counter()
    async with working(location):
        while STARTED.empty():  # noqa: ASYNC110
            await anyio.sleep(POLL_SECONDS)
        return STARTED.get() - began


def measure_idle(var: Path, seconds: float) -> float:
    """Return the share of a core that an idle worker and its helpers use.

    Args:
        var: Folder of its state.
        seconds: How long to look.
    """
    with started("--var", str(var), "worker") as worker:
        time.sleep(5.0)  # it has started and looked for jobs
        before, began = _cpu_seconds(worker.pid), time.perf_counter()
        time.sleep(seconds)
        return (_cpu_seconds(worker.pid) - before) / (time.perf_counter() - began)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(int, fields[11:15])) / TICKS + sum(map(_cpu_seconds, map(int, children)))


def measure_help() -> float:
    """Return how long `--help` takes."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "orchestration", "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - began


def measure_serve(var: Path) -> float:
    """Return how long `serve` takes until it answers that it is ready.

    Args:
        var: Folder of its state.
    """
    began = time.perf_counter()
    with started("--var", str(var), "serve", "--port", "0") as server:
        words = server.stdout.readline() if server.stdout else ""
        url = next(word for word in words.split() if word.startswith("http://"))
        with urllib.request.urlopen(f"{url}/health/ready") as answer:  # noqa: S310
            if answer.status != 200:
                raise SystemExit(f"serve answered {answer.status}")
        return time.perf_counter() - began


@contextlib.contextmanager
def started(*words: str) -> Any:
    """Run a command of ours, and end it afterwards.

    Args:
        words: After `python -m orchestration`.
    """
    command = [sys.executable, "-u", "-m", "orchestration", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Return the median and the 95th percentile.

    Args:
        seconds: Each time.
    """
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"p50_seconds": float(p50), "p95_seconds": float(p95), "count": len(seconds)}
