"""Agents are found by name, loaded once, and followed when the champion changes."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import anyio
import pytest

from ai_agents.base_agent import InvocationContext
from ai_agents.cards import describe
from ai_agents.registry import AgentRegistry, UnknownAgentError, UnknownVersionError
from ai_agents.registry_store import InMemoryRegistryStore
from ai_agents.registry_versions import Phase
from ai_agents.resource_allocation_agent import ResourceAllocationAgent
from tests.serving import make_artifact
from utils.clock import ManualClock
from utils.errors import ConfigError
from utils.persistence.errors import ArtifactCorruptError, ArtifactMissingError, DatabaseError

pytestmark = pytest.mark.anyio
NAME = "resource_allocator"


class CountingStore(InMemoryRegistryStore):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock())
        self.loads = 0
        self.alias_reads = 0

    async def load(self, sha256):
        self.loads += 1
        await anyio.lowlevel.checkpoint()
        return await super().load(sha256)

    async def aliases(self, agent):
        self.alias_reads += 1
        return await super().aliases(agent)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry(store, clock) -> AgentRegistry:
    return AgentRegistry(store, clock=clock, alias_seconds=1.0)


async def test_a_champion_is_set_up_once(registry, store, clock):
    record = await registry.register(make_artifact().to_bytes(), run_id="run-1")
    assert (record.agent, record.version, record.run_id) == (NAME, 1, "run-1")
    await registry.promote(NAME, 1, reason="first")
    assert store.history == [(NAME, "champion", 1, "first")]
    restarted, store.loads, agents = AgentRegistry(store, clock=clock), 0, []

    async def resolve():
        agents.append(await restarted.resolve(NAME))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(resolve)
    assert len(set(map(id, agents))) == 1
    assert store.loads == 1
    assert (await agents[0].health()).status == "ready"


async def test_decisions_carry_the_version_of_the_registry(registry):
    await registry.register(make_artifact().to_bytes())
    await registry.promote(NAME, 1)
    agent = await registry.resolve(NAME)
    decision = await agent.invoke(agent.example_request(), InvocationContext(request_id="r"))
    assert decision.version == "1"


async def test_a_promotion_here_is_followed_at_once(registry):
    for seed in (1, 2):
        await registry.register(make_artifact(seed).to_bytes())
    await registry.promote(NAME, 1)
    assert (await registry.resolve(NAME)).version == "1"
    await registry.promote(NAME, 2)
    assert (await registry.resolve(NAME)).version == "2"
    assert (await registry.resolve(NAME, version=1)).version == "1"


async def test_a_promotion_elsewhere_is_followed_soon(registry, store, clock):
    for seed in (1, 2):
        await registry.register(make_artifact(seed).to_bytes())
    await registry.promote(NAME, 1)
    await registry.resolve(NAME)
    reads = store.alias_reads
    await store.set_alias(NAME, "champion", 2, reason="another process")
    clock.advance(0.5)
    assert (await registry.resolve(NAME)).version == "1"
    assert store.alias_reads == reads
    clock.advance(0.5)
    assert (await registry.resolve(NAME)).version == "2"


async def test_the_same_bytes_are_the_same_version(registry):
    first = await registry.register(make_artifact().to_bytes())
    again = await registry.register(make_artifact().to_bytes())
    assert first == again


async def test_unknown_names_list_the_known_ones(registry):
    with pytest.raises(UnknownAgentError, match="'trader'; registered: none"):
        await registry.resolve("trader")
    await registry.register(make_artifact().to_bytes())
    with pytest.raises(UnknownAgentError, match=f"'trader'; registered: {NAME}"):
        await registry.resolve("trader")
    with pytest.raises(UnknownAgentError, match="no champion; it has: none; promote"):
        await registry.resolve(NAME)
    with pytest.raises(UnknownAgentError):
        await registry.promote("trader", 1)
    with pytest.raises(UnknownVersionError, match="no version 7; it has: 1"):
        await registry.resolve(NAME, version=7)
    with pytest.raises(UnknownVersionError):
        await registry.promote(NAME, 7)


async def test_a_damaged_artifact_is_neither_registered_nor_served(registry, store):
    good = make_artifact().to_bytes()
    with pytest.raises(ArtifactCorruptError):
        await registry.register(good[:-1])
    assert await store.list_agents() == []
    record = await registry.register(good)
    store._contents[record.sha256] = make_artifact(1).to_bytes()
    with pytest.raises(ArtifactCorruptError, match="other bytes than were registered"):
        await registry.promote(NAME, 1)
    assert await store.aliases(NAME) == {}
    del store._contents[record.sha256]
    with pytest.raises(ArtifactMissingError):
        await registry.resolve(NAME, version=1)


async def test_a_domain_without_an_agent_is_kept_and_promoted_but_not_asked(registry):
    foreign = replace(make_artifact(), domain="trading")
    record = await registry.register(foreign.to_bytes())
    await registry.promote(NAME, record.version)
    assert not await registry.can_ask(record)
    assert await registry.cards() == []
    with pytest.raises(ConfigError, match="no agent for domain 'trading'"):
        await registry.resolve(NAME)


async def test_cards_are_of_champions_and_complete(registry):
    assert await registry.cards() == []
    await registry.register(make_artifact().to_bytes())
    assert await registry.cards() == []
    await registry.promote(NAME, 1)
    (card,) = await registry.cards()
    assert (card.name, card.version) == (NAME, "1")
    assert card.artifact_sha256 == make_artifact().sha256
    assert card.gap_closed_fraction == pytest.approx(0.25)
    assert card.fallback_expert == "urgent_value"
    assert card.model["evaluation"]["kpi_low"] == 98.0
    services = card.request_schema["$defs"]["ServiceState"]["properties"]
    assert all("description" in one for one in services.values())
    assert card.request_schema["additionalProperties"] is False
    agent = await registry.resolve(NAME)
    request = agent.parse(card.examples[0])
    assert not (await agent.invoke(request, InvocationContext(request_id="r"))).fallback_used


async def test_an_agent_that_cannot_be_loaded_does_not_hide_the_others(registry, store):
    artifact = make_artifact()
    for name in ("a", "b", "c"):
        card = replace(artifact.card, agent=name)
        await registry.register(artifact.with_card(card).to_bytes())
        await store.set_alias(name, "champion", 1, reason="")
    damaged = (await store.list_versions("b"))[0].sha256
    store._contents[damaged] = store._contents[damaged][:-1]
    assert [card.name for card in await registry.cards()] == ["a", "c"]
    del store._contents[damaged]
    assert [card.name for card in await registry.cards()] == ["a", "c"]
    with pytest.raises(ArtifactMissingError):
        await registry.resolve("b")


async def test_closing_closes_every_agent(registry):
    await registry.register(make_artifact().to_bytes())
    await registry.promote(NAME, 1)
    agent = await registry.resolve(NAME)
    await registry.aclose()
    assert (await agent.health()).status == "closed"
    assert (await (await registry.resolve(NAME)).health()).status == "ready"


def test_a_card_can_be_written_without_a_registry():
    card = describe(ResourceAllocationAgent(make_artifact()))
    assert card.model_validate_json(card.model_dump_json()) == card


@pytest.fixture
async def two(registry):
    """Version 1 is champion and in use, version 2 is registered."""
    for seed in (1, 2):
        await registry.register(make_artifact(seed).to_bytes())
    await registry.promote(NAME, 1)
    return registry


async def test_a_replaced_version_ends_its_requests_and_is_closed(two):
    async with two.lease(NAME) as old:
        await two.promote(NAME, 2)
        assert two.phase(NAME, 1) is Phase.DRAINING
        request = old.example_request()
        assert (await old.invoke(request, InvocationContext(request_id="r"))).version == "1"
        async with two.lease(NAME) as new:
            assert new.version == "2"
    assert (await old.health()).status == "closed"
    assert (two.phase(NAME, 1), two.phase(NAME, 2)) == (Phase.REGISTERED, Phase.READY)


async def test_versions_that_an_alias_means_stay(two, store, clock):
    await two.promote(NAME, 1, alias="shadow")
    await two.promote(NAME, 2)
    assert (two.phase(NAME, 1), two.known_version(NAME, "shadow")) == (Phase.READY, 1)


async def test_a_version_that_cannot_be_loaded_changes_nothing(two, store, clock):
    record = (await store.list_versions(NAME))[1]
    good = store._contents[record.sha256]
    store._contents[record.sha256] = b"damaged"
    with pytest.raises(ArtifactCorruptError):
        await two.promote(NAME, 2)
    assert (await two.resolve(NAME)).version == "1"
    await store.set_alias(NAME, "champion", 2, reason="another process, which has it whole")
    clock.advance(2)
    assert (await two.resolve(NAME)).version == "1"
    store._contents[record.sha256] = good
    clock.advance(2)
    assert (await two.resolve(NAME)).version == "2"


async def test_others_go_on_while_one_loads_what_is_new(two, store, clock):
    await two.resolve(NAME)
    await store.set_alias(NAME, "champion", 2, reason="another process")
    clock.advance(2)
    seen = []

    async def ask():
        seen.append((await two.resolve(NAME)).version)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
    assert seen == ["1", "1", "2"]


async def test_the_last_known_version_answers_while_the_store_is_away(two, store, clock):
    await two.resolve(NAME)
    working = store.aliases

    async def away(agent):
        raise DatabaseError("away")

    store.aliases = away
    clock.advance(2)
    assert (await two.resolve(NAME)).version == "1"
    with pytest.raises(DatabaseError):
        await two.resolve(NAME, alias="shadow")
    store.aliases = working
    await store.set_alias(NAME, "champion", 2, reason="another process")
    clock.advance(2)
    assert (await two.resolve(NAME)).version == "2"


async def test_what_was_read_before_our_own_move_does_not_undo_it(two, store, clock):
    await two.resolve(NAME)
    working, told = store.list_versions, []
    two.subscribe(lambda *what: told.append(what))

    async def late(agent):
        store.list_versions = working
        await two.promote(NAME, 2)
        return await working(agent)

    store.list_versions = late  # the aliases were read, the promotion comes in between
    clock.advance(2)
    await two.resolve(NAME)
    assert (await two.resolve(NAME)).version == "2"
    assert told == [(NAME, "champion", 2)]


async def test_a_hundred_promotions_leave_one_version_in_memory(registry):
    for seed in range(2):
        await registry.register(make_artifact(seed).to_bytes())
    agents = []
    for number in range(100):
        await registry.promote(NAME, 1 + number % 2)
        async with registry.lease(NAME) as agent:
            agents.append(weakref.ref(agent))
    del agent
    gc.collect()
    assert sum(one() is not None for one in agents) == 1


async def test_in_the_background_no_request_waits_for_the_store(two, store, clock):
    await two.resolve(NAME)
    async with anyio.create_task_group() as group:
        group.start_soon(two.run)
        await anyio.wait_all_tasks_blocked()
        reads = store.alias_reads
        await store.set_alias(NAME, "champion", 2, reason="another process")
        clock.advance(0.9)
        assert (await two.resolve(NAME)).version == "1"
        clock.advance(0.2)
        assert (await two.resolve(NAME)).version == "1"  # asked before the background has looked
        await anyio.wait_all_tasks_blocked()
        assert (await two.resolve(NAME)).version == "2"
        assert store.alias_reads == reads + 1
        store.list_versions = None  # whatever breaks, the next look is another chance
        clock.advance(1.1)
        await anyio.wait_all_tasks_blocked()
        del store.list_versions
        await store.set_alias(NAME, "champion", 1, reason="another process")
        clock.advance(1.1)
        await anyio.wait_all_tasks_blocked()
        assert (await two.resolve(NAME)).version == "1"
        group.cancel_scope.cancel()
    clock.advance(1.1)
    await store.set_alias(NAME, "champion", 2, reason="another process")
    assert (await two.resolve(NAME)).version == "2"


async def test_what_is_seen_during_a_move_does_not_unload_the_version_that_comes(two, store, clock):
    await two.resolve(NAME)
    set_alias = store.set_alias

    async def slowly(agent, alias, version, *, reason):
        clock.advance(2)
        assert (await two.resolve(NAME)).version == "1"  # looks at the aliases, which stand yet
        await set_alias(agent, alias, version, reason=reason)

    store.set_alias, store.loads = slowly, 0
    await two.promote(NAME, 2)
    assert (await two.resolve(NAME)).version == "2"
    assert two.phase(NAME, 2) is Phase.READY
    assert store.loads == 2  # for its domain, and for the agent; not again
