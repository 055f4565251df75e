"""The engine as operators see it over HTTP, and the switch that stops all work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from orchestration.client.client import Client
from orchestration.client.connection import Connection
from orchestration.client.errors import InvalidRequestError
from orchestration.endpoints import engine_routes
from orchestration.endpoints.job_views import JobRequest
from orchestration.jobs import JobState, Need, NewJob
from orchestration.scheduler.schedules import NewSchedule
from orchestration.scheduler.timing import timing_from_json
from tests.orchestration.doors import BASE, open_doors
from tests.orchestration.house import Hand

pytestmark = pytest.mark.anyio


@pytest.fixture
async def doors(tmp_path):
    async with open_doors(tmp_path) as found:
        yield found


@pytest.fixture
async def client(doors):
    transport = httpx.ASGITransport(doors.api, raise_app_exceptions=False)
    async with Connection(BASE, transport=transport) as connection:
        yield Client(connection)


async def test_details_show_kinds_leases_and_the_newest_events(client, doors):
    for seed in (1, 2):
        await client.jobs.submit(JobRequest(config={"seed": seed}))
    claimed = await Hand(doors.application).claim()
    found = await client.operations.details(events=2)
    assert found.kinds == {"train": {JobState.QUEUED: 1, JobState.RUNNING: 1}}
    assert found.due == 1
    (live,) = found.live
    assert (live.id, live.worker, live.fence) == (claimed.id, "w", 1)
    assert 0 < live.lease_left_seconds <= 60
    assert [one.type for one in found.events] == ["job_claimed", "job_started"]
    assert found.events[0].seq < found.events[1].seq


@pytest.mark.parametrize(
    ("fate", "queued", "running", "paused"),
    [("cancel", "cancelled", "cancelling", "paused"), ("pause", "paused", "running", "paused")],
)
async def test_the_switch_reaches_all_that_runs_or_waits(
    client, doors, monkeypatch, fate, queued, running, paused
):
    monkeypatch.setattr(engine_routes, "HALT_PAGE", 2)
    asleep = await client.jobs.submit(JobRequest(config={"seed": 9}))
    await client.jobs.pause(asleep.id)
    run = await client.jobs.submit(JobRequest(config={"seed": 1}))
    await Hand(doors.application).claim()
    wait = await client.jobs.submit(JobRequest(config={"seed": 2}))
    need = NewJob(kind="sums", needs=(Need(job_id=wait.id, name="first"),))
    (pending,) = await doors.parts.store.submit_all([need])
    late = await client.jobs.submit(JobRequest(config={"seed": 3}, delay_seconds=600))
    assert await client.operations.halt(fate) == [late.id, pending.id, wait.id, run.id]
    states = {job.id: (job.state, job.desired) async for job in client.jobs.list()}
    assert states[wait.id] == states[late.id] == (queued, fate)
    assert states[run.id] == (running, fate)
    assert states[pending.id][1] == fate
    assert states[asleep.id] == (paused, "pause")
    assert (await client.operations.details()).due == 0


async def test_many_jobs_are_halted_in_one_transaction(client, doors):
    writes = doors.application.database.traffic.writes
    spent = []
    for number in (1, 6):
        for seed in range(number):
            await client.jobs.submit(JobRequest(config={"seed": seed}))
        before = writes.rising()[-1]
        assert len(await client.operations.halt("cancel")) == number
        spent.append(writes.rising()[-1] - before)
    assert spent[1] == spent[0] > 0


async def test_a_fate_that_is_none_is_refused_and_nothing_is_halted(client):
    job = await client.jobs.submit(JobRequest(config={"seed": 1}))
    connection = client._connection
    for body in ({"fate": "explode"}, {"fate": "cancel", "before": "../x"}, {}):
        with pytest.raises(InvalidRequestError):
            await connection.call("POST", "/v1/engine/halt", dict, body=body)
    assert (await client.jobs.get(job.id)).state is JobState.QUEUED


async def test_schedules_and_pipelines_as_calls(client, doors):
    plan = {"name": "nightly", "steps": [{"name": "one", "kind": "train", "spec": {}}]}
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    timing = timing_from_json({"kind": "interval", "seconds": 3600, "start": later})
    automation = doors.application.orchestrator.automation
    await automation.schedules.add(NewSchedule(name="nightly", timing=timing, plan=plan))
    (listed,) = await client.schedules.list()
    assert (listed.name, listed.active) == ("nightly", True)
    first, second = await client.schedules.preview("nightly", count=2)
    assert second - first == timedelta(hours=1)
    assert not (await client.schedules.pause("nightly")).active
    fired = await client.schedules.run("nightly")
    (pipeline,) = await client.schedules.pipelines()
    assert pipeline.id == fired.pipeline_id
    assert [step.step for step in pipeline.steps] == ["one"]
    assert (await client.schedules.resume("nightly")).active
