"""One suite for both registry stores, and what only the one on the database must keep."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from ai_agents.registry import AgentRegistry
from ai_agents.registry_store import InMemoryRegistryStore
from orchestration.stores.registry_store import SqlRegistryStore
from tests.serving import make_artifact
from utils.clock import ManualClock
from utils.errors import ConfigError
from utils.persistence.alias_log import AliasMovedError
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import open_database
from utils.persistence.errors import ArtifactCorruptError, ArtifactMissingError
from utils.persistence.model_log import NewArtifact, register_model
from utils.persistence.registry import alias_history, artifact

pytestmark = pytest.mark.anyio
NAME = "resource_allocator"


@pytest.fixture
async def database(tmp_path):
    database = await open_database(tmp_path / "q.sqlite")
    yield database
    await database.aclose()


@pytest.fixture
def clock():
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def sql_store(database, tmp_path, clock):
    return SqlRegistryStore(database, DirectoryArtifactStore(tmp_path / "artifacts"), clock)


@pytest.fixture(params=["memory", "sql"])
def store(request, clock):
    if request.param == "memory":
        return InMemoryRegistryStore(clock=clock)
    return request.getfixturevalue("sql_store")


async def add(store, content=b"policy", agent=NAME):
    return await store.add_version(agent, content, card={"agent": agent}, run_id=None)


async def test_nothing_is_known_at_first(store):
    assert await store.list_agents() == []
    assert await store.list_versions(NAME) == []
    assert await store.aliases(NAME) == {}


async def test_versions_count_up_per_agent(store, clock):
    first = await add(store, b"one")
    clock.advance(5)
    second = await add(store, b"two")
    other = await add(store, b"one", agent="another")
    assert (first.version, second.version, other.version) == (1, 2, 1)
    assert await store.list_versions(NAME) == [first, second]
    assert await store.list_agents() == ["another", NAME]
    assert second.created_at == clock.now()
    assert await store.load(second.sha256) == b"two"


async def test_the_same_bytes_are_the_version_they_were(store):
    first = await add(store, b"one")
    await add(store, b"two")
    assert await add(store, b"one") == first
    assert len(await store.list_versions(NAME)) == 2


async def test_an_alias_moves(store):
    await add(store, b"one")
    await add(store, b"two")
    await store.set_alias(NAME, "champion", 1, reason="first")
    await store.set_alias(NAME, "challenger", 2, reason="new")
    await store.set_alias(NAME, "champion", 2, reason="better")
    assert await store.aliases(NAME) == {"champion": 2, "challenger": 2}


async def test_an_absent_artifact_is_named(store):
    with pytest.raises(ArtifactMissingError):
        await store.load("0" * 64)


async def test_moves_are_remembered_with_what_was_before(sql_store, database, clock):
    await add(sql_store, b"one")
    await add(sql_store, b"two")
    await sql_store.set_alias(NAME, "champion", 1, reason="first")
    clock.advance(60)
    await sql_store.set_alias(NAME, "champion", 2, reason="beats the expert")
    async with database.read() as connection:
        rows = (await connection.execute(select(alias_history))).mappings().all()
    assert [(r["version"], r["previous_version"], r["reason"]) for r in rows] == [
        (1, None, "first"),
        (2, 1, "beats the expert"),
    ]
    assert (rows[1]["changed_at"] - rows[0]["changed_at"]).total_seconds() == 60


async def test_an_alias_of_an_absent_version_changes_nothing(sql_store, database):
    await add(sql_store, b"one")
    with pytest.raises(IntegrityError):
        await sql_store.set_alias(NAME, "champion", 7, reason="typo")
    assert await sql_store.aliases(NAME) == {}
    async with database.read() as connection:
        assert (await connection.execute(select(alias_history))).all() == []


async def test_two_writers_get_two_versions(sql_store):
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(add, sql_store, f"policy {number}".encode())
    versions = await sql_store.list_versions(NAME)
    assert [record.version for record in versions] == list(range(1, 9))
    assert len({record.sha256 for record in versions}) == 8


async def test_the_card_is_found_without_the_artifact(sql_store, database):
    await sql_store.add_version(NAME, b"one", card={"bound": 3.5}, run_id=None)
    async with database.read() as connection:
        row = (await connection.execute(select(artifact))).mappings().one()
    assert (row["card"], row["kind"], row["size_bytes"]) == ({"bound": 3.5}, "policy", 3)


async def test_an_unknown_run_is_refused_whole(sql_store):
    with pytest.raises(ConfigError, match="no run r-1"):
        await sql_store.add_version(NAME, b"one", card={}, run_id="r-1")
    assert await sql_store.list_agents() == []


async def test_damaged_bytes_are_not_served(sql_store, tmp_path):
    record = await add(sql_store, b"one")
    place = tmp_path / "artifacts" / record.sha256[:2] / record.sha256
    place.write_bytes(b"other")
    with pytest.raises(ArtifactCorruptError, match="does not have the hash"):
        await sql_store.load(record.sha256)


async def test_the_registry_serves_from_it_after_a_restart(sql_store, tmp_path, clock):
    registry = AgentRegistry(sql_store, clock=clock)
    await registry.register(make_artifact().to_bytes())
    await registry.promote(NAME, 1, reason="first")
    again = await open_database(tmp_path / "q.sqlite")
    store = SqlRegistryStore(again, DirectoryArtifactStore(tmp_path / "artifacts"), clock)
    agent = await AgentRegistry(store, clock=clock).resolve(NAME)
    assert (agent.version, agent.artifact.sha256) == ("1", make_artifact().sha256)
    await again.aclose()


async def test_models_that_are_registered_at_once_get_numbers_of_their_own(engine):
    versions = []

    async def register(number):
        async with engine.database.write() as connection:
            new = NewArtifact(sha256=f"{number}" * 64, size_bytes=1, card={})
            versions.append(await register_model(connection, "a", new, clock=engine.clock))

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(register, number)
    assert sorted(versions) == [1, 2, 3, 4, 5, 6]


async def test_aliases_change_places_at_once_or_not_at_all(store):
    await add(store, b"one")
    await add(store, b"two")
    await store.set_alias(NAME, "champion", 1, reason="first")
    await store.set_alias(NAME, "challenger", 2, reason="new")
    swap = {"champion": 2, "challenger": 1}
    thought = {"champion": 1, "challenger": 2}
    await store.move_aliases(NAME, swap, expected=thought, reason="better")
    assert await store.aliases(NAME) == swap
    with pytest.raises(AliasMovedError, match="champion is version 2 by now, not 1"):
        await store.move_aliases(NAME, thought, expected=thought, reason="late")
    with pytest.raises(AliasMovedError, match="shadow is version none by now, not 2"):
        await store.move_aliases(NAME, thought, expected=swap | {"shadow": 2}, reason="odd")
    assert await store.aliases(NAME) == swap
    assert await store.meanings(NAME, "champion") == [1, 2]
    assert await store.meanings(NAME, "challenger") == [2, 1]


async def test_a_swap_of_absent_versions_changes_nothing(sql_store):
    await add(sql_store, b"one")
    await sql_store.set_alias(NAME, "champion", 1, reason="first")
    with pytest.raises(IntegrityError):
        await sql_store.move_aliases(
            NAME, {"champion": 1, "challenger": 9}, expected={"champion": 1}, reason="typo"
        )
    assert await sql_store.aliases(NAME) == {"champion": 1}
    assert await sql_store.meanings(NAME, "champion") == [1]


async def test_of_two_swaps_at_once_one_happens(engine, tmp_path):
    store = SqlRegistryStore(engine.database, DirectoryArtifactStore(tmp_path / "a"), engine.clock)
    await add(store, b"one")
    await add(store, b"two")
    thought = {"champion": None, "challenger": None}
    refused = []

    async def take(version):
        moves = {"champion": version, "challenger": 3 - version}
        try:
            await store.move_aliases(NAME, moves, expected=thought, reason=f"by {version}")
        except AliasMovedError:
            refused.append(version)

    async with anyio.create_task_group() as group:
        for version in (1, 2):
            group.start_soon(take, version)
    assert len(refused) == 1
    winner = 3 - refused[0]
    assert await store.aliases(NAME) == {"champion": winner, "challenger": 3 - winner}
    assert await store.meanings(NAME, "champion") == [winner]
