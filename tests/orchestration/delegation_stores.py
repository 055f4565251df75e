"""A fresh database of each kind with a clock, a log of decisions and a blackboard on it."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from types import SimpleNamespace

from prometheus_client import CollectorRegistry

from orchestration.delegation.blackboard import Blackboard
from orchestration.delegation.decision_log import DecisionLog, DecisionLogConfig
from orchestration.delegation.decision_shelf import DecisionShelf
from rl.monitoring.serving_metrics import ServingMetrics
from tests.postgres import open_server_database
from utils.clock import ManualClock
from utils.persistence.decisions import DecisionRecord
from utils.persistence.engine import open_database, open_memory_database
from utils.persistence.errors import DatabaseError

START = datetime(2026, 1, 1, tzinfo=UTC)
EMPTY: list[bytes] = []
KINDS = ["memory", "file", "server"]
SMALL = DecisionLogConfig(flush_seconds=1.0, batch_rows=5, buffer_rows=12)


class Shaky:
    """A database that may be away, or fails once it has committed."""

    def __init__(self, database):
        self.database = database
        self.is_away = False
        self.fails_after_commit = False
        self.writes = 0

    @property
    def traffic(self):
        return self.database.traffic

    def fingerprint(self):
        return self.database.fingerprint()

    @contextlib.asynccontextmanager
    async def write(self):
        self.writes += 1
        if self.is_away:
            raise DatabaseError("away")
        async with self.database.write() as connection:
            yield connection
        if self.fails_after_commit:
            raise DatabaseError("the answer to the commit was lost")

    @contextlib.asynccontextmanager
    async def read(self):
        if self.is_away:
            raise DatabaseError("away")
        async with self.database.read() as connection:
            yield connection


@contextlib.asynccontextmanager
async def open_stores(kind, request, folder, *, config=SMALL):
    async with contextlib.AsyncExitStack() as stack:
        if kind == "server":
            url = request.getfixturevalue("server_url")
            database = await stack.enter_async_context(open_server_database(url, folder))
        else:
            opening = open_file(folder / "q.sqlite") if kind == "file" else None
            database = await (opening or open_memory_database())
            stack.push_async_callback(database.aclose)
        yield make_stores(database, config)


async def open_file(path):
    """Open a fresh file, migrated once per session."""
    if not EMPTY:
        await (await open_database(path)).aclose()
        EMPTY.append(path.read_bytes())
    path.write_bytes(EMPTY[0])
    return await open_database(path)


def make_stores(database, config=SMALL):
    shaky, clock, registry = Shaky(database), ManualClock(START), CollectorRegistry()
    log = DecisionLog(shaky, clock, ServingMetrics(registry), config)

    def counted(fate):
        return registry.get_sample_value(f"agent_decision_records_{fate}_total")

    return SimpleNamespace(
        database=shaky,
        clock=clock,
        log=log,
        shelf=DecisionShelf(shaky, clock, log),
        board=Blackboard(shaky, clock),
        counted=counted,
    )


def make_record(number, **changes):
    fields = {
        "id": f"{number:06d}",
        "request_id": f"r-{number}",
        "agent": "allocator",
        "version": "1",
        "request_sha256": "a" * 64,
        "latency_seconds": 0.002,
        "outcome": "decision",
        "fallback_reason": None,
        "at": START,
    }
    return DecisionRecord(**{**fields, **changes})
