"""Jobs, runs, artifacts and the engine over HTTP: lists in pages, retries, keys, hard cases."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json

import pytest
from sqlalchemy import func, select

from orchestration.executors.binding import TaskBinding, TaskDefinition
from orchestration.jobs import Condition, Need, NewJob
from tests.orchestration.doors import Doors, open_doors
from tests.orchestration.house import AGENT, Hand
from tests.postgres import empty_tables
from utils.persistence.jobs import event, job

pytestmark = pytest.mark.anyio
SUMS = {"sums": TaskBinding(definition=TaskDefinition(kind="sums", version=3, target="m:f"))}


@pytest.fixture
async def doors(tmp_path):
    async with open_doors(tmp_path, versions=2) as found:
        parts = dataclasses.replace(found.parts, kinds={**found.parts.kinds, **SUMS})
        yield Doors(found.application, parts)


@pytest.fixture
async def client(doors):
    async with doors.caller() as found:
        yield found


async def submit(client, *, key=None, **body):
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post("/v1/jobs", json=body, headers=headers)


async def get(client, path, **params):
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def count(doors, table):
    async with doors.application.database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(table))


async def test_jobs_are_listed_in_pages_by_state_kind_and_pipeline(client, doors):
    for seed in range(3):
        await submit(client, config={"seed": seed})
    other = (await submit(client, kind="sums", spec={"n": 1}, priority=5)).json()
    assert (other["config"], other["priority"]) == ({"n": 1}, 5)
    assert (await doors.parts.store.get(other["id"])).version == 3
    seen, before = [], {}
    while before is not None:
        page = await get(client, "/v1/jobs", limit=2, **before)
        seen += [one["id"] for one in page["items"]]
        before = {"before": page["next"]} if page["next"] else None
    assert (len(seen), seen[0]) == (4, other["id"])
    assert seen == sorted(seen, reverse=True)
    await client.post(f"/v1/jobs/{seen[1]}/cancel")
    both = await get(client, "/v1/jobs", state=["cancelled", "paused"])
    assert [one["id"] for one in both["items"]] == [seen[1]]
    assert len((await get(client, "/v1/jobs", kind="train"))["items"]) == 3
    await doors.parts.store.submit_all([NewJob(kind="sums", pipeline_id="p1", step="sum")])
    (step,) = (await get(client, "/v1/jobs", pipeline="p1"))["items"]
    assert step["step"] == "sum"


async def test_the_same_idempotency_key_is_the_same_job_even_when_finished(client, doors):
    first = await submit(client, key="k1", config={"seed": 1})
    await client.post(f"/v1/jobs/{first.json()['id']}/cancel")
    again = await submit(client, key="k1", config={"seed": 1})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    other = await submit(client, key="k1", config={"seed": 2})
    assert (other.status_code, "take a new key" in other.text) == (409, True)
    assert await count(doors, job) == 1
    assert (await submit(client, key="\n", config={})).status_code in {400, 422}


async def test_a_finished_job_is_retried_as_a_new_one(client, doors):
    first = (await submit(client, config={"seed": 7}, priority=3, max_attempts=1)).json()
    answer = await client.post(f"/v1/jobs/{first['id']}/retry")
    assert (answer.status_code, "only finished" in answer.text) == (409, True)
    await client.post(f"/v1/jobs/{first['id']}/cancel")
    headers = {"Idempotency-Key": "again"}
    made = [await client.post(f"/v1/jobs/{first['id']}/retry", headers=headers) for _ in "ab"]
    again = made[0].json()
    assert (made[0].status_code, again) == (202, made[1].json())
    assert again["retried_from"] == first["id"]
    assert (again["config"], again["priority"]) == (first["config"], 3)
    assert again["run_id"] != first["run_id"]
    assert await get(client, f"/v1/jobs/{again['id']}") == again
    run = await get(client, f"/v1/runs/{again['run_id']}")
    assert run["facts"]["parents"][0]["run_id"] == first["run_id"]
    third = (await client.post(f"/v1/jobs/{first['id']}/retry")).json()
    assert third["id"] != again["id"]


async def test_a_retried_job_keeps_what_it_needs(client, doors):
    store = doors.parts.store
    (first,) = await store.submit_all([NewJob(kind="sums", spec={"n": 1})])
    need = Need(job_id=first.id, name="before", condition=Condition.FINISHED)
    (second,) = await store.submit_all([NewJob(kind="sums", spec={"n": 2}, needs=(need,))])
    for one in (second, first):
        await client.post(f"/v1/jobs/{one.id}/cancel")
    again = (await client.post(f"/v1/jobs/{second.id}/retry")).json()
    assert (again["state"], again["config"]) == ("queued", {"n": 2})
    third = (await client.post(f"/v1/jobs/{again['id']}/retry")).json()
    assert third["status"] == 409


WRONG = [
    ({"kind": "dance"}, "kind"),
    ({"kind": "sums", "config": {"seed": 1}}, "config"),
    ({"spec": {"n": 1}}, "spec"),
    ({"priority": 10**9}, "priority"),
    ({"priority": "1"}, "priority"),
    ({"delay_seconds": -1}, "delay_seconds"),
    ({"max_attempts": 0}, "max_attempts"),
    ({"limits": {"run_seconds": 0}}, "limits.run_seconds"),
    ({"limits": {"walk_seconds": 1}}, "limits.walk_seconds"),
    ({"resources": {"cpu_milli": -1}}, "resources.cpu_milli"),
    ({"dedupe_key": "a\x00b"}, "dedupe_key"),
]


async def test_wrong_submissions_change_nothing(client, doors):
    for body, field in WRONG:
        answer = await submit(client, **body)
        assert answer.status_code == 422, (body, answer.text)
        assert {one["field"] for one in answer.json()["problems"]} == {field}
    assert await count(doors, job) == 0


async def test_numbers_that_are_not_finite_are_refused(client, doors):
    headers = {"content-type": "application/json"}
    for body, number in itertools.product(
        (
            '{"delay_seconds": %s}',
            '{"kind": "sums", "spec": {"n": %s}}',
            '{"config": {"seed": %s}}',
        ),
        ("NaN", "Infinity", "-Infinity", "1e999"),
    ):
        answer = await client.post("/v1/jobs", content=body % number, headers=headers)
        assert answer.status_code == 422, (body % number, answer.text)
    assert await count(doors, job) == 0


async def test_only_admins_submit_raw_specs(doors):
    token = await doors.make_token("ci", "train")
    async with doors.caller(token) as client:
        assert (await submit(client, kind="sums", spec={"n": 1})).status_code == 403
        assert (await submit(client, config={"seed": 1})).status_code == 202
    assert await count(doors, job) == 1


async def test_numbers_that_no_database_keeps_are_refused(client, doors):
    for config in [{"seed": 2**70}, {"total_episodes": 10**30}, {"total_episodes": 2**53 + 1}]:
        assert (await submit(client, config=config)).status_code == 422, config
    assert await count(doors, job) == 0


async def test_values_that_only_the_database_refuses_change_nothing(client, doors, monkeypatch):
    async def refuse(*_):
        raise OverflowError("Python int too large to convert to SQLite INTEGER")

    monkeypatch.setattr(doors.parts.store, "submit_all", refuse)
    answer = await submit(client, config={})
    assert (answer.status_code, "too large" in answer.text) == (422, True)


SQL = "x' OR '1'='1'; DROP TABLE job; --"


PATHS = [
    f"/v1/jobs?kind={SQL}",
    f"/v1/jobs?state={SQL}",
    f"/v1/jobs?pipeline={SQL}",
    f"/v1/jobs?before={SQL}",
    f"/v1/jobs/{SQL}",
    f"/v1/runs?before={SQL}",
    f"/v1/audit?before={SQL}",
    f"/v1/agents/{SQL}",
    "/v1/jobs?before=%00",
    "/v1/jobs/%00",
]


async def test_sql_in_a_filter_is_refused(client, doors):
    await submit(client, config={})
    for path in PATHS:
        assert (await client.get(path)).status_code == 422, path
    assert await count(doors, job) == 1


async def test_sql_in_a_text_filter_is_only_text(client, doors):
    await submit(client, config={})
    assert (await get(client, "/v1/runs", experiment=SQL))["items"] == []
    assert len((await get(client, "/v1/runs"))["items"]) == 1
    assert await count(doors, job) == 1


NAMES = [
    "..%2f..%2fquartermaster.sqlite",
    "%2e%2e%2fquartermaster.sqlite",
    "....//quartermaster.sqlite",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "A" * 64,
    "0" * 63,
    "0" * 64 + "%00",
    "0" * 64 + "%0a",
]


async def test_artifact_ids_lead_nowhere_else(client, tmp_path):
    stray = (
        tmp_path / "artifacts" / "se" / "secret"
    )  # where a file of this name would be looked for
    stray.parent.mkdir(parents=True)
    stray.write_text("SQLite")
    for name in [*NAMES, "secret"]:
        answer = await client.get(f"/v1/artifacts/{name}")
        assert answer.status_code in {404, 422}, name
        assert answer.headers["content-type"] == "application/problem+json"
        assert b"SQLite" not in answer.content


async def test_artifacts_are_downloaded_by_hash(client, doors):
    (agent,) = await get(client, "/v1/agents")
    sha256 = agent["versions"][0]["sha256"]
    answer = await client.get(f"/v1/artifacts/{sha256}")
    assert hashlib.sha256(answer.content).hexdigest() == sha256
    assert (answer.status_code, answer.headers["etag"]) == (200, f'"{sha256}"')
    assert (await client.get(f"/v1/artifacts/{'0' * 64}")).status_code == 404


async def test_curves_and_artifacts_of_a_run(client, doors):
    run_id = (await submit(client, config={})).json()["run_id"]
    hand = Hand(doors.application)
    claimed = await hand.claim()
    for step in (1, 2, 3):
        await hand.report(claimed, step, value=float(step))
    curve = await get(client, f"/v1/runs/{run_id}/curve", metric="return", max_points=2)
    assert [(point["step"], point["value"]) for point in curve] == [(1, 1.0), (3, 3.0)]
    answer = await client.get(f"/v1/runs/{run_id}/curve", params={"metric": "regret"})
    assert (answer.status_code, "it has return" in answer.text) == (404, True)
    assert await get(client, f"/v1/runs/{run_id}/artifacts") == []
    assert (await client.get("/v1/runs/none/artifacts")).status_code == 404
    page = await get(client, "/v1/runs", state=["running"])
    assert [run["id"] for run in page["items"]] == [run_id]


async def test_attempts_and_the_engine(client, doors):
    job_id = (await submit(client, config={})).json()["id"]
    assert await get(client, f"/v1/jobs/{job_id}/attempts") == []
    await Hand(doors.application).claim()
    (attempt,) = await get(client, f"/v1/jobs/{job_id}/attempts")
    assert (attempt["fence"], attempt["worker_id"], attempt["ended_at"]) == (1, "w", None)
    engine = await get(client, "/v1/engine")
    assert (engine["jobs"]["running"], engine["jobs"]["queued"]) == (1, 0)
    assert {"sums", "train"} <= set(engine["kinds"])
    assert (engine["open_sessions"], engine["open_streams"]) == (0, 0)


async def test_the_history_of_aliases(client):
    for version in (2, 1):
        body = {"version": version, "reason": f"to {version}"}
        await client.post(f"/v1/agents/{AGENT}/promote", json=body)
    moves = await get(client, f"/v1/agents/{AGENT}/history", limit=2)
    assert [(m["version"], m["previous_version"], m["reason"]) for m in moves] == [
        (1, 2, "to 1"),
        (2, 1, "to 2"),
    ]
    (oldest,) = await get(client, f"/v1/agents/{AGENT}/history", before=moves[-1]["seq"])
    assert oldest["reason"] == "first"
    assert (await client.get("/v1/agents/none/history")).status_code == 404


async def test_events_in_pages(client, doors):
    job_id = (await submit(client, config={})).json()["id"]
    await client.post(f"/v1/jobs/{job_id}/cancel")
    page = await get(client, f"/v1/jobs/{job_id}/events")
    types = [one["type"] for one in page["items"]]
    assert types == ["job_submitted", "job_cancelled", "run_finished"]
    last = page["items"][-1]["seq"]
    assert (await get(client, "/v1/events", since=last - 1))["items"] == page["items"][-1:]
    assert (await get(client, "/v1/events", since=last))["items"] == []
    assert (await client.get("/v1/jobs/none/events")).status_code == 404
    assert (await client.get("/v1/events?since=-1")).status_code == 422
    assert await count(doors, event) >= 2


async def test_logs_by_bytes_and_by_lines(client, doors, tmp_path):
    job_id = (await submit(client, config={})).json()["id"]
    logs = f"/v1/jobs/{job_id}/logs"
    assert (await client.get(logs)).status_code == 404  # no attempt yet
    await Hand(doors.application).claim()
    assert (await get(client, logs))["text"] == ""
    log = tmp_path / "work" / job_id / "attempt-1.log"
    log.parent.mkdir(parents=True)
    text = "one\ntwo £\n" * 20
    log.write_text(text)
    got, offset = "", 0
    while (page := await get(client, logs, offset=offset, limit=7))["text"]:
        assert page["offset"] == offset
        got, offset = got + page["text"], page["next"]
    assert (got, offset) == (text, len(text.encode()))
    assert (await get(client, logs, tail=2))["text"] == "one\ntwo £\n"
    assert (await get(client, logs))["text"] == text
    assert (await get(client, logs, offset=10**9))["text"] == ""
    assert (await client.get(logs, params={"attempt": 2})).status_code == 404
    assert (await client.get(logs, params={"attempt": "../1"})).status_code == 422


async def test_bodies_that_cannot_be_text(client, doors):
    headers = {"content-type": "application/json"}
    for body in [
        b'{"dedupe_key": "\\ud800"}',
        b'{"config": {"\\ud800": 1}}',
        b'{"kind": "sums", "spec": {"a": ["\\ud800"]}}',
        b'{"kind": "sums", "spec": {"a": {"\\u0000": 1}}}',
        b"\xff",
        b"[" * 9999,
    ]:
        answer = await client.post("/v1/jobs", content=body, headers=headers)
        assert answer.status_code in {400, 422}, (body[:40], answer.status_code)
        json.loads(answer.content)
    assert await count(doors, job) == 0


async def test_the_api_on_postgresql(server_url, tmp_path):
    empty_tables(server_url)
    async with (
        open_doors(tmp_path, database=server_url, versions=1) as doors,
        doors.caller() as client,
    ):
        long = await submit(client, config={"experiment_name": "x" * 300})
        assert (long.status_code, "too long" in long.text) == (422, True)
        assert await count(doors, job) == 0
        first = (await submit(client, key="k", config={"seed": 1})).json()
        assert (await submit(client, key="k", config={"seed": 1})).json() == first
        assert (await submit(client, key="k", config={"seed": 2})).status_code == 409
        await Hand(doors.application).claim()
        assert len(await get(client, f"/v1/jobs/{first['id']}/attempts")) == 1
        assert (await get(client, "/v1/engine"))["jobs"]["running"] == 1
        second = (await submit(client, config={"seed": 2})).json()
        await client.post(f"/v1/jobs/{second['id']}/cancel")
        again = (await client.post(f"/v1/jobs/{second['id']}/retry")).json()
        assert again["retried_from"] == second["id"]
        page = await get(client, "/v1/jobs", limit=1, state=["cancelled", "queued"])
        assert [one["id"] for one in page["items"]] == [page["next"]] == [again["id"]]
        assert len(await doors.parts.outbox.after(0)) > 3
        assert (await get(client, f"/v1/agents/{AGENT}/history"))[0]["version"] == 1
        assert (await get(client, "/v1/audit"))["lines"][0]["outcome"] == "202"
        assert (await get(client, "/v1/audit/check"))["is_whole"]
