"""Shared facts: changed only if nobody else did, followed without gaps, gone when they expire."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import anyio
import pytest

from orchestration.delegation.blackboard import Blackboard, FactConflictError, FactNameError
from orchestration.delegation.json_values import JsonValueError
from tests.orchestration.delegation_stores import KINDS, START, make_stores, open_stores
from utils.clock import SystemClock
from utils.persistence.engine import open_database, open_memory_database

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def stores(request, tmp_path):
    async with open_stores(request.param, request, tmp_path) as stores:
        yield stores


@pytest.fixture
async def quick():
    database = await open_memory_database()
    yield make_stores(database)
    await database.aclose()


async def put(stores, key="price", value=1, **options):
    return await stores.board.put("market", key, value, author="test", **options)


async def test_a_fact_comes_back_as_it_was(stores):
    value = {"mean": 1.5, "of": [1, None, True, "ä\u0000\ud800"], "big": 10**20}
    stated = await put(stores, value=value, ttl_seconds=60)
    assert await stores.board.get("market", "price") == stated
    assert (stated.value, stated.author, stated.at) == (value, "test", START)
    assert stated.expires_at == START + timedelta(seconds=60)
    assert (await put(stores, "nothing", None)).value is None
    assert (await stores.board.get("market", "nothing")).value is None
    assert await stores.board.get("market", "absent") is None


async def test_versions_grow_over_all_facts_and_topics(stores):
    first = await put(stores)
    other = await stores.board.put("weather", "rain", 0.2, author="test")
    again = await put(stores, value=2)
    assert first.version < other.version < again.version
    assert await stores.board.query("market") == [again]


async def test_only_the_expected_version_is_replaced(stores):
    first = await put(stores, expected_version=0)
    with pytest.raises(FactConflictError, match=f"has version {first.version}, not 0"):
        await put(stores, value=2, expected_version=0)
    second = await put(stores, value=2, expected_version=first.version)
    with pytest.raises(FactConflictError):
        await put(stores, value=3, expected_version=first.version)
    assert await stores.board.get("market", "price") == second
    with pytest.raises(FactConflictError, match="has version 0"):
        await put(stores, "absent", expected_version=second.version)


async def test_of_many_who_count_none_is_lost(stores):
    async def count():
        for _ in range(5):
            while True:
                seen = await stores.board.get("market", "count")
                value, version = (seen.value, seen.version) if seen else (0, 0)
                with contextlib.suppress(FactConflictError):
                    await put(stores, "count", value + 1, expected_version=version)
                    break

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(count)
    assert (await stores.board.get("market", "count")).value == 20


async def test_facts_expire_and_their_versions_do_not_come_back(stores):
    first = await put(stores, ttl_seconds=10)
    stores.clock.advance(9.5)
    assert await stores.board.get("market", "price") == first
    stores.clock.advance(0.5)
    assert await stores.board.get("market", "price") is None
    assert await stores.board.query("market") == []
    assert await stores.board.changes("market") == []
    with pytest.raises(FactConflictError):
        await put(stores, value=2, expected_version=first.version)
    second = await put(stores, value=2, expected_version=0)
    assert second.version > first.version
    await put(stores, "short", ttl_seconds=1)
    stores.clock.advance(1)
    await put(stores, "price", 3)
    with pytest.raises(FactConflictError):
        await put(stores, "price", 4, expected_version=first.version)


async def test_topics_are_read_page_by_page(stores):
    for key in ("b", "a", "d", "c"):
        await put(stores, key)
    assert [one.key for one in await stores.board.query("market", limit=3)] == ["a", "b", "c"]
    assert [one.key for one in await stores.board.query("market", after="c")] == ["d"]
    assert [one.key for one in await stores.board.changes("market", limit=2)] == ["b", "a"]
    assert await stores.board.query("%") == []


@pytest.mark.parametrize("odd", ["", "x" * 201, "a\nb", "a\0b", "\ud800"])
async def test_names_that_cannot_be_stored_are_refused(quick, odd):
    for names in (("topic", odd, "key"), ("key", "topic", odd)):
        with pytest.raises(FactNameError, match=names[0]):
            await quick.board.put(names[1], names[2], 1, author="test")
    with pytest.raises(FactNameError, match="author"):
        await quick.board.put("topic", "key", 1, author=odd)


@pytest.mark.parametrize("odd", [0, -1, float("nan"), float("inf"), 1e12])
async def test_odd_lives_are_refused(quick, odd):
    with pytest.raises(FactNameError, match="ttl_seconds"):
        await put(quick, ttl_seconds=odd)


async def test_values_are_checked_before_anything_changes(stores):
    stated = await put(stores)
    circle = []
    circle.append(circle)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for odd in (float("nan"), object(), {1, 2}, circle, deep):
        with pytest.raises(JsonValueError, match="market/price cannot be stored as JSON"):
            await put(stores, value=odd)
    with pytest.raises(JsonValueError, match="at most 65,536"):
        await put(stores, value="x" * 65_535)
    assert await stores.board.get("market", "price") == stated
    await put(stores, value="x" * 65_534)


class Follower:
    """Takes what a subscription gives, in a task of its own."""

    def __init__(self, board, group, *, since=0):
        self.seen = []
        self.since = since
        group.start_soon(self.follow, board)

    async def follow(self, board):
        async with contextlib.aclosing(board.subscribe("market", since=self.since)) as facts:
            async for fact in facts:
                self.seen.append((fact.key, fact.value))
                self.since = fact.version

    async def until(self, number):
        while len(self.seen) < number:  # noqa: ASYNC110  the database answers from a thread
            await anyio.sleep(0.001)


async def test_followers_see_the_past_and_then_each_change_at_once(stores):
    await put(stores, "a", 1)
    async with anyio.create_task_group() as group:
        follower = Follower(stores.board, group)
        await follower.until(1)
        await stores.board.put("weather", "rain", 1, author="test")
        for number in range(2, 5):
            await put(stores, "b", number)
            await follower.until(number)  # the clock stands still: no poll helps
        group.cancel_scope.cancel()
    assert follower.seen == [("a", 1), ("b", 2), ("b", 3), ("b", 4)]


async def test_a_follower_goes_on_where_it_was_before_a_restart(stores):
    async with anyio.create_task_group() as group:
        follower = Follower(stores.board, group)
        await put(stores, "a", 1)
        await follower.until(1)
        group.cancel_scope.cancel()
    await put(stores, "b", 2)
    await put(stores, "c", 3)
    await put(stores, "b", 4)
    async with anyio.create_task_group() as group:
        follower = Follower(Blackboard(stores.database, stores.clock), group, since=follower.since)
        await follower.until(2)
        group.cancel_scope.cancel()
    assert follower.seen == [("c", 3), ("b", 4)]  # once each, in the newest version


async def test_facts_of_another_process_come_with_the_next_poll(stores):
    other = Blackboard(stores.database, stores.clock)
    async with anyio.create_task_group() as group:
        follower = Follower(stores.board, group)
        await anyio.wait_all_tasks_blocked()
        await other.put("market", "a", 1, author="test")
        await anyio.wait_all_tasks_blocked()
        assert follower.seen == []
        while not follower.seen:
            stores.clock.advance(0.5)
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()


async def test_a_fact_that_comes_just_after_the_look_is_not_slept_over(quick):
    read = quick.database.read

    @contextlib.asynccontextmanager
    async def read_and_let_others_write():
        async with read() as connection:
            yield connection
        quick.database.read = read
        await put(quick, "a", 1)

    quick.database.read = read_and_let_others_write
    async with anyio.create_task_group() as group:
        follower = Follower(quick.board, group)
        with anyio.fail_after(120):
            await follower.until(1)  # the clock stands still: no poll helps
        group.cancel_scope.cancel()


async def test_a_follower_waits_while_the_database_is_away(quick):
    await put(quick, "a", 1)
    quick.database.is_away = True
    async with anyio.create_task_group() as group:
        follower = Follower(quick.board, group)
        await anyio.wait_all_tasks_blocked()
        quick.clock.advance(0.5)
        await anyio.wait_all_tasks_blocked()
        assert follower.seen == []
        quick.database.is_away = False
        quick.clock.advance(0.5)
        await follower.until(1)
        group.cancel_scope.cancel()


async def test_no_follower_misses_a_fact_of_writers_that_run_at_once(stores):
    stores.board = Blackboard(stores.database, SystemClock(), poll_seconds=0.01)
    others = [Blackboard(stores.database, SystemClock()) for _ in range(4)]

    async def state(board, name):
        for number in range(5):
            await board.put("market", f"{name}-{number}", number, author="test")

    async with anyio.create_task_group() as group:
        follower = Follower(stores.board, group)
        for name, board in enumerate(others):
            group.start_soon(state, board, name)
        with anyio.fail_after(120):
            await follower.until(20)
        group.cancel_scope.cancel()
    assert len({key for key, _ in follower.seen}) == 20


async def test_facts_outlive_the_process(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        for value in (None, 7):
            database = await open_database(tmp_path / "q.sqlite")
            stack.push_async_callback(database.aclose)
            board = make_stores(database).board
            before = await board.get("market", "price")
            assert value is None or before.value == 1
            stated = await board.put("market", "price", value or 1, author="test")
            assert before is None or stated.version > before.version
