"""Schedules, pipelines and announcements over HTTP and from the command line."""

from __future__ import annotations

import json
from datetime import timedelta
from unittest.mock import AsyncMock

import anyio
import pytest
import yaml
from typer.testing import CliRunner

from orchestration.cli import commands
from orchestration.pipelines import submission
from tests.orchestration.doors import open_doors
from tests.orchestration.test_webhooks import PLACE, SECRET, Receiver

CONFIG = {"total_episodes": 64, "num_envs": 8}
LINE = {
    "name": "line",
    "steps": [
        {"name": "learn", "kind": "train", "spec": {"config": CONFIG}},
        {"name": "judge", "kind": "evaluate", "needs": ["learn"]},
        {"name": "promote", "kind": "promote", "needs": ["judge"]},
    ],
}
NIGHTLY = {
    "name": "nightly",
    "timing": {"kind": "cron", "expression": "30 2 * * *", "zone": "Europe/Berlin"},
    "plan": LINE,
}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def client(tmp_path):
    async with open_doors(tmp_path) as doors, doors.caller() as found:
        found.doors = doors
        yield found


async def post(client, path, body=None, status=200):
    answer = await client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def get(client, path, status=200):
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.anyio
async def test_a_schedule_over_http(client):
    made = await post(client, "/v1/schedules", NIGHTLY, 201)
    assert (made["active"], made["overlap"], made["misfire"]) == (True, "skip", "once")
    assert made["plan"]["steps"][0]["spec"] == {"config": CONFIG}
    assert await get(client, "/v1/schedules") == [made]
    coming = await get(client, "/v1/schedules/nightly/next?count=3")
    assert len(coming) == 3
    assert coming[0] == made["next_time"]
    fire = await post(client, "/v1/schedules/nightly/run")
    assert fire["outcome"] == "launched"
    pipeline = await get(client, f"/v1/pipelines/{fire['pipeline_id']}")
    assert [step["state"] for step in pipeline["steps"]] == ["queued", "pending", "pending"]
    assert await get(client, "/v1/pipelines") == [pipeline]
    assert await get(client, "/v1/schedules/nightly/fires") == [fire]
    assert not (await post(client, "/v1/schedules/nightly/pause"))["active"]
    assert (await post(client, "/v1/schedules/nightly/resume"))["active"]
    assert (await client.delete("/v1/schedules/nightly")).status_code == 204
    await get(client, "/v1/schedules/nightly", 404)
    await get(client, "/v1/pipelines/none", 404)


@pytest.mark.anyio
async def test_an_announcement_reaches_a_schedule(client):
    timing = {"kind": "event", "type": "new_data", "where": {"source": "shop"}}
    await post(client, "/v1/schedules", {**NIGHTLY, "timing": timing}, 201)
    for source in ("other", "shop"):
        event = {"type": "new_data", "payload": {"source": source}}
        await post(client, "/v1/announcements", event, 202)
    scheduler = client.doors.application.orchestrator.automation.scheduler
    assert [fire.outcome for fire in await scheduler.look()] == ["launched"]


def broken(**changes):
    return {**NIGHTLY, **changes}


def cron(**changes):
    return broken(timing={**NIGHTLY["timing"], **changes})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "word"),
    [
        (broken(name="../x"), "name"),
        (broken(catch_up=0), "catch_up"),
        (broken(misfire="later"), "misfire"),
        (broken(extra=1), "extra"),
        (cron(expression="x"), "five fields"),
        (cron(expression="99 * * * *"), "minute"),
        (cron(zone="Mars"), "Mars"),
        (broken(timing={"kind": "once", "at": "2020-01-01T00:00Z"}), "passed"),
        (broken(timing={"kind": "once", "at": "soon"}), "soon"),
        (broken(timing={"kind": "interval", "seconds": 0, "start": "x"}), "seconds"),
        (broken(timing={"kind": "event", "type": "No Event"}), "type"),
        (broken(plan={"name": "p", "steps": []}), "steps"),
        (broken(plan={"retrain": {"agent": "a", "settings": {"traces": "/etc"}}}), "folders"),
        (
            broken(
                plan={
                    "name": "p",
                    "steps": [
                        {"name": "a", "kind": "train", "spec": {"config": {"traces": "/etc"}}}
                    ],
                }
            ),
            "folders",
        ),
        (broken(plan={"name": "p", "steps": [{"name": "a", "kind": "rm"}]}), "unknown"),
        (
            broken(plan={"name": "p", "steps": [{"name": "a", "kind": "train", "needs": ["b"]}]}),
            "not a step",
        ),
    ],
)
async def test_bad_schedules_are_refused_and_nothing_kept(client, body, word):
    assert word in json.dumps(await post(client, "/v1/schedules", body, 422))
    assert await get(client, "/v1/schedules") == []


