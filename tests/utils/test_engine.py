"""The database: migrations match the tables, transactions hold, errors advise."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import aiosqlite
import anyio
import anyio.lowlevel
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError

from utils.errors import ConfigError
from utils.persistence import engine as engine_module
from utils.persistence.engine import open_database
from utils.persistence.errors import DatabaseError
from utils.persistence.experiments import experiment, run
from utils.persistence.jobs import job_limit
from utils.persistence.schema import metadata
from utils.persistence.upgrade import VERSION_TABLE, upgrade

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def database(tmp_path):
    database = await open_database(tmp_path / "deep" / "q.sqlite")
    yield database
    await database.aclose()


def named(name, **fields):
    return {"id": name, "name": name, "created_at": NOW, **fields}


async def names(database):
    async with database.read() as connection:
        return list(await connection.scalars(select(experiment.c.name)))


def test_migrations_make_exactly_the_tables_of_the_code(tmp_path):
    path = tmp_path / "q.sqlite"
    upgrade(path, 10)
    upgrade(path, 10)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        checks = text("SELECT sql FROM sqlite_master WHERE name = 'job'")
        assert "fence >= 0" in connection.scalar(checks)
    engine.dispose()


def test_many_programs_may_start_at_once(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: upgrade(tmp_path / "q.sqlite", 10), range(8)))


async def test_settings(database):
    expected = {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 10_000}
    async with database.read() as connection:
        for name, value in expected.items():
            assert await connection.scalar(text(f"PRAGMA {name}")) == value


async def test_write_commits_or_rolls_back_as_a_whole(database):
    async with database.write() as connection:
        await connection.execute(insert(experiment), named("kept"))
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with database.write() as connection:
            await connection.execute(insert(experiment), named("gone"))
            raise ZeroDivisionError
    assert await names(database) == ["kept"]


async def test_rows_that_break_a_rule_raise_the_drivers_error(database):
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):  # noqa: PT012
        async with database.write() as connection:
            row = {"id": "r", "experiment_id": "none", "seed": 1, "config": {}, "versions": {}}
            await connection.execute(insert(run), {**row, "state": "queued", "created_at": NOW})


async def test_cancellation_waits_for_the_end_of_a_transaction(database):
    with anyio.CancelScope() as scope:
        async with database.write() as connection:
            scope.cancel()
            await connection.execute(insert(experiment), named("whole"))
        await anyio.lowlevel.checkpoint()
        pytest.fail("the cancellation must come after the transaction")
    assert scope.cancelled_caught
    assert await names(database) == ["whole"]


async def test_read_then_write_by_many_tasks_loses_no_update(database):
    async with database.write() as connection:
        await connection.execute(insert(experiment), named("count", description="0"))

    async def add_one():
        async with database.write() as connection:
            value = int(await connection.scalar(select(experiment.c.description)))
            await connection.execute(experiment.update().values(description=str(value + 1)))

    other = await open_database(database.path)
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(add_one)
            group.start_soon(names, other)
    async with other.read() as connection:
        assert await connection.scalar(select(experiment.c.description)) == "20"
    await other.aclose()


async def test_times_come_back_as_the_same_moment(database):
    abroad = datetime(2026, 1, 1, 3, tzinfo=timezone(timedelta(hours=2)))
    async with database.write() as connection:
        await connection.execute(insert(experiment), named("a", created_at=abroad))
        naive = abroad.replace(tzinfo=None)
        with pytest.raises(StatementError, match="no time zone"):
            await connection.execute(insert(experiment), named("b", created_at=naive))
    async with database.read() as connection:
        stored = await connection.scalar(select(experiment.c.created_at))
    assert (stored, stored.tzinfo) == (abroad, UTC)


async def test_file_that_is_no_database_is_refused_untouched(tmp_path):
    path = tmp_path / "q.sqlite"
    path.write_bytes(b"my diary " * 1000)
    with pytest.raises(DatabaseError, match=r"not a database.*Move the file away"):
        await open_database(path)
    assert path.read_bytes() == b"my diary " * 1000


async def test_a_place_where_no_folder_can_be_is_refused_in_words(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot make the folder .*/file .*name one that can"):
        await open_database(tmp_path / "file" / "q.sqlite")


async def test_database_of_a_newer_program_is_refused(tmp_path):
    path = tmp_path / "q.sqlite"
    upgrade(path, 10)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    connection.close()
    with pytest.raises(DatabaseError, match=r"9999.*newer"):
        await open_database(path)


async def test_long_lock_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_SECONDS", 0.05)
    database = await open_database(tmp_path / "q.sqlite")
    blocker = sqlite3.connect(database.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match=r"Another process wrote for more than 0\.05 s"):
        async with database.write():
            pytest.fail("the lock is not ours")
    assert await names(database) == []  # readers do not wait for writers
    blocker.close()
    async with database.write() as connection:
        await connection.execute(insert(experiment), named("after"))
    await database.aclose()


async def test_full_disk_is_explained_and_nothing_is_kept(database):
    async with database.read() as connection:
        pages = await connection.scalar(text("PRAGMA page_count"))
    with pytest.raises(DatabaseError, match="Free some space"):  # noqa: PT012
        async with database.write() as connection:
            await connection.execute(text(f"PRAGMA max_page_count={pages}"))
            for number in range(100):
                row = named(f"e{number}", description="x" * 4000)
                await connection.execute(insert(experiment), row)
    assert await names(database) == []


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_nothing_is_written_to_a_file_that_is_gone(database, tmp_path, is_replaced):
    async with database.write() as connection:
        await connection.execute(insert(experiment), named("kept"))
    aside = database.path.rename(tmp_path / "aside")
    if is_replaced:
        upgrade(database.path, 10)
    with pytest.raises(DatabaseError, match="removed or replaced"):
        async with database.write() as connection:
            pytest.fail("what is written now is lost")
    with pytest.raises(DatabaseError, match="removed or replaced"):
        await names(database)
    if not is_replaced:
        aside.rename(database.path)
        assert await names(database) == ["kept"]


async def test_urls(tmp_path):
    database = await open_database(f"sqlite:///{tmp_path}/q.sqlite")
    assert database.path == tmp_path / "q.sqlite"
    await database.aclose()
    with pytest.raises(DatabaseError, match=r"mysql: write a path, sqlite:///PATH or postgresql"):
        await open_database("mysql:///x")
    with pytest.raises(DatabaseError, match="Check that the server runs"):
        await open_database("postgresql://nobody@127.0.0.1:1/x")


async def test_a_statement_is_one_visit_to_the_thread_and_a_connection_costs_none(
    database, monkeypatch
):
    """A transaction costs its begin, its statements and its commit; giving it back is free."""
    async with database.read():
        pass  # the pool has a connection now
    visits = []
    original = aiosqlite.Connection._execute

    async def counted(self, function, *arguments):
        visits.append(function)
        return await original(self, function, *arguments)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
    table = job_limit
    async with database.write() as connection:
        rows = [{"key": key, "most": 1} for key in "abc"]
        await connection.execute(insert(table), rows)
        changed = await connection.execute(update(table).where(table.c.key < "c").values(most=2))
        assert changed.rowcount == 2
        found = await connection.execute(select(table).order_by(table.c.key))
        assert [tuple(row) for row in found] == [("a", 2), ("b", 2), ("c", 1)]
    assert len(visits) == 5
    async with database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(table)) == 3
    assert len(visits) == 8
