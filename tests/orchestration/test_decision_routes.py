"""Decisions, approvals, outcomes and facts over HTTP, by the client and from the command line."""

from __future__ import annotations

import json
import re

import anyio
import pytest
from typer.testing import CliRunner

from orchestration.cli import commands
from orchestration.client.client import Client
from orchestration.client.connection import Connection
from orchestration.client.errors import ConflictError
from orchestration.endpoints.streams import StreamConfig, Streams
from tests.orchestration.doors import BASE, open_doors
from tests.orchestration.house import AGENT, REQUEST, open_house
from utils.clock import SystemClock

SETTINGS = f"/v1/agents/{AGENT}/settings"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def client(tmp_path):
    async with open_doors(tmp_path, versions=1) as doors, doors.caller() as found:
        found.doors = doors
        yield found


async def send(client, method, path, body=None, status=200):
    answer = await client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def invoke(client, status=202):
    return await send(client, "POST", f"/v1/agents/{AGENT}:invoke", REQUEST, status)


async def require(client, **more):
    return await send(client, "PUT", SETTINGS, {"needs_approval": True, **more})


@pytest.mark.anyio
async def test_a_decision_waits_and_a_person_approves_it(client):
    decision = await invoke(client, 200)
    plain = await send(client, "GET", f"/v1/decisions/{decision['decision_id']}")
    assert (plain["approval"], plain["holds"], plain["review"]) == ("not_needed", None, None)
    assert plain["record"]["outcome"] == "decision"
    made = await require(client, approval_seconds=60)
    assert (made["changed_by"], made["approval_seconds"]) == ("local", 60.0)
    assert await send(client, "GET", SETTINGS) == made
    decision = await invoke(client)
    assert decision["approval"] == "waiting"
    place = f"/v1/decisions/{decision['decision_id']}"
    assert (await send(client, "GET", place))["approval"] == "waiting"
    (listed,) = (await send(client, "GET", "/v1/approvals?state=waiting"))["items"]
    assert listed["proposed"] == decision
    approval = f"/v1/approvals/{decision['decision_id']}"
    assert await send(client, "GET", approval) == listed
    settled = await send(client, "POST", f"{approval}/approve", {"reason": "fine"})
    assert (settled["state"], settled["decided_by"]) == ("approved", "local")
    view = await send(client, "GET", place)
    assert (view["approval"], view["holds"]) == ("approved", {**decision, "approval": "approved"})
    await send(client, "POST", f"{approval}/reject", {}, 409)
    audit = await send(client, "GET", "/v1/audit")
    actions = [(line["action"], line["outcome"]) for line in audit["lines"]]
    assert ("POST /v1/approvals/{decision_id}/approve", "200") in actions
    assert ("POST /v1/approvals/{decision_id}/reject", "409") in actions
    types = [one["type"] for one in (await send(client, "GET", "/v1/events"))["items"]]
    assert types[-2:] == ["approval_waiting", "approval_given"]


@pytest.mark.anyio
async def test_an_override_must_be_feasible(client):
    await require(client)
    decision = await invoke(client)
    approval = f"/v1/approvals/{decision['decision_id']}"
    grants = [{"name": one["name"], "allocation": {"memory": 16.0}} for one in decision["services"]]
    own = {"decision": {"services": grants}}
    wrong = await send(client, "POST", f"{approval}/override", own, 422)
    assert wrong["problems"][0]["field"] == "capacity.memory"
    for one in grants:
        one["allocation"]["memory"] = 15.0
    settled = await send(client, "POST", f"{approval}/override", own)
    assert settled["given"]["leftover"] == {"compute": 80.0, "memory": 0.0}
    view = await send(client, "GET", f"/v1/decisions/{decision['decision_id']}")
    assert (view["approval"], view["holds"]["decided_by"]) == ("overridden", "local")


@pytest.mark.anyio
async def test_verdicts_want_an_admin_and_asking_does_not(client):
    await require(client)
    doors = client.doors
    invoker = await doors.make_token("shop", "invoke")
    admin = await doors.make_token("ann", "admin")
    async with doors.caller(invoker) as shop, doors.caller(admin) as ann:
        decision = await invoke(shop)
        approve = f"/v1/approvals/{decision['decision_id']}/approve"
        await send(shop, "POST", approve, {}, 403)
        await send(shop, "PUT", SETTINGS, {}, 403)
        await send(shop, "GET", "/v1/approvals", status=403)
        view = await send(shop, "GET", f"/v1/decisions/{decision['decision_id']}")
        assert view["approval"] == "waiting"
        assert (await send(ann, "POST", approve, {}))["decided_by"] == "token:ann"


