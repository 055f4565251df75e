"""Records of decisions: written behind, no more lost than is said, outcomes told later."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DataError

from orchestration.delegation.decision_log import DecisionLogConfig
from orchestration.delegation.decision_shelf import (
    DecisionFilter,
    DecisionNotFoundError,
    OutcomeKnownError,
)
from orchestration.delegation.json_values import JsonValueError
from tests.orchestration.delegation_stores import (
    KINDS,
    START,
    make_record,
    make_stores,
    open_stores,
)
from utils.errors import ConfigError
from utils.persistence.engine import open_database, open_memory_database

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=KINDS)
async def stores(request, tmp_path):
    async with open_stores(request.param, request, tmp_path) as stores:
        yield stores


@pytest.fixture
async def quick():
    """In memory only, for what does not depend on the database."""
    database = await open_memory_database()
    yield make_stores(database)
    await database.aclose()


def add(stores, *numbers, **changes):
    for number in numbers:
        stores.log.record(make_record(number, **changes))


async def ids(stores, limit=1000, **wishes):
    return [int(one.id) for one in await stores.shelf.find(DecisionFilter(**wishes), limit=limit)]


async def test_a_record_comes_back_as_it_was(stores):
    record = make_record(1, outcome="fallback", fallback_reason="deadline", request_sha256=None)
    stores.log.record(record)
    assert await stores.shelf.find() == []
    assert await stores.log.flush()
    assert await stores.shelf.find() == [record]


async def test_many_are_written_in_batches(stores):
    add(stores, *range(12))
    await stores.log.flush()
    assert stores.database.writes == 3
    assert await ids(stores) == list(range(11, -1, -1))
    assert (stores.counted("written"), stores.counted("dropped")) == (12, 0)


async def test_decisions_are_found_by_each_wish_and_all_together(stores):
    add(stores, 1)
    add(stores, 2, agent="other", at=START + timedelta(hours=1))
    add(stores, 3, version="2", outcome="fallback", request_sha256="b" * 64)
    await stores.log.flush()
    await stores.shelf.report_outcome("000001", {"served_work": 3.5})
    assert await ids(stores) == [3, 2, 1]
    assert await ids(stores, agent="allocator") == [3, 1]
    assert await ids(stores, version="2") == [3]
    assert await ids(stores, outcome="decision") == [2, 1]
    assert await ids(stores, request_id="r-2") == [2]
    assert await ids(stores, request_sha256="b" * 64) == [3]
    assert await ids(stores, since=START + timedelta(hours=1)) == [2]
    assert await ids(stores, until=START + timedelta(hours=1)) == [3, 1]
    assert await ids(stores, is_result_known=True) == [1]
    assert await ids(stores, is_result_known=False) == [3, 2]
    assert await ids(stores, agent="allocator", outcome="decision", is_result_known=True) == [1]
    assert await ids(stores, limit=1, before="000003") == [2]
    assert await ids(stores, agent="x' OR 1=1 --") == []


async def test_an_outcome_is_told_later_and_stays(stores):
    add(stores, 1)
    stores.clock.advance(60)
    known = await stores.shelf.report_outcome("000001", {"served_work": 71.5})
    assert (known.realised, known.result_known_at) == (
        {"served_work": 71.5},
        START + timedelta(seconds=60),
    )
    stores.clock.advance(60)
    assert await stores.shelf.report_outcome("000001", {"served_work": 71.5}) == known
    with pytest.raises(OutcomeKnownError, match="it stays"):
        await stores.shelf.report_outcome("000001", {"served_work": 0.0})
    assert await stores.shelf.find() == [known]


async def test_odd_outcomes_are_refused_and_change_nothing(stores):
    add(stores, 1)
    with pytest.raises(DecisionNotFoundError, match="no decision 'nobody'"):
        await stores.shelf.report_outcome("nobody", {})
    for odd in ({"x": float("nan")}, {"x": object()}, {"x": "y" * 70_000}):
        with pytest.raises(JsonValueError, match="realised"):
            await stores.shelf.report_outcome("000001", odd)
    (record,) = await stores.shelf.find()
    assert (record.realised, record.result_known_at) == (None, None)


async def test_time_and_number_write_what_waits(quick):
    async with anyio.create_task_group() as group:
        group.start_soon(quick.log.run)
        await anyio.wait_all_tasks_blocked()
        add(quick, 1)
        await anyio.wait_all_tasks_blocked()
        assert await ids(quick) == []
        quick.clock.advance(0.9)
        await anyio.wait_all_tasks_blocked()
        assert quick.log.num_waiting == 1
        quick.clock.advance(0.1)
        await until_written(quick)
        add(quick, 2, 3, 4, 5, 6)  # a whole batch does not wait for the time
        await until_written(quick)
        add(quick, 7)
        await anyio.wait_all_tasks_blocked()
        assert quick.log.num_waiting == 1  # it rests again
        group.cancel_scope.cancel()
    assert await ids(quick) == [6, 5, 4, 3, 2, 1]


async def until_written(stores):
    while stores.log.num_waiting:  # noqa: ASYNC110  the database answers from a thread
        await anyio.sleep(0.001)


async def test_deciding_never_waits_for_the_database(quick):
    quick.database.is_away = True
    add(quick, *range(100))
    assert quick.database.writes == 0


async def test_while_the_database_is_away_the_newest_wait(stores):
    stores.database.is_away = True
    add(stores, *range(10))
    assert not await stores.log.flush()
    add(stores, *range(10, 14))
    assert [int(one.id) for one in stores.log._waiting] == list(range(2, 14))
    add(stores, *range(14, 20))
    assert not await stores.log.flush()
    assert (stores.log.num_waiting, stores.counted("dropped")) == (12, 8)
    stores.database.is_away = False
    assert await stores.log.flush()
    assert await ids(stores) == list(range(19, 7, -1))
    assert (stores.counted("written"), stores.log.num_waiting) == (12, 0)


async def test_a_commit_whose_answer_was_lost_is_not_written_twice(stores):
    add(stores, *range(3))
    stores.database.fails_after_commit = True
    assert not await stores.log.flush()
    stores.database.fails_after_commit = False
    assert await stores.log.flush()
    assert await ids(stores) == [2, 1, 0]
    assert stores.counted("dropped") == 0


async def test_the_background_goes_on_after_an_outage(quick):
    quick.database.is_away = True
    async with anyio.create_task_group() as group:
        group.start_soon(quick.log.run)
        await anyio.wait_all_tasks_blocked()
        for number in range(6):
            add(quick, *range(10 * number, 10 * number + 10))
            await anyio.wait_all_tasks_blocked()
        assert quick.database.writes == 1  # it does not try again with every record
        for _ in range(6):
            quick.clock.advance(0.5)
            await anyio.wait_all_tasks_blocked()
        assert quick.database.writes == 4
        quick.database.is_away = False
        quick.clock.advance(1)
        await until_written(quick)
        group.cancel_scope.cancel()
    assert await ids(quick) == list(range(59, 47, -1))


async def test_a_clean_end_writes_all_even_when_cancelled(stores):
    add(stores, *range(12))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await stores.log.aclose()
    assert await ids(stores) == list(range(11, -1, -1))


async def test_an_end_without_the_database_counts_what_is_lost(quick):
    add(quick, *range(7))
    quick.database.is_away = True
    await quick.log.aclose()
    assert (quick.counted("dropped"), quick.log.num_waiting) == (7, 0)


async def test_a_cancelled_flush_loses_nothing(quick):
    add(quick, *range(7))
    async with quick.database.database._writers:
        async with anyio.create_task_group() as group:
            group.start_soon(quick.log.flush)
            await anyio.wait_all_tasks_blocked()
            assert quick.log.num_waiting == 7
            group.cancel_scope.cancel()
        assert quick.log.num_waiting == 7
    await quick.log.flush()
    assert await ids(quick) == [6, 5, 4, 3, 2, 1, 0]


async def test_one_record_that_the_database_refuses_does_not_stop_the_others(quick):
    add(quick, *range(5))
    real = quick.database.write

    class Picky:
        def __init__(self, connection):
            self.connection = connection

        async def execute(self, statement, rows):
            if any(row["id"] == "000003" for row in rows):
                raise DataError("INSERT", {}, ValueError("a NUL"))
            await self.connection.execute(statement, rows)

    class Database:
        traffic = quick.database.traffic

        def write(self):
            return self

        async def __aenter__(self):
            self.inner = real()
            return Picky(await self.inner.__aenter__())

        async def __aexit__(self, *error):
            return await self.inner.__aexit__(*error)

    quick.log._database = Database()
    assert await quick.log.flush()
    assert await ids(quick) == [4, 2, 1, 0]
    assert (quick.counted("written"), quick.counted("dropped")) == (4, 1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 9), st.sampled_from(["flush", "go", "come", "lose"]))))
def test_every_record_is_written_once_dropped_or_waits(steps):
    async def play():
        database = await open_memory_database()
        stores = make_stores(database)
        made = 0
        for step in steps:
            if step == "flush":
                await stores.log.flush()
            elif step == "lose":
                stores.database.fails_after_commit = True
            elif isinstance(step, str):
                stores.database.is_away = step == "go"
                stores.database.fails_after_commit = False
            else:
                add(stores, *range(made, made + step))
                made += step
            assert stores.log.num_waiting <= 12
        stores.database.is_away = stores.database.fails_after_commit = False
        await stores.log.flush()
        written = await ids(stores)
        await database.aclose()
        assert len(written) == len(set(written))
        assert made - stores.counted("dropped") <= len(written) <= made
        assert written[: min(12, made)] == list(range(made - 1, made - 1 - min(12, made), -1))

    anyio.run(play)


KILLED = """
import anyio, os, sys
from tests.orchestration.delegation_stores import make_record, make_stores
from orchestration.delegation.decision_log import DecisionLogConfig
from utils.clock import SystemClock
from utils.persistence.engine import open_database

