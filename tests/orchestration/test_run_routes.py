"""What the API says of runs beside their figures: lists, comparison, stages, reports, forms."""

from __future__ import annotations

import httpx
import pytest

from orchestration.client import errors
from orchestration.client.client import Client
from orchestration.endpoints.job_views import JobRequest
from rl.training.run_diary import StageEntry
from tests.orchestration.doors import open_doors
from tests.orchestration.house import Hand
from tests.orchestration.test_client import connect
from utils.persistence.run_filter import RunFilter, Threshold

pytestmark = pytest.mark.anyio


@pytest.fixture
async def doors(tmp_path):
    async with open_doors(tmp_path) as found:
        yield found


@pytest.fixture
async def client(doors):
    async with connect(doors) as connection:
        yield Client(connection)


async def train(doors, client, steps=(9216,), **config):
    """A run that has reported, and still runs."""
    job = await client.jobs.submit(JobRequest(config=config))
    hand = Hand(doors.application)
    claimed = await hand.claim()
    for step in steps:
        await hand.report(claimed, step, value=step / 100, kpi=90.0)
    return job, hand, claimed


async def test_lines_tell_runs_apart_and_are_found_by_words(doors, client):
    job, *_ = await train(doors, client, environment="trading", algorithm="ppo", tags=["b", "a"])
    bare = await client.jobs.submit(JobRequest(config={"experiment_name": "other"}))
    new, old = (await client.runs.page()).items
    assert (new.id, new.expert, new.environment) == (bare.run_id, None, "resource_allocation")
    assert (old.id, old.environment, old.algorithm) == (job.run_id, "trading", "ppo")
    assert (old.tags, old.best_score, old.expert) == (("a", "b"), 90.0, 80.0)
    found = [
        RunFilter(text="tradin"),
        RunFilter(tags=("a", "b")),
        RunFilter(environment="trading", algorithm="ppo"),
        RunFilter(thresholds=(Threshold.parse("best_score>=90"), Threshold.parse("return > 1"))),
    ]
    for wanted in found:
        assert [one.id for one in (await client.runs.page(wanted)).items] == [job.run_id]
    for wanted in (RunFilter(text="%"), RunFilter(tags=("a", "c"))):
        assert (await client.runs.page(wanted)).items == []
    first = await client.runs.page(limit=1)
    rest = await client.runs.page(limit=1, before=first.next)
    assert [one.id for one in (*first.items, *rest.items)] == [bare.run_id, job.run_id]
    async with doors.caller() as caller:
        answer = await caller.get("/v1/runs", params={"where": "return~3"})
    assert answer.status_code == 422


async def test_runs_are_compared_by_what_differs(client):
    jobs = [await client.jobs.submit(JobRequest(config={"seed": seed})) for seed in (1, 2)]
    found = await client.runs.compare([job.run_id for job in jobs])
    assert found.differing == {"seed": ("1", "2")}
    assert found.runs == tuple(job.run_id for job in jobs)
    with pytest.raises(errors.InvalidRequestError):
        await client.runs.compare([jobs[0].run_id])
    with pytest.raises(errors.NotFoundError, match="no run"):
        await client.runs.compare([jobs[0].run_id, "nobody"])


async def test_stages_are_those_that_all_attempts_told(doors, client):
    job, hand, claimed = await train(doors, client)
    assert await client.runs.stages(job.run_id) == ()
    told = [("tuning", 0), ("easy", 0), ("hard", 500), ("tuning", 0), ("easy", 300), ("hard", 510)]
    async with hand.leases.fenced(claimed.id, claimed.fence) as connection:
        for stage, step in told:
            payload = {"env_steps": step, "stage": stage}
            await hand.ledger.announce(connection, claimed.id, "stage_changed", payload)
    assert await client.runs.stages(job.run_id) == (
        StageEntry(name="tuning", env_steps=0),
        StageEntry(name="easy", env_steps=0),
        StageEntry(name="hard", env_steps=500),
    )
    with pytest.raises(errors.NotFoundError):
        await client.runs.stages("nobody")


async def test_a_report_is_there_once_written_and_runs_nothing(doors, client, tmp_path):
    job, *_ = await train(doors, client)
    with pytest.raises(errors.NotFoundError, match=f"orchestration report {job.run_id}"):
        await client.runs.report(job.run_id)
    with pytest.raises(errors.NotFoundError, match="no run"):
        await client.runs.report("nobody")
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / f"run-{job.run_id}.html").write_bytes(b"<h1>it</h1>")
    assert await client.runs.report(job.run_id) == b"<h1>it</h1>"
    async with doors.caller() as caller:
        answer = await caller.get(f"/v1/runs/{job.run_id}/report")
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


async def test_the_form_and_its_check(client):
    form = await client.training.form()
    assert form.families["mappo"] == "ppo"
    view = await client.training.check({"algorithm": "ppo", "collection_shards": 2})
    assert view.differing == {"algorithm": "ppo", "collection_shards": 2}
    assert view.config["seed"] == 0
    assert view.total_env_steps == 44_800 * 72
    wrong = {"seed": -1, "settings": {"ppo": {"gamma": 2.0}}, "traces": None}
    with pytest.raises(errors.InvalidRequestError) as caught:
        await client.training.check(wrong)
    assert set(caught.value.problems) == {"config.seed", "config.settings.ppo.gamma"}
    assert "[0, 1]" in caught.value.problems["config.settings.ppo.gamma"]
    assert [run async for run in client.runs.list()] == []


async def test_sharded_runs_can_be_submitted(client):
    config = {"collection_shards": 2, "algorithm": "ppo"}
    assert (await client.jobs.submit(JobRequest(config=config))).config["collection_shards"] == 2


async def test_the_tail_of_a_log_is_as_long_as_wanted(doors, client, tmp_path):
    asked = []

    class Ears(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            asked.append(request.url.params.get("tail"))
            page = {"attempt": 1, "offset": 0, "next": 0, "text": ""}
            return httpx.Response(200, json=page)

    async with connect(doors) as connection:
        connection._http._transport = Ears()
        await Client(connection).jobs.logs("a", tail=7)
        await Client(connection).jobs.logs("a")
    assert asked == ["7", None]


async def test_malformed_tags_are_told_and_nothing_is_queued(client):
    with pytest.raises(errors.InvalidRequestError) as caught:
        await client.jobs.submit(JobRequest(config={"tags": ["fine", "not so"]}))
    assert "'not so'" in caught.value.problems["config.tags"]
    assert [job async for job in client.jobs.list()] == []