@pytest.mark.anyio
async def test_outcomes_are_reported_and_decisions_are_found(client):
    ids = [(await invoke(client, 200))["decision_id"] for _ in range(3)]
    await client.doors.application.decision_log.flush()
    page = await send(client, "GET", f"/v1/decisions?agent={AGENT}&limit=2")
    assert [one["id"] for one in page["items"]] == ids[:0:-1]
    rest = await send(client, "GET", f"/v1/decisions?before={page['next']}")
    assert ([one["id"] for one in rest["items"]], rest["next"]) == (ids[:1], None)
    place = f"/v1/decisions/{ids[0]}/outcome"
    told = await send(client, "POST", place, {"realised": {"served_work": 71.5}})
    assert told["realised"] == {"served_work": 71.5}
    assert await send(client, "POST", place, {"realised": {"served_work": 71.5}}) == told
    await send(client, "POST", place, {"realised": {"served_work": 0}}, 409)
    known = await send(client, "GET", "/v1/decisions?is_result_known=true")
    assert [one["id"] for one in known["items"]] == [ids[0]]
    assert (await send(client, "GET", "/v1/decisions?until=2020-01-01T00:00Z"))["items"] == []
    await send(client, "GET", "/v1/decisions?since=2020-01-01T00:00", status=422)
    for path in ("/v1/decisions/none", "/v1/approvals/none"):
        await send(client, "GET", path, status=404)
    await send(client, "POST", "/v1/decisions/none/outcome", {"realised": {}}, 404)
    await send(client, "POST", "/v1/decisions/none/outcome", {"realised": {"x": "\0"}}, 422)
    await send(client, "POST", "/v1/approvals/none/approve", {}, 404)
    await send(client, "PUT", "/v1/agents/nobody/settings", {}, 404)
    await send(client, "PUT", SETTINGS, {"approval_seconds": 0}, 422)


@pytest.mark.anyio
async def test_the_client_waits_until_a_person_has_answered(client):
    await require(client)
    decision = await invoke(client)
    async with Connection(BASE, transport=client._transport) as connection:
        calls = Client(connection).decisions
        (waiting,) = (await calls.waiting(agent=AGENT)).items
        seen = []

        async def wait():
            seen.append(await calls.wait(waiting.decision_id))

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert seen == []
            await calls.reject(waiting.decision_id, reason="no")
        assert (seen[0].approval, seen[0].holds, seen[0].review.reason) == ("rejected", None, "no")
        with pytest.raises(ConflictError):
            await calls.override(decision["decision_id"], {"services": [
                {"name": one["name"], "allocation": {}} for one in decision["services"]
            ]})  # fmt: skip
        with pytest.raises(ConflictError):
            await calls.approve(decision["decision_id"])
        assert (await calls.list_all(agent=AGENT)).items[0].id == decision["decision_id"]
        told = await calls.report_outcome(decision["decision_id"], {"x": 1})
        assert told.realised == {"x": 1}


@pytest.mark.anyio
async def test_facts_are_stated_read_and_followed(client):
    place = "/v1/facts/market/keys/price%20now"
    fact = await send(client, "PUT", place, {"value": 3.5, "expected_version": 0})
    assert (fact["value"], fact["author"], fact["key"]) == (3.5, "local", "price now")
    assert await send(client, "GET", place) == fact
    assert await send(client, "GET", "/v1/facts/market") == [fact]
    assert await send(client, "GET", "/v1/facts/other") == []
    await send(client, "PUT", place, {"value": 4, "expected_version": 0}, 409)
    await send(client, "PUT", place, {"value": "x" * 70_000}, 413)
    await send(client, "PUT", place, {"value": {"a": "\0"}}, 422)
    await send(client, "PUT", place, {"value": 1, "ttl_seconds": 0}, 422)
    await send(client, "PUT", place, {}, 422)
    await send(client, "GET", "/v1/facts/market/keys/none", status=404)
    await send(client, "PUT", place, {"value": [1, None]})


