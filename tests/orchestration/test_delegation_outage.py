"""A real server goes away and comes back: records and followers wait, then go on."""

from __future__ import annotations

import anyio
import anyio.to_thread
import pytest

from orchestration.delegation.blackboard import Blackboard
from orchestration.delegation.decision_log import DecisionLogConfig
from orchestration.delegation.decision_shelf import DecisionShelf
from tests.orchestration.delegation_stores import make_record, make_stores
from tests.postgres import open_server
from utils.clock import SystemClock
from utils.persistence.engine import open_database

pytestmark = pytest.mark.anyio
FAST = DecisionLogConfig(flush_seconds=0.02, buffer_rows=600)


@pytest.fixture
def server():
    with open_server() as server:
        yield server


async def test_nothing_within_the_bound_is_lost_in_an_outage(server):
    database = await open_database(server.url)
    stores = make_stores(database, FAST)
    log, clock = stores.log, SystemClock()
    log._clock = clock
    board = Blackboard(database, clock, poll_seconds=0.02)
    seen = []

    async def follow():
        async for fact in board.subscribe("t"):
            seen.append(fact.value)  # noqa: PERF401  looked at meanwhile

    async def until(is_so):
        with anyio.fail_after(60):
            while not is_so():  # noqa: ASYNC110  a server answers
                await anyio.sleep(0.01)

    async with anyio.create_task_group() as group:
        group.start_soon(log.run)
        group.start_soon(follow)
        log.record(make_record(0))
        await board.put("t", "k", 1, author="a")
        await until(lambda: seen == [1] and log.num_waiting == 0)
        await anyio.to_thread.run_sync(server.stop)
        for number in range(1, 701):  # 100 more than wait
            log.record(make_record(number))
        await anyio.sleep(0.1)
        await anyio.to_thread.run_sync(server.start)
        await until(lambda: log.num_waiting == 0)
        await board.put("t", "k", 2, author="a")
        await until(lambda: seen == [1, 2])
        group.cancel_scope.cancel()
    shelf = DecisionShelf(database, clock, log)
    written = sorted(int(one.id) for one in await shelf.find(limit=1000))
    await database.aclose()
    assert written == [0, *range(101, 701)]
    assert (stores.counted("written"), stores.counted("dropped")) == (601, 100)
