"""When a look at the database can be spared, and when it must not be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from utils.clock import ManualClock
from utils.persistence.engine import open_database, open_memory_database
from utils.persistence.polling import LONGEST_QUIET_SECONDS, Quiet

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def found(tmp_path):
    database, other = [await open_database(tmp_path / "q.sqlite") for _ in range(2)]
    await write(database)
    clock = ManualClock(NOW)
    yield Quiet(database, clock), clock, other
    await database.aclose()
    await other.aclose()


async def write(database):
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO job_limit VALUES (hex(randomblob(8)), 1)"))


async def test_it_is_quiet_until_somebody_writes(found):
    quiet, _, other = found
    assert not quiet.lasts
    quiet.begin()
    assert not quiet.lasts
    quiet.settle(None)
    assert quiet.lasts
    async with other.read() as connection:
        await connection.execute(text("SELECT count(*) FROM job_limit"))
    assert quiet.lasts
    await write(other)
    assert not quiet.lasts


async def test_what_is_written_during_a_look_is_looked_at(found):
    quiet, _, other = found
    quiet.begin()
    await write(other)
    quiet.settle(None)
    assert not quiet.lasts


async def test_a_look_that_broke_is_repeated(found):
    quiet, _, _ = found
    quiet.begin()
    quiet.settle(None)
    quiet.begin()
    assert not quiet.lasts


async def test_time_makes_things_due(found):
    quiet, clock, _ = found
    quiet.begin()
    quiet.settle(NOW + timedelta(seconds=9))
    clock.advance(8.9)
    assert quiet.lasts
    clock.advance(0.1)
    assert not quiet.lasts


async def test_it_does_not_last_for_ever(found):
    quiet, clock, _ = found
    quiet.begin()
    quiet.settle(None)
    clock.advance(LONGEST_QUIET_SECONDS - 0.1)
    assert quiet.lasts
    clock.advance(0.1)
    assert not quiet.lasts


async def test_in_memory_nothing_tells_and_every_look_is_needed():
    database = await open_memory_database()
    quiet = Quiet(database, ManualClock(NOW))
    quiet.begin()
    quiet.settle(None)
    assert not quiet.lasts
    await database.aclose()