@pytest.mark.anyio
async def test_facts_are_followed(tmp_path):
    streams = Streams(SystemClock(), StreamConfig(longest_seconds=0.001))
    async with open_doors(tmp_path, streams=streams) as doors, doors.caller() as client:
        first = await send(client, "PUT", "/v1/facts/market/keys/a", {"value": 3.5})
        second = await send(client, "PUT", "/v1/facts/market/keys/b", {"value": [1, None]})
        all_told = (await client.get("/v1/facts/market/stream")).text
        assert [json.loads(x) for x in re.findall("data: (.*)", all_told)] == [first, second]
        seen = {"Last-Event-ID": str(first["version"])}
        told = (await client.get("/v1/facts/market/stream", headers=seen)).text
        assert [json.loads(x) for x in re.findall("data: (.*)", told)] == [second]


@pytest.fixture
def shell(tmp_path):
    async def fill():
        async with open_house(tmp_path, versions=1):
            pass

    anyio.run(fill)

    def call(*words, code=0, given=None):
        done = CliRunner().invoke(commands.cli, ["--var", str(tmp_path), *words], input=given)
        assert done.exit_code == code, done.output
        return done.stdout

    return call


def test_approvals_from_the_command_line(shell, tmp_path):
    assert "Nothing waits" in shell("approvals", "list")
    assert "at most 60 seconds" in shell("approvals", "require", AGENT, "--seconds", "60")
    request = tmp_path / "request.json"
    request.write_text(json.dumps(REQUEST))
    ids = []
    for _ in range(3):
        decision = json.loads(shell("invoke", AGENT, str(request)))
        assert decision["approval"] == "waiting"
        ids.append(decision["decision_id"])
    assert ids[0] in shell("approvals", "list", "--agent", AGENT)
    assert "approved now" in shell("approvals", "approve", ids[0], "--reason", "fine")
    shown = json.loads(shell("approvals", "show", ids[0]))
    assert (shown["state"], shown["reason"]) == ("approved", "fine")
    assert shown["decided_by"].startswith("cli:")
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"services": [
        {"name": one["name"], "allocation": {"compute": 30.0}} for one in decision["services"]
    ]}))  # fmt: skip
    shell("approvals", "override", ids[1], str(own), code=2)
    own.write_text(own.read_text().replace("30.0", "20.0"))
    assert "overridden now" in shell("approvals", "override", ids[1], str(own))
    assert "rejected now" in shell("approvals", "reject", ids[2])
    shell("approvals", "approve", ids[2], code=2)
    assert "Nothing waits" in shell("approvals", "list")
    states = {one["state"] for one in json.loads(shell("approvals", "list", "--all", "--json"))}
    assert states == {"approved", "overridden", "rejected"}
    own.write_text("[]")
    shell("approvals", "override", ids[1], str(own), code=2)
    shell("approvals", "override", ids[1], str(tmp_path / "absent"), code=2)
    shell("approvals", "require", "nobody", code=2)
    shell("approvals", "release", AGENT)
    assert json.loads(shell("invoke", AGENT, str(request)))["approval"] == "not_needed"


def test_decisions_from_the_command_line(shell, tmp_path):
    shell("decisions", "regret", AGENT, code=2)  # nothing kept
    assert "newest 5" in shell("decisions", "keep", AGENT, "5", "--regret-limit", "0.5")
    assert "its expert answers" in shell("decisions", "drift", AGENT, "expert")
    shell("decisions", "drift", AGENT, "nobody", code=2)
    request = tmp_path / "request.json"
    request.write_text(json.dumps(REQUEST))
    ids = [json.loads(shell("invoke", AGENT, str(request)))["decision_id"] for _ in range(2)]
    assert ids[0] in shell("decisions", "list", "--agent", AGENT)
    shell("decisions", "report", ids[0], "served_work=71.5", "arrived.search=3")
    shown = json.loads(shell("decisions", "show", ids[0]))
    assert shown["realised"] == {"served_work": 71.5, "arrived": {"search": 3}}
    shell("decisions", "show", "none", code=2)
    report = json.loads(shell("decisions", "regret", AGENT, "--json"))
    assert (report["num_decisions"], report["num_realised"], report["low"]) == (2, 0, None)
    assert "over 2 decisions, 0 of them" in " ".join(shell("decisions", "regret", AGENT).split())
