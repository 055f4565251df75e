"""Versions are set up once, drained when replaced, and gone from memory when idle."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime

import anyio
import pytest

from ai_agents.registry_store import ArtifactRecord
from ai_agents.registry_versions import MOST_SPARE, LoadedVersions, Phase

pytestmark = pytest.mark.anyio


class Agent:
    def __init__(self, record):
        self.name, self.version = record.agent, str(record.version)
        self.is_closed = False

    async def setup(self):
        await anyio.lowlevel.checkpoint()

    async def aclose(self):
        self.is_closed = True


class Shelf(LoadedVersions):
    """Makes agents of the kind above and remembers the phases that versions went through."""

    def __init__(self):
        self.loads, self.broken, self.seen = 0, set(), []
        super().__init__(self.make)

    async def make(self, record):
        self.loads += 1
        await anyio.lowlevel.checkpoint()
        if record.version in self.broken:
            raise RuntimeError("cannot be loaded")
        return Agent(record)

    def _move(self, key, place, phase):
        super()._move(key, place, phase)
        self.seen.append((key[1], phase.value))


def record(version):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return ArtifactRecord(agent="a", version=version, sha256="0", run_id=None, created_at=at)


async def test_many_who_wait_share_one_loading():
    shelf, agents = Shelf(), []

    async def ask():
        agents.append(await shelf.ready(record(1)))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    assert (shelf.loads, len(set(map(id, agents)))) == (1, 1)


async def test_a_life_has_its_phases():
    shelf = Shelf()
    assert shelf.phase("a", 1) is Phase.REGISTERED
    await shelf.ready(record(1))
    await shelf.keep("a", {1})
    async with shelf.use(shelf.find("a", 1)):
        await shelf.keep("a", {2})
    phases = [phase for _, phase in shelf.seen]
    assert phases == ["loading", "warming", "ready", "draining", "retired"]
    assert shelf.phase("a", 1) is Phase.REGISTERED


async def test_a_replaced_version_ends_what_it_has_begun():
    shelf = Shelf()
    old = await shelf.ready(record(1))
    await shelf.keep("a", {1})
    async with shelf.use(old), shelf.use(old):
        await shelf.keep("a", {2})
        async with shelf.use(old):
            pass
        assert not old.is_closed
        assert shelf.phase("a", 1) is Phase.DRAINING
    assert old.is_closed


async def test_a_draining_version_that_is_wanted_again_lives_on():
    shelf = Shelf()
    old = await shelf.ready(record(1))
    async with shelf.use(old):
        await shelf.keep("a", {2})
        await shelf.keep("a", {1})
        assert await shelf.ready(record(1)) is old
    assert not old.is_closed
    assert (shelf.loads, shelf.phase("a", 1)) == (1, Phase.READY)


async def test_a_version_that_cannot_be_loaded_leaves_no_trace():
    shelf = Shelf()
    shelf.broken = {1}
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await shelf.ready(record(1))
    assert shelf.phase("a", 1) is Phase.REGISTERED
    shelf.broken = set()
    assert (await shelf.ready(record(1))).version == "1"


async def test_versions_asked_by_number_stay_a_while():
    shelf = Shelf()
    await shelf.keep("a", {1})
    agents = {}
    for version in (1, *range(2, 4 + MOST_SPARE), 4):
        await shelf.need("a", version)
        agents[version] = await shelf.ready(record(version))
        await shelf.keep("a", {1})
    still = [version for version, agent in agents.items() if not agent.is_closed]
    assert still == [1, *range(4, 4 + MOST_SPARE)]


async def test_memory_does_not_grow_with_promotions():
    shelf, born = Shelf(), []
    for version in range(1, 101):
        agent = await shelf.ready(record(version))
        born.append(weakref.ref(agent))
        async with shelf.use(agent):
            await shelf.keep("a", {version})
    del agent
    gc.collect()
    assert sum(one() is not None for one in born) == 1
    assert list(shelf._places) == [("a", 100)]


async def test_closing_closes_all():
    shelf = Shelf()
    agents = [await shelf.ready(record(version)) for version in (1, 2)]
    await shelf.aclose()
    assert all(agent.is_closed for agent in agents)
    async with shelf.use(agents[0]) as agent:
        assert agent.is_closed  # and says so itself when it is asked
