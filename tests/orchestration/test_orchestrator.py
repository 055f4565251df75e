"""The facade: training goes in, decisions come out, and what happened can be counted."""

from __future__ import annotations

import json

import anyio
import pytest

from ai_agents.base_agent import RequestError
from ai_agents.registry import UnknownAgentError, UnknownVersionError
from orchestration.job_store.rows import JobNotFoundError
from orchestration.jobs import Desired, JobState
from rl.training.training_config import TrainingConfig
from tests.orchestration.house import AGENT, REQUEST, Hand, open_house
from utils.observability import exposition
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import RunNotFoundError

pytestmark = pytest.mark.anyio
SMALL = TrainingConfig(total_episodes=128, seed=3)


@pytest.fixture
async def house(tmp_path):
    async with open_house(tmp_path) as application:
        yield application


@pytest.fixture
async def staffed(tmp_path):
    async with open_house(tmp_path, versions=2) as application:
        yield application


def counted(application, start):
    lines = exposition(application.metrics).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in lines if line.startswith(start)}  # fmt: skip


async def test_a_submission_is_a_queued_run(house):
    job = await house.orchestrator.submit_training(SMALL)
    (run,) = await house.orchestrator.runs()
    assert (job.state, run.state, run.seed) == (JobState.QUEUED, RunState.QUEUED, 3)
    assert (run.job_id, run.id) == (job.id, job.spec["run_id"])
    details = await house.orchestrator.run(run.id)
    assert details.config["total_episodes"] == 128
    assert await house.orchestrator.run_of(job.id) == details


async def test_the_same_key_is_the_same_job_until_it_ends(house):
    orchestrator = house.orchestrator
    first = await orchestrator.submit_training(SMALL, dedupe_key="k")
    assert await orchestrator.submit_training(SMALL, dedupe_key="k") == first
    assert await orchestrator.find_unfinished("k") == first
    await orchestrator.cancel((await orchestrator.find_unfinished("k")).id)
    assert (await orchestrator.job(first.id)).state is JobState.CANCELLED
    assert (await orchestrator.submit_training(SMALL, dedupe_key="k")).id != first.id
    assert await orchestrator.find_unfinished("another") is None


async def test_fates_are_asked_for(house):
    orchestrator = house.orchestrator
    job = await orchestrator.submit_training(SMALL)
    assert (await orchestrator.pause(job.id)).state is JobState.PAUSED
    assert (await orchestrator.runs())[0].state is RunState.PAUSED
    assert (await orchestrator.resume(job.id)).state is JobState.QUEUED
    assert (await orchestrator.cancel(job.id)).state is JobState.CANCELLED
    assert (await orchestrator.resume(job.id)).desired is Desired.CANCEL


async def test_unknown_names_are_refused(house):
    orchestrator = house.orchestrator
    for ask in (orchestrator.job, orchestrator.cancel, orchestrator.pause, orchestrator.wait):
        with pytest.raises(JobNotFoundError):
            await ask("nobody")
    with pytest.raises(RunNotFoundError):
        await orchestrator.run("nobody")
    assert await orchestrator.run_of("nobody") is None
    with pytest.raises(UnknownAgentError, match="train and promote one first"):
        await orchestrator.promote("nobody")
    with pytest.raises(UnknownAgentError):
        await orchestrator.invoke("nobody", REQUEST)


async def test_waiting_ends_with_the_job_whoever_carries_it(house):
    job = await house.orchestrator.submit_training(SMALL)
    ended = []

    async def wait():
        ended.append(await house.orchestrator.wait(job.id))

    hand = Hand(house)
    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        claimed = await hand.claim()
        await hand.report(claimed, 100)
        assert ended == []
        await hand.finish(claimed)
    assert ended[0].state is JobState.SUCCEEDED
    run = await house.orchestrator.run_of(job.id)
    assert run.summary.state is RunState.SUCCEEDED
    assert [p.value for p in await house.orchestrator.curve(run.summary.id, "return")] == [1.5]


async def test_training_metrics_come_from_the_sink(house):
    job = await house.orchestrator.submit_training(SMALL)
    hand = Hand(house)
    claimed = await hand.claim()
    await hand.report(claimed, 9216, value=42.0)
    (value,) = counted(house, "rl_episode_return{").values()
    assert value == 42.0
    assert job.id == claimed.id


async def test_the_newest_version_is_promoted_and_answers(staffed):
    orchestrator = staffed.orchestrator
    (agent,) = await orchestrator.agents()
    assert (agent.name, len(agent.versions), agent.champion) == (AGENT, 2, 1)
    assert (await orchestrator.invoke(AGENT, REQUEST)).version == "1"
    record = await orchestrator.promote(AGENT, reason="newer")
    assert record.version == 2
    assert (await orchestrator.invoke(AGENT, REQUEST)).version == "2"
    assert (await orchestrator.invoke(AGENT, REQUEST, version=1)).version == "1"
    assert (await orchestrator.card(AGENT)).version == "2"
    with pytest.raises(UnknownVersionError):
        await orchestrator.promote(AGENT, 9)
    assert (await orchestrator.agent(AGENT)).champion == 2


async def test_a_request_reads_the_same_however_it_is_given(staffed):
    orchestrator = staffed.orchestrator
    agent = await orchestrator._parts.registry.resolve(AGENT)
    forms = [REQUEST, json.dumps(REQUEST), json.dumps(REQUEST).encode(), agent.parse(REQUEST)]
    answers = [await orchestrator.invoke(AGENT, form, request_id="r-1") for form in forms]
    assert {answer.request_id for answer in answers} == {"r-1"}
    alike = {"duration_seconds": 0.0, "decision_id": ""}
    assert len({answer.model_copy(update=alike).model_dump_json()
                for answer in answers}) == 1  # fmt: skip


async def test_requests_without_a_name_get_one_each(staffed):
    answers = [await staffed.orchestrator.invoke(AGENT, REQUEST) for _ in range(2)]
    assert len({answer.request_id for answer in answers}) == 2


async def test_answers_are_counted_by_what_became_of_them(staffed):
    orchestrator = staffed.orchestrator
    await orchestrator.invoke(AGENT, REQUEST)
    far = {**REQUEST, "capacity": {"compute": 5000.0, "memory": 60.0}}
    decision = await orchestrator.invoke(AGENT, far)
    assert decision.fallback_used
    with pytest.raises(RequestError, match="capacity"):
        await orchestrator.invoke(AGENT, {**REQUEST, "capacity": {"compute": -1.0}})
    requests = counted(staffed, "agent_requests_total")
    label = f'agent_requests_total{{agent="{AGENT}",outcome="%s",version="1"}}'
    assert requests == {label % one: 1.0 for one in ("decision", "fallback", "refused")}
    fallbacks = counted(staffed, "agent_fallback_total")
    assert list(fallbacks.values()) == [1.0]
    assert "outside_validated_range" in next(iter(fallbacks))
    assert counted(staffed, "agent_decision_seconds_count")


async def test_only_what_is_served_is_shown(staffed):
    await staffed.orchestrator.invoke(AGENT, REQUEST)
    assert ['version="1"' in key for key in counted(staffed, "agent_version_info")] == [True]
    await staffed.orchestrator.promote(AGENT, 2)
    await staffed.orchestrator.invoke(AGENT, REQUEST)
    assert ['version="2"' in key for key in counted(staffed, "agent_version_info")] == [True]