@pytest.mark.anyio
async def test_bad_pipelines_and_announcements_change_nothing(client):
    circle = [
        {"name": "a", "kind": "train", "needs": ["b"]},
        {"name": "b", "kind": "train", "needs": ["a"]},
    ]
    said = await post(client, "/v1/pipelines", {"name": "p", "steps": circle}, 422)
    assert "cut the circle" in said["detail"]
    said = await post(client, "/v1/pipelines", {"retrain": {"agent": "nobody"}}, 422)
    assert "nobody@champion" in said["detail"]
    for type_ in ("model_promoted", "job_succeeded"):
        await post(client, "/v1/announcements", {"type": type_}, 422)
    assert await get(client, "/v1/pipelines") == []


@pytest.mark.anyio
async def test_only_those_who_may_train_may_schedule(client):
    token = await client.doors.make_token("asker", "invoke")
    async with client.doors.caller(token) as asker:
        for path in ("/v1/schedules", "/v1/pipelines"):
            assert (await asker.get(path)).status_code == 403
        assert (await asker.post("/v1/schedules", json=NIGHTLY)).status_code == 403


@pytest.mark.anyio
async def test_only_an_admin_promotes_by_a_pipeline_too(client):
    token = await client.doors.make_token("trainer", "train")
    harmless = {"name": "p", "steps": LINE["steps"][:2]}
    async with client.doors.caller(token) as trainer:
        for plan in (LINE, {"retrain": {"agent": "a"}}):
            assert (await trainer.post("/v1/pipelines", json=plan)).status_code == 403
            schedule = {**NIGHTLY, "plan": plan}
            assert (await trainer.post("/v1/schedules", json=schedule)).status_code == 403
        assert (await trainer.post("/v1/pipelines", json=harmless)).status_code == 202


# The command line


@pytest.fixture
def shell(tmp_path):
    def call(*words):
        return CliRunner().invoke(commands.cli, ["--var", str(tmp_path), *words])

    call.root = tmp_path
    return call


@pytest.fixture
def line(tmp_path):
    path = tmp_path / "line.yaml"
    path.write_text(yaml.safe_dump(LINE))
    return str(path)


def said(done, code=0):
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_a_schedule_from_the_command_line(shell, line):
    added = said(
        shell("schedules", "add", "nightly", "cron=30 2 * * *", "zone=Asia/Tokyo", f"file={line}")
    )
    assert "T17:30:00+00:00" in added
    (listed,) = json.loads(shell("schedules", "list", "--json").stdout)
    assert (listed["timing"]["zone"], listed["plan"]["name"]) == ("Asia/Tokyo", "line")
    assert "launched, pipeline" in said(shell("schedules", "run", "nightly"))
    shown = json.loads(shell("schedules", "next", "nightly", "--count", "2", "--json").stdout)
    assert len(shown["next"]) == 2
    (fire,) = shown["last"]
    assert "learn" in said(shell("pipelines", "show", fire["pipeline_id"][-6:]))
    assert "learn queued, judge pending" in said(shell("pipelines", "list"))
    assert "paused" in said(shell("schedules", "pause", "nightly"))
    assert "paused" in said(shell("schedules", "list"))
    said(shell("schedules", "resume", "nightly"))
    said(shell("schedules", "delete", "nightly"))
    assert "No schedules" in said(shell("schedules", "list"))


def test_retraining_of_an_agent_that_no_run_made_is_refused_at_once(shell):
    refused = said(shell("schedules", "add", "a", "every=6h", "retrain=x"), 2)
    assert "x@champion: no agent has this alias" in refused
    assert "No schedules" in said(shell("schedules", "list"))


