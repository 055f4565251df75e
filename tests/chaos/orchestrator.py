"""A small orchestrator process for tests to kill: a worker on a database, until it is ended.

python -m tests.chaos.orchestrator DATABASE WORK_ROOT LEASE_SECONDS [--without-fence]
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from orchestration import events
from orchestration.executors.binding import TaskBinding, TaskDefinition
from orchestration.executors.process import ProcessExecutor
from orchestration.executors.supervisor import AttemptConfig
from orchestration.job_store import leases
from orchestration.job_store.ledger import JobLedger
from orchestration.worker import Worker, WorkerConfig
from tests.orchestration.policies import AT_ONCE
from utils.clock import SystemClock
from utils.logs import configure_logs
from utils.persistence.engine import open_database

KINDS = ("add_up", "effect_after")


async def main(database_path, work_root, lease_seconds):
    database = await open_database(database_path)
    registry = {
        kind: TaskBinding(
            definition=TaskDefinition(kind=kind, target=f"tests.orchestration.targets:{kind}")
        )
        for kind in KINDS
    }
    config = AttemptConfig(
        lease_seconds=lease_seconds, poll_seconds=0.05, flush_seconds=0.1, stop_grace_seconds=5
    )
    worker = Worker(
        JobLedger(database, SystemClock()),
        ProcessExecutor(),
        registry,
        work_root=Path(work_root),
        config=WorkerConfig(attempt=config),
        retry=AT_ONCE,
    )
    await worker.run()


if __name__ == "__main__":
    if "--without-fence" in sys.argv:  # the negative control
        events.prove_lease = leases.prove_lease = lambda job, fence: None
    configure_logs(json=True)
    anyio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]))
