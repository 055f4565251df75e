"""Policies taken in over HTTP: whole and of the right agent, or refused with nothing changed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from orchestration.client import errors
from orchestration.client.client import Client
from orchestration.endpoints import upload_routes
from orchestration.endpoints.decision_routes import SettingsChange
from rl.artifacts import ArtifactCorruptError, PolicyArtifact
from tests.orchestration.doors import open_doors
from tests.orchestration.house import AGENT, REQUEST
from tests.orchestration.test_client import connect
from tests.serving import make_artifact

pytestmark = pytest.mark.anyio
PATH = "/v1/policies"


@pytest.fixture
async def doors(tmp_path):
    async with open_doors(tmp_path, versions=1) as found:
        yield found


def named(agent):
    artifact = make_artifact(7)
    return artifact.with_card(replace(artifact.card, agent=agent)).to_bytes()


def rated(kpi):
    artifact = make_artifact(7)
    evaluation = replace(artifact.card.evaluation, kpi=kpi)
    return artifact.with_card(replace(artifact.card, evaluation=evaluation)).to_bytes()


def deep():
    """A whole safetensors file whose seal nests deeper than any parser goes."""
    from safetensors.numpy import load, save

    content = make_artifact(7).to_bytes()
    return save(load(content), metadata={"quartermaster_policy": "[" * 200_000})


async def test_a_policy_becomes_the_next_version_and_the_same_again_is_that_one(doors):
    content = make_artifact(7).to_bytes()
    async with connect(doors) as connection:
        client = Client(connection)
        record = await client.agents.register(content, agent=AGENT)
        assert (record.agent, record.version) == (AGENT, 2)
        assert await client.agents.register(content) == record
        (agent,) = await client.agents.list()
        assert agent.aliases == {"champion": 1}
        decision = await client.agents.ask(AGENT, REQUEST, version=2)
        assert decision["version"] == "2"
        assert await client.runs.artifact(record.sha256) == content


DAMAGED = {
    "empty": (b"", "not a whole policy artifact"),
    "foreign": (b"PK a zip file of somebody else", "not a whole policy artifact"),
    "cut": (make_artifact(7).to_bytes()[:-1], "not a whole policy artifact"),
    "altered": (make_artifact(7).to_bytes()[:-4] + b"\0\0\x80\x3f", "digest does not match"),
    "deep": (deep(), "not a whole policy artifact"),
    "of another agent": (named("trading"), "for agent 'trading', not for 'resource_allocator'"),
    "path": (named("../../etc"), "letters, digits"),
    "long": (named("a" * 101), "letters, digits"),
    "not finite": (rated(float("nan")), "NaN|not JSON compliant|finite"),
    **{
        f"world {config[:9]}": (replace(make_artifact(7), domain_config=config).to_bytes(), "")
        for config in ("", "{}", "[]", "null", "7", '{"seed": 1}', "[" * 100_000)
    },
}


async def test_what_is_no_policy_of_this_agent_is_refused_and_nothing_changes(doors):
    before = doors.parts.artifacts.list_hashes()
    async with connect(doors) as connection:
        client = Client(connection)
        for what, (content, words) in DAMAGED.items():
            with pytest.raises(errors.InvalidRequestError) as caught:
                await client.agents.register(content, agent=AGENT)
            assert re.search(words, caught.value.detail), (what, caught.value.detail)
        (agent,) = await client.agents.list()
    assert [one.version for one in agent.versions] == [1]
    assert doors.parts.artifacts.list_hashes() == before


async def test_a_file_that_is_too_large_is_refused_before_it_is_read_whole(doors, monkeypatch):
    monkeypatch.setattr(upload_routes, "LARGEST_POLICY_BYTES", 1000)
    async with connect(doors) as connection:
        with pytest.raises(errors.InvalidRequestError, match="may have 1000 bytes"):
            await Client(connection).agents.register(make_artifact(7).to_bytes())
    async with doors.caller() as client:

        async def pieces():
            for _ in range(3):
                yield b"x" * 600
            raise AssertionError("read beyond the limit")

        answer = await client.post(PATH, content=pieces())
    assert answer.status_code == 413


async def test_only_admins_take_policies_in(doors):
    content = make_artifact(7).to_bytes()
    await doors.make_token("boss", "admin")
    token = await doors.make_token("trainer", "train")
    async with doors.caller() as client:
        assert (await client.post(PATH, content=content)).status_code == 401
    async with doors.caller(token) as client:
        assert (await client.post(PATH, content=content)).status_code == 403


async def test_a_seal_that_nests_too_deep_is_damage():
    with pytest.raises(ArtifactCorruptError, match="not a whole"):
        PolicyArtifact.from_bytes(deep())


async def test_how_versions_do_is_told_with_the_figures_of_a_canary(doors):
    async with connect(doors) as connection:
        client = Client(connection)
        standing = await client.supervision.standing(AGENT)
        assert [(one.version, one.phase, one.health) for one in standing.versions] == [
            (1, "ready", "ready")
        ]
        assert standing.trial is None
        await client.agents.register(make_artifact(7).to_bytes())
        plan = await client.rollouts.start_canary(AGENT, share=0.5, version=2, reason="try it")
        assert (plan.version, plan.share) == (2, 0.5)
        for number in range(20):
            await client.agents.ask(AGENT, {**REQUEST, "time_of_day": number / 20})
        trial = (await client.supervision.standing(AGENT)).trial
        assert trial.challenger.requests + trial.champion.requests == 20
        assert trial.challenger.requests > 0
        assert 0 < trial.challenger.median_seconds <= trial.challenger.slow_seconds
        assert (trial.challenger.errors, trial.verdict) == (0, None)
        with pytest.raises(errors.ConflictError, match="never judged"):
            await client.rollouts.promote_challenger(AGENT)
        (said,) = await client.rollouts.gate_results(AGENT)
        assert not said.is_passed
        assert (await client.rollouts.stop_canary(AGENT)).state == "off"
        assert (await client.rollouts.canary(AGENT)).state == "off"
        forced = await client.rollouts.promote_challenger(AGENT, force_because="a test")
        assert forced.is_open
        assert (await client.rollouts.rollback(AGENT)).version == 1
        assert await client.rollouts.second_answers(AGENT) == ()


async def test_settings_are_read_and_changed(doors):
    async with connect(doors) as connection:
        calls = Client(connection).supervision
        assert not (await calls.settings(AGENT)).needs_approval
        changed = await calls.change_settings(
            AGENT, SettingsChange(needs_approval=True, keep_requests=50)
        )
        assert (changed.needs_approval, changed.keep_requests) == (True, 50)
        assert await calls.settings(AGENT) == changed
        with pytest.raises(errors.ConflictError, match="keep"):
            await calls.replay_regret(AGENT)
        assert "agent_requests_total" in await Client(connection).metrics()