def test_other_timings_and_words(shell, line, monkeypatch):
    monkeypatch.setattr(submission, "plan_retraining", AsyncMock())  # x has a champion
    said(shell("schedules", "add", "a", "every=6h", "retrain=x", "set.seed=1", "overlap=cancel"))
    said(shell("schedules", "add", "b", "at=2126-01-01T00:00+01:00", f"file={line}"))
    said(
        shell(
            *("schedules", "add", "c", "on=drift", "where.agent=x", "cooldown_seconds=9"),
            *("misfire=catch_up", "catch_up=3", "max_pending=4", "retrain=x"),
        )
    )
    a, b, c = json.loads(shell("schedules", "list", "--json").stdout)
    assert (a["timing"]["seconds"], a["overlap"]) == (21_600, "cancel")
    assert a["plan"] == {"retrain": {"agent": "x", "settings": {"seed": 1}}}
    assert b["timing"]["at"] == "2125-12-31T23:00:00+00:00"
    assert c["timing"] == {
        "kind": "event",
        "type": "drift",
        "where": {"agent": "x"},
        "cooldown_seconds": 9.0,
    }
    assert (c["misfire"], c["catch_up"], c["max_pending"]) == ("catch_up", 3, 4)
    assert "Announced new_data" in said(shell("schedules", "announce", "new_data", "rows=3"))
    assert "snake_case" in said(shell("schedules", "announce", "job_done"), 2)


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["retrain=x"], "say when"),
        (["cron=* * * * *", "every=1h", "retrain=x"], "say when"),
        (["cron=* * * * *"], "what to start"),
        (["every=1w", "retrain=x"], "90s"),
        (["every=1h", "zone=UTC", "retrain=x"], "zone does not belong"),
        (["every=1h", "retrain=x", "speed=9"], "speed does not belong"),
        (["every=1h", "retrain=x", "overlap=maybe"], "skip, queue, cancel"),
        (["every=1h", "retrain=x", "catch_up=many"], "whole number"),
        (["every=1h", "retrain"], "name=value"),
        (["every=1h", "every=2h", "retrain=x"], "twice"),
        (["every=1h", "file=/absent.yaml"], "cannot be read"),
        (["on=drift", "where=3", "retrain=x"], "where.FIELD"),
    ],
)
def test_words_that_fit_nothing_say_what_to_write(shell, words, word):
    assert word in said(shell("schedules", "add", "x", *words), 2)


def test_pipelines_from_the_command_line(shell, line):
    done = json.loads(shell("pipelines", "submit", line, "--json").stdout)
    assert [step["step"] for step in done["steps"]] == ["learn", "judge", "promote"]
    assert "NAME=VALUE" in said(shell("pipelines", "submit", "--help"))
    assert "no agent has this alias" in said(shell("pipelines", "submit", "retrain", "agent=x"), 2)
    assert "name the agent" in said(shell("pipelines", "submit", "retrain"), 2)
    assert "a file says everything" in said(shell("pipelines", "submit", line, "a=1"), 2)
    assert "no pipeline" in said(shell("pipelines", "show", "nothing"), 2)


def test_webhooks_from_the_command_line(shell, monkeypatch):
    receiver = Receiver()
    try:
        monkeypatch.setenv("QUARTERMASTER_WEBHOOK_HOSTS", "127.0.0.1")
        monkeypatch.setenv("QM_TEST_SECRET", SECRET)
        how = ("--event", "model_promoted", "--secret", PLACE)
        said(shell("webhooks", "add", "ops", receiver.url, *how))
        assert "arrived" in said(shell("webhooks", "test", "ops"))
        assert len(receiver.got) == 1
        receiver.status = 500
        assert "status 500" in said(shell("webhooks", "test", "ops"), 1)
        (listed,) = json.loads(shell("webhooks", "list", "--json").stdout)
        assert (listed["name"], listed["deliveries"]) == ("ops", {})
        assert SECRET not in shell("webhooks", "list", "--json").stdout
        assert "not listed" in said(shell("webhooks", "add", "x", "https://a.example/", *how), 2)
        said(shell("webhooks", "delete", "ops"))
        assert "No webhooks" in said(shell("webhooks", "list"))
    finally:
        receiver.close()


@pytest.mark.anyio
async def test_the_automation_of_an_application_fires_by_itself(tmp_path, monkeypatch):
    from orchestration.app import Settings, open_application
    from orchestration.scheduler.schedules import NewSchedule
    from orchestration.scheduler.timing import Once
    from utils.clock import SystemClock

    async with open_application(Settings(var=tmp_path), with_worker=True) as application:
        automation = application.orchestrator.automation
        soon = SystemClock().now() + timedelta(milliseconds=50)
        new = NewSchedule(name="soon", timing=Once(at=soon), plan=LINE)
        await automation.schedules.add(new)
        fired = anyio.Event()
        monkeypatch.setattr(automation.scheduler, "_wake", fired.set)
        async with anyio.create_task_group() as group:
            group.start_soon(automation.run)
            with anyio.fail_after(120):
                await fired.wait()
            group.cancel_scope.cancel()
        (jobs,) = await automation.pipelines.recent()
        assert len(jobs) == 3


@pytest.mark.anyio
async def test_an_application_with_a_worker_looks_at_schedules_and_webhooks(tmp_path, monkeypatch):
    from orchestration.app import Settings, open_application

    async with open_application(Settings(var=tmp_path), with_worker=True) as application:
        automation, looked = application.orchestrator.automation, []
        for one in (automation.scheduler, automation.courier):
            done = anyio.Event()
            looked.append(done)

            async def look(done=done):
                done.set()

            monkeypatch.setattr(one, "look", look)
        async with anyio.create_task_group() as group:
            group.start_soon(application.run)
            with anyio.fail_after(120):
                for done in looked:
                    await done.wait()
            group.cancel_scope.cancel()
