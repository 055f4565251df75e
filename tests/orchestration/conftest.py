"""A real database in a folder of its own, and a clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from orchestration.job_store.checkpoints import SqlCheckpoints
from orchestration.job_store.leases import SqlLeases
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.job_store.workers import SqlWorkers
from utils.clock import ManualClock
from utils.persistence.engine import open_database


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Observer:
    def __init__(self):
        self.states = []

    async def changed(self, connection, job):
        self.states.append(job.state.value)


@pytest.fixture
async def engine(tmp_path):
    """Everything of the store on one ledger."""
    database = await open_database(tmp_path / "q.sqlite")
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    observer = Observer()
    ledger = JobLedger(database, clock, observer=observer)
    yield SimpleNamespace(
        database=database,
        clock=clock,
        observer=observer,
        ledger=ledger,
        store=SqlJobStore(ledger),
        leases=SqlLeases(ledger),
        checkpoints=SqlCheckpoints(ledger),
        workers=SqlWorkers(ledger),
    )
    await database.aclose()
