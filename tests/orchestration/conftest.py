"""Real databases, a file in a folder of its own, and a clock that stands still."""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from orchestration.job_store.checkpoints import SqlCheckpoints
from orchestration.job_store.leases import SqlLeases
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.job_store.workers import SqlWorkers
from tests.postgres import open_server_database
from utils.clock import ManualClock
from utils.persistence.engine import open_database, open_memory_database


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def logs_as_before():
    """Commands set up logging for their whole process; tests share one."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level


class Observer:
    def __init__(self):
        self.states = []

    async def changed(self, connection, job):
        self.states.append(job.state.value)


@pytest.fixture(params=["memory", "file", "server"])
async def engine(request, tmp_path):
    """Everything of the store on one ledger, on each kind of database."""
    async with contextlib.AsyncExitStack() as stack:
        database = await _open(request, stack, tmp_path)
        yield make_engine(database)


async def _open(request, stack, tmp_path):
    if request.param == "server":
        url = request.getfixturevalue("server_url")
        return await stack.enter_async_context(open_server_database(url, tmp_path))
    opening = open_database(tmp_path / "q.sqlite") if request.param == "file" else None
    database = await (opening or open_memory_database())
    stack.push_async_callback(database.aclose)
    return database


def make_engine(database, make_clock=None):
    clock = make_clock() if make_clock else ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    observer = Observer()
    ledger = JobLedger(database, clock, observer=observer)
    return SimpleNamespace(
        database=database,
        clock=clock,
        observer=observer,
        ledger=ledger,
        store=SqlJobStore(ledger),
        leases=SqlLeases(ledger),
        checkpoints=SqlCheckpoints(ledger),
        workers=SqlWorkers(ledger),
    )
