"""Readers of the outbox that remember a number lose nothing, whoever is still writing."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from tests.postgres import open_server_database
from utils.clock import SystemClock
from utils.persistence.outbox import NEWEST, add_line, settled_seq

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_a_line_that_is_still_being_written_is_not_overtaken(server_url, tmp_path):
    clock, settled = SystemClock(), []
    async with open_server_database(server_url, tmp_path) as database:

        async def look():
            settled.append(await settled_seq(database))

        async with anyio.create_task_group() as group, database.write() as early:
            await add_line(early, "early", {}, at=clock.now())
            async with database.write() as late:
                await add_line(late, "late", {}, at=clock.now())
            async with database.read() as seen:
                newest = await seen.scalar(NEWEST)
            group.start_soon(look)
            with anyio.move_on_after(0.2):
                while not settled:
                    await anyio.lowlevel.checkpoint()
            assert settled == []
        assert settled == [newest]