async def main():
    database = await open_database(sys.argv[1])
    stores = make_stores(database, DecisionLogConfig(flush_seconds=0.05))
    stores.log._clock = SystemClock()
    async with anyio.create_task_group() as group:
        group.start_soon(stores.log.run)
        for number in range(1_000_000):
            stores.log.record(make_record(number))
            if number % 10 == 9:
                await anyio.sleep(0.001)
                # the oldest record that waits: all before it are in the database
                os.write(1, f"{number + 1 - stores.log.num_waiting} {number}\\n".encode())

anyio.run(main)
"""


def test_kill_9_loses_only_what_had_not_been_flushed(tmp_path):
    path = tmp_path / "q.sqlite"
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        lines = [process.stdout.readline() for _ in range(200)]
        process.kill()
        lines += process.stdout.readlines()
    said = [[int(word) for word in line.split()] for line in lines if line.endswith(b"\n")]
    safe = max(safe for safe, _ in said)
    written = anyio.run(read_all, path)
    assert written == list(range(len(written)))
    assert len(written) >= max(safe, 1)
    assert said[-1][1] > 1000


async def read_all(path):
    database = await open_database(path)
    written = await ids(make_stores(database), limit=1_000_000)
    await database.aclose()
    return sorted(written)


@pytest.mark.parametrize(
    "wrong",
    [{"flush_seconds": 0}, {"flush_seconds": float("nan")}, {"batch_rows": 0}, {"buffer_rows": 9}],
)
def test_settings_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DecisionLogConfig(**wrong)
