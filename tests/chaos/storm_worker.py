"""One worker process of a storm: its store fails at times, and its fences can be switched off.

python -m tests.chaos.storm_worker ORDER, where ORDER is a `WorkerOrder` as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio
from sqlalchemy import BigInteger, Column, MetaData, String, Table, insert

from orchestration import events
from orchestration.executors.binding import NullSink, Place, TaskBinding, TaskDefinition
from orchestration.executors.process import ProcessExecutor
from orchestration.executors.supervisor import AttemptConfig
from orchestration.job_store import leases
from orchestration.job_store.ledger import JobLedger
from orchestration.jobs import Desired
from orchestration.retry import Backoff, RetryPolicy
from orchestration.worker import Worker, WorkerConfig
from utils.clock import SystemClock
from utils.logs import configure_logs
from utils.persistence.engine import Database, open_database
from utils.persistence.errors import DatabaseError

LEASE_SECONDS = 3.0
SOON = Backoff(first_delay_seconds=0.1, max_delay_seconds=0.5)
RETRY = RetryPolicy(database=SOON, crashed=SOON, hung=SOON, lost=SOON)
effect = Table(  # nothing keeps it from holding a line twice but the fence
    "storm_effect",
    MetaData(),
    Column("job_id", String(36), nullable=False),
    Column("fence", BigInteger, nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class WorkerOrder:
    """What a worker of a storm is told."""

    database: str
    work_root: str
    seed: str
    fault_rate: float
    without_fence: bool


class EffectSink(NullSink):
    """Leaves one effect inside the database with each success."""

    async def finished(self, connection, job, result):
        await connection.execute(insert(effect), {"job_id": job.id, "fence": job.fence})


def make_registry():
    """The kinds of jobs of a storm."""
    places = {"thread": Place.THREAD, "solo": Place.PROCESS, "stepwise": Place.PROCESS}
    targets = {"thread": "quick", "solo": "quick", "stepwise": "stepwise"}
    return {
        kind: TaskBinding(
            definition=TaskDefinition(
                kind=kind, target=f"tests.chaos.targets:{targets[kind]}", executor=place
            ),
            sink=EffectSink(),
        )
        for kind, place in places.items()
    }


def inject_faults(chance, rate):
    """Have some writes fail whole, and some report a failure after they were committed."""
    write = Database.write

    @contextlib.asynccontextmanager
    async def faulty(self, *, durable=False):
        fate = chance.random()
        async with write(self, durable=durable) as connection:
            yield connection
            if fate < rate:
                raise DatabaseError("injected: database or disk is full")
        if fate > 1 - rate:
            raise DatabaseError("injected: timeout, and yet it was committed")

    Database.write = faulty


def switch_fences_off():
    """Let every attempt write as if it still owned its job: the negative control."""

    async def wishes(self, fences):
        return dict.fromkeys(fences, Desired.RUN)

    events.prove_lease = leases.prove_lease = lambda job, fence: None
    leases.SqlLeases.wishes = wishes


async def open_when_there(location):
    while True:
        try:
            return await open_database(location)
        except DatabaseError:
            await anyio.sleep(0.1)


async def tell_ready(folder):
    await folder.mkdir(parents=True, exist_ok=True)
    await (folder / str(os.getpid())).touch()


async def main(order):
    database = await open_when_there(order.database)
    await tell_ready(anyio.Path(order.work_root).parent / "ready")
    inject_faults(random.Random(order.seed), order.fault_rate)
    config = AttemptConfig(
        lease_seconds=LEASE_SECONDS,
        poll_seconds=0.1,
        flush_seconds=0.3,
        stop_grace_seconds=2,
        progress_timeout_seconds=6,
    )
    worker = Worker(
        JobLedger(database, SystemClock()),
        ProcessExecutor(preload=["tests.chaos.targets"]),
        make_registry(),
        work_root=Path(order.work_root),
        config=WorkerConfig(parallel_jobs=2, parallel_threads=8, idle_seconds=0.3, attempt=config),
        retry=RETRY,
    )
    await worker.run()


if __name__ == "__main__":
    told = WorkerOrder(**json.loads(sys.argv[1]))
    if told.without_fence:
        switch_fences_off()
    configure_logs(json=True)
    anyio.run(main, told)
