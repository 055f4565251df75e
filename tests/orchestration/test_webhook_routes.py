"""Webhooks over HTTP, by the client and from the command line."""

from __future__ import annotations

import json

import httpx
import pytest
from typer.testing import CliRunner

from orchestration.cli import commands
from orchestration.client import errors
from orchestration.client.client import Client
from orchestration.client.connection import Connection
from tests.orchestration.doors import BASE, open_doors
from tests.orchestration.test_webhooks import SECRET, Receiver

pytestmark = pytest.mark.anyio
PLACE = "env:QM_TEST_SECRET"


@pytest.fixture
def receiver(monkeypatch):
    monkeypatch.setenv("QUARTERMASTER_WEBHOOK_HOSTS", "127.0.0.1")
    monkeypatch.setenv("QM_TEST_SECRET", SECRET)
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
async def doors(tmp_path, receiver):
    async with open_doors(tmp_path) as found:
        yield found


def connect(doors, token=None):
    transport = httpx.ASGITransport(doors.api, raise_app_exceptions=False)
    return Connection(BASE, token=token, transport=transport)


async def announce(doors, count):
    schedules = doors.application.orchestrator.automation.schedules
    for number in range(count):
        await schedules.announce("new_data", {"number": number})


async def test_a_webhook_by_the_client(doors, receiver):
    courier = doors.application.orchestrator.automation.courier
    async with connect(doors) as connection:
        webhooks = Client(connection).webhooks
        made = await webhooks.add("ops", receiver.url, events=["new_data"], secret=PLACE)
        assert (made.name, made.events, made.secret) == ("ops", ["new_data"], PLACE)
        assert await webhooks.list() == [made]
        assert await webhooks.test("ops") is None
        assert len(receiver.got) == 1
        await announce(doors, 3)
        assert await courier.look() == ["delivered"] * 3
        receiver.status = 500
        assert await webhooks.test("ops") == "status 500"
        await announce(doors, 1)
        assert await courier.look() == ["pending"]
        newest = await webhooks.deliveries("ops", count=2)
        assert [one.status for one in newest] == ["pending", "delivered"]
        assert (newest[0].event, newest[0].attempts, newest[0].error) == (
            "new_data",
            1,
            "status 500",
        )
        older = await webhooks.deliveries("ops", before=newest[-1].id)
        assert [one.event_seq for one in [*newest, *older]] == [4, 3, 2, 1]
        (listed,) = await webhooks.list()
        assert listed.deliveries == {"delivered": 3, "pending": 1}
        await webhooks.delete("ops")
        assert await webhooks.list() == []
        with pytest.raises(errors.NotFoundError):
            await webhooks.deliveries("ops")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"url": "https://elsewhere.example/"}, "not listed"),
        ({"url": "ftp://127.0.0.1/"}, "https://host/path"),
        ({"url": "http://user:word@127.0.0.1/"}, "no user"),
        ({"url": "http://127.0.0.1/" + "x" * 2000}, "url"),
        ({"name": "../ops"}, "name"),
        ({"events": []}, "events"),
        ({"events": ["webhook_gave_up"]}, "webhook_gave_up"),
        ({"events": ["No Event"]}, "events"),
        ({"secret": "file:/etc/passwd"}, "secret"),
        ({"secret": "plain-words-of-mine"}, "secret"),
        ({"extra": 1}, "extra"),
    ],
)
async def test_what_cannot_be_a_webhook_is_refused_and_nothing_kept(doors, receiver, change, word):
    body = {"name": "ops", "url": receiver.url, "events": ["new_data"], "secret": PLACE} | change
    async with doors.caller() as caller:
        answer = await caller.post("/v1/webhooks", json=body)
        assert answer.status_code == 422
        assert word in answer.text
        assert SECRET not in answer.text
        assert (await caller.get("/v1/webhooks")).json() == []
    assert receiver.got == []


async def test_a_taken_name_and_unknown_ones(doors, receiver):
    body = {"name": "ops", "url": receiver.url, "events": ["new_data"], "secret": PLACE}
    async with doors.caller() as caller:
        made = await caller.post("/v1/webhooks", json=body)
        assert (made.status_code, made.headers["location"]) == (201, "/v1/webhooks/ops")
        again = await caller.post("/v1/webhooks", json={**body, "events": ["drift"]})
        assert again.status_code == 422
        assert "exists already" in again.text
        assert (await caller.get("/v1/webhooks")).json() == [made.json()]
        for method, path in (("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
            answer = await caller.request(method, f"/v1/webhooks/other{path}")
            assert answer.status_code == 404


async def test_only_an_admin_sends_words_out(doors, receiver):
    body = {"name": "ops", "url": receiver.url, "events": ["new_data"], "secret": PLACE}
    trainer = await doors.make_token("trainer", "train")
    admin = await doors.make_token("admin", "admin")
    async with doors.caller(trainer) as caller:
        assert (await caller.get("/v1/webhooks")).status_code == 403
        assert (await caller.post("/v1/webhooks", json=body)).status_code == 403
    async with doors.caller(admin) as caller:
        assert (await caller.get("/v1/webhooks")).json() == []
        assert (await caller.post("/v1/webhooks", json=body)).status_code == 201


async def test_deliveries_from_the_command_line(tmp_path, receiver):
    def shell(*words):
        done = CliRunner().invoke(commands.cli, ["--var", str(tmp_path), *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    def fill():
        shell("webhooks", "add", "ops", receiver.url, "--event", "new_data", "--secret", PLACE)
        assert "No deliveries" in shell("webhooks", "deliveries", "ops")
        shell("schedules", "announce", "new_data", "number=1")

    from anyio import to_thread

    await to_thread.run_sync(fill)
    async with open_doors(tmp_path) as doors:
        await doors.application.orchestrator.automation.courier.look()

    def look():
        (listed,) = json.loads(shell("webhooks", "deliveries", "ops", "--json"))
        assert (listed["event"], listed["status"], listed["attempts"]) == (
            "new_data",
            "delivered",
            1,
        )
        assert "delivered" in shell("webhooks", "deliveries", "ops")

    await to_thread.run_sync(look)
