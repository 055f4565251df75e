"""A worker with a folder of its own, for tests to kill and freeze; and what it runs.

python -m tests.integration.node_worker DATABASE VAR ARTIFACTS LEASE_SECONDS [RAY_ADDRESS]
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import anyio

from orchestration.executors.binding import TaskBinding, TaskDefinition
from orchestration.executors.places import SharedPlaces
from orchestration.executors.process import ProcessExecutor
from orchestration.executors.ray_executor import RayConfig, RayExecutor
from orchestration.executors.supervisor import AttemptConfig
from orchestration.job_store.ledger import JobLedger
from orchestration.worker import Worker, WorkerConfig
from tests.orchestration.policies import AT_ONCE
from utils.clock import SystemClock
from utils.logs import configure_logs
from utils.persistence import engine
from utils.persistence.engine import open_database
from utils.persistence.files import write_atomically
from utils.persistence.http_artifact_store import open_artifact_store

KIND = "add_up"


def add_up(spec, context):
    """Add 1..steps, sharing a checkpoint after each; `hold` = {step: file to wait for}."""
    store = open_artifact_store(context.artifacts, context.var / "artifacts")
    step = total = 0
    if context.resume is not None:
        step, total = map(int, store.get(context.resume["sha256"]).split())
    context.emit("began", {"step": step, "var": str(context.var), "fence": context.fence})
    while step < spec["steps"] and not context.should_stop():
        step += 1
        total += step
        content = f"{step} {total}".encode()
        path = context.work_folder / f"{step}.{context.fence}"
        write_atomically(path, content)
        context.metrics(step, {"total": total})
        context.checkpoint(path, store.put(content), step, len(content))
        context.emit("step_done", {"step": step, "fence": context.fence})
        hold = spec.get("hold", {}).get(str(step))
        while hold and not Path(hold).exists() and not context.should_stop():
            time.sleep(0.01)
    return {"total": total}


def make_registry():
    target = f"{__spec__.name if __spec__ else __name__}:{add_up.__name__}"
    return {KIND: TaskBinding(definition=TaskDefinition(kind=KIND, target=target))}


def hasten(answer_seconds):
    """Give servers up sooner than users would."""
    engine.ANSWER_SECONDS = float(answer_seconds)


async def main(database, var, artifacts, lease_seconds, ray_address=None):
    place = SharedPlaces(
        var=var, artifacts=artifacts, store=open_artifact_store(artifacts, Path(var) / "artifacts")
    )
    config = AttemptConfig(
        lease_seconds=float(lease_seconds),
        poll_seconds=0.05,
        flush_seconds=0.1,
        stop_grace_seconds=5,
    )
    is_ray = ray_address is not None
    worker = Worker(
        JobLedger(await open_database(database), SystemClock(), trusts_server_clock=True),
        RayExecutor(RayConfig(address=ray_address)) if is_ray else ProcessExecutor(),
        make_registry(),
        work_root=Path(var) / "work",
        config=WorkerConfig(attempt=config, idle_seconds=0.2),
        retry=AT_ONCE,
        shared=place,
    )
    await worker.run()


if __name__ == "__main__":
    configure_logs(json=True)
    hasten(os.environ.get("ANSWER_SECONDS", engine.ANSWER_SECONDS))
    anyio.run(main, *sys.argv[1:])
