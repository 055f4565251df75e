"""Worlds over HTTP that others play: chosen sizes, rules, chance and agents, and comparisons."""

from __future__ import annotations

import dataclasses

import httpx
import pytest

from orchestration.client.client import Client
from orchestration.client.connection import Connection
from orchestration.client.errors import InvalidRequestError
from orchestration.endpoints.session_play_routes import DeciderRequest
from orchestration.endpoints.session_routes import SessionSettings
from rl.domains.world_sizes import WorldSizes
from tests.orchestration.doors import BASE, open_doors
from tests.orchestration.house import AGENT

pytestmark = pytest.mark.anyio
EXPERT, RANDOM = DeciderRequest(kind="expert"), DeciderRequest(kind="random")
MINE = DeciderRequest(kind="agent", name=AGENT)
SESSIONS = "/v1/environments/sessions"


@pytest.fixture
async def client(tmp_path):
    async with open_doors(tmp_path, versions=2) as doors:
        transport = httpx.ASGITransport(doors.api, raise_app_exceptions=False)
        async with Connection(BASE, transport=transport) as connection:
            yield Client(connection)


def test_settings_have_every_size():
    sizes = {one.name for one in dataclasses.fields(WorldSizes)}
    assert set(SessionSettings.model_fields) == {"actions", *sizes}


async def test_worlds_tell_what_can_be_chosen_and_are_played_that_large(client):
    worlds = {world.name: world for world in await client.sessions.worlds()}
    tasks = next(s for s in worlds["constrained_allocation"].sizes if s.name == "num_tasks")
    assert (tasks.low, tasks.default, tasks.high) == (3, 5, 15)
    assert worlds["shared_services"].played_by == ["resource_allocation"]
    opened = await client.sessions.open(
        "constrained_allocation", sizes={"num_tasks": 4, "num_resources": 2, "num_steps": 50}
    )
    assert opened.agents["planner"].action.size == 8
    assert opened.charts[0].title == "demand met"
    played = await client.sessions.play(opened.id, RANDOM, steps=1000)
    assert (played.played, played.has_ended) == (50, True)
    for sizes, word in [({"num_tasks": 99}, "give 3 to 15"), ({"num_nodes": 3}, "no such size")]:
        with pytest.raises(InvalidRequestError, match=word):
            await client.sessions.open("constrained_allocation", sizes=sizes)


async def test_the_expert_beside_a_person_in_the_same_episode(client):
    opened = await client.sessions.open("constrained_allocation", seed=4, sizes={"num_steps": 50})
    apart = await client.sessions.reference(opened.id, EXPERT)
    assert (len(apart.rewards), apart.has_ended) == (50, True)
    (agent,) = opened.agents
    await client.sessions.step(opened.id, {agent: [0.1] * 15})
    state = await client.sessions.state(opened.id)
    assert (state.step, state.state["allocation"].shape) == (1, [5, 3])
    assert state.state["allocation"].values == pytest.approx([0.1] * 15)
    again = await client.sessions.open("constrained_allocation", seed=4, sizes={"num_steps": 50})
    await client.sessions.play(again.id, EXPERT, steps=100)
    page = await client.sessions.trajectory(again.id)
    assert [step.rewards[agent] for step in page.steps] == pytest.approx(apart.rewards)
    terms = page.steps[0].info[agent].reward_terms
    assert sum(terms.values()) == pytest.approx(page.steps[0].rewards[agent])


async def test_an_agent_plays_where_its_domain_fits_and_is_refused_in_words_elsewhere(client):
    opened = await client.sessions.open("shared_services")
    played = await client.sessions.play(opened.id, MINE, steps=3)
    assert played.total == 3
    second = DeciderRequest(kind="agent", name=AGENT, version=2)
    assert (await client.sessions.play(opened.id, second, steps=1)).total == 4
    unknown = MINE.model_copy(update={"version": 9})
    with pytest.raises(InvalidRequestError, match="versions 1, 2"):
        await client.sessions.play(opened.id, unknown, steps=1)
    smaller = await client.sessions.open("shared_services", sizes={"num_services": 3})
    with pytest.raises(InvalidRequestError, match="open it with the sizes"):
        await client.sessions.play(smaller.id, MINE, steps=1)
    other = await client.sessions.open("newsvendor")
    for decider, words in [
        (MINE, "newsvendor is played by agents of newsvendor"),
        (DeciderRequest(kind="expert", name="odd"), "critical_fractile"),
    ]:
        with pytest.raises(InvalidRequestError, match=words):
            await client.sessions.play(other.id, decider, steps=1)
    opened = await client.sessions.open("newsvendor", actions="binned")
    with pytest.raises(InvalidRequestError, match='actions="own"'):
        await client.sessions.play(opened.id, EXPERT, steps=1)
    assert (await client.sessions.play(opened.id, RANDOM, steps=1)).has_ended


async def finish(client, session_id, deciders, episodes):
    while True:
        view = await client.sessions.compare(session_id, deciders, episodes=episodes)
        if view.report is not None:
            return view.report


async def test_deciders_are_compared_over_the_same_episodes(client):
    opened = await client.sessions.open("constrained_allocation", sizes={"num_steps": 50})
    greedy = DeciderRequest(kind="expert", name="ones")
    same = DeciderRequest(kind="expert", name="greedy_cheapest")
    report = await finish(client, opened.id, [EXPERT, greedy, RANDOM, same], 20)
    expert, _, ones, ones_cut, *_, twin, _ = report.players
    assert [one.is_projected for one in report.players] == [False, True] * 4
    assert twin.returns == expert.returns, "the same rule on the same episodes"
    assert (twin.difference.low, twin.difference.high, twin.wins.value) == (0, 0, 0.5)
    assert (len(expert.returns), report.baseline, expert.difference) == (20, 0, None)
    assert ones.difference.high < 0
    assert ones.wins.value == 0.0
    assert ones.mean.value == pytest.approx(sum(ones.returns) / 20)
    assert ones.worst.value == pytest.approx(min(ones.returns))
    assert ones.violation.per_step.value > 0.1
    assert ones_cut.violation.per_step.value == 0.0
    assert ones_cut.violation.free.value == 1.0
    assert ones.curve.mean[-1] == pytest.approx(ones.mean.value)
    few = await finish(client, opened.id, [RANDOM], 5)
    assert few.players[0].worst.value is None
    assert "play 20 or more" in few.players[0].worst.reason
    assert (await client.sessions.state(opened.id)).step == 0
    with pytest.raises(InvalidRequestError, match="twice"):
        await client.sessions.compare(opened.id, [RANDOM, RANDOM], episodes=5)
