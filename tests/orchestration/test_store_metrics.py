"""What the database tells of itself: transactions counted as they were, nothing asked of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import anyio
import pytest
from sqlalchemy import text

from orchestration.delegation.decision_log import DecisionLog
from orchestration.endpoints.store_metrics import StoreMetrics
from orchestration.events import Requested
from orchestration.job_store.group_writer import GroupWriter
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.jobs import Desired
from rl.monitoring.serving_metrics import ServingMetrics
from tests.orchestration.delegation_stores import make_record
from utils.clock import ManualClock
from utils.observability import exposition, make_registry
from utils.persistence.engine import open_database, open_memory_database
from utils.persistence.traffic import Spread

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path):
    database = await open_database(tmp_path / "q.sqlite")
    yield database
    await database.aclose()


def read(database) -> dict[str, float]:
    registry = make_registry()
    StoreMetrics(registry, database)
    ours = re.findall(
        r"^quartermaster_store_(.*) (\S+)$", exposition(registry).decode(), re.MULTILINE
    )
    return {series: float(value) for series, value in ours}


def test_a_spread_counts_each_value_below_its_bounds():
    spread = Spread((1.0, 2.0, 5.0))
    for value in (0.5, 1.0, 1.5, 5.0, 7.0):
        spread.add(value)
    assert spread.rising() == [2, 3, 4, 5]
    assert spread.total == 15.0


async def test_transactions_are_counted_by_what_they_are_for(database):
    await write_nothing(database)
    before = read(database)
    for _ in range(3):
        async with database.write() as connection:
            await connection.execute(text("SELECT 1"))
    async with database.read() as connection:
        await connection.execute(text("SELECT 1"))
    after = read(database)
    risen = {name: after[name] - before[name] for name in after}
    assert risen["write_seconds_count"] == risen['write_seconds_bucket{le="+Inf"}'] == 3
    assert 0 < risen["write_seconds_sum"] < 30
    assert risen['wait_seconds_count{access="write"}'] == 3
    assert risen['wait_seconds_count{access="read"}'] == 1
    assert risen['wait_seconds_sum{access="write"}'] <= risen["write_seconds_sum"]


async def test_who_waits_and_who_works_is_shown_while_it_lasts(database):
    assert read(database)['connections_in_use{pool="usual"}'] == 0
    async with anyio.create_task_group() as group:
        async with database.write(durable=True):
            group.start_soon(write_nothing, database)
            await anyio.wait_all_tasks_blocked()
            shown = read(database)
        assert shown['connections_in_use{pool="durable"}'] == 1
        assert shown['connections_in_use{pool="usual"}'] == 0
        assert shown['pool_connections{pool="usual"}'] >= 1
        assert shown['waiting{access="write"}'] == 1
    shown = read(database)
    assert shown['waiting{access="write"}'] == 0
    assert shown['connections_in_use{pool="durable"}'] == 0


async def write_nothing(database) -> None:
    async with database.write():
        pass


async def test_a_write_that_fails_is_counted_and_leaves_nobody_waiting(database):
    with pytest.raises(ValueError, match="no"):
        async with database.write():
            raise ValueError("no")
    await database.aclose()
    database.path.write_bytes(b"this is no database" * 500)
    database.path.with_name(f"{database.path.name}-wal").unlink(missing_ok=True)
    with pytest.raises(Exception, match="not a database"):
        async with database.write():
            pass
    shown = read(database)
    assert shown["write_seconds_count"] == 2
    assert shown['wait_seconds_count{access="write"}'] == 1
    assert shown['waiting{access="write"}'] == 0


async def test_changes_that_come_together_share_a_batch(database):
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    ledger = JobLedger(database, clock)
    jobs = [await SqlJobStore(ledger).submit("train", {}) for _ in range(5)]
    writer = GroupWriter(ledger)
    async with anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(writer.apply, job.id, Requested(desired=Desired.CANCEL))
    shown = read(database)
    assert shown['batch_rows_sum{writer="jobs"}'] == 5
    assert shown['batch_rows_count{writer="jobs"}'] < 5
    assert shown['batch_rows_count{writer="decisions"}'] == 0


async def test_records_of_decisions_that_go_together_are_a_batch(database):
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    log = DecisionLog(database, clock, ServingMetrics(make_registry()))
    await log.flush()
    assert read(database)['batch_rows_count{writer="decisions"}'] == 0
    for number in range(3):
        log.record(make_record(number))
    await log.flush()
    shown = read(database)
    assert shown['batch_rows_sum{writer="decisions"}'] == 3
    assert shown['batch_rows_count{writer="decisions"}'] == 1


async def test_the_log_of_sqlite_has_the_size_of_its_file(database):
    await write_nothing(database)
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE scratch (x)"))
    wal = database.path.with_name(f"{database.path.name}-wal")
    assert read(database)["wal_size_bytes"] == wal.stat().st_size > 0


async def test_a_database_in_memory_has_neither_pool_nor_log():
    database = await open_memory_database()
    shown = read(database)
    assert not any(re.match("wal|connections|pool", name) for name in shown)
    assert shown["write_seconds_count"] == 1  # its tables
    await database.aclose()


async def test_a_server_has_a_pool_and_no_log_of_ours(server_url):
    database = await open_database(server_url)
    async with database.write():
        shown = read(database)
    await database.aclose()
    assert shown['connections_in_use{pool="usual"}'] == 1
    assert shown['pool_connections{pool="usual"}'] == 10
    assert "wal_size_bytes" not in shown
    assert not any("durable" in name for name in shown)
