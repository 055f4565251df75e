"""What every door refuses: callers without the scope, large bodies, too much at once."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import anyio
import anyio.lowlevel
import httpx
import pytest

from orchestration.endpoints.reception import (
    Choice,
    Reception,
    ReceptionConfig,
    TooManyCallsError,
)
from tests.orchestration.house import AGENT, REQUEST
from tests.orchestration.served import serve
from utils.clock import ManualClock
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
MCP_HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": AGENT,
}
A2A_HEADERS = {"a2a-version": "1.0"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def mcp_call(request, agent=AGENT):
    params = {"name": agent, "arguments": request, "_meta": META}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def a2a_message(request, agent=AGENT):
    message = {
        "messageId": "m",
        "role": "ROLE_USER",
        "parts": [{"data": request}],
        "metadata": {"agent": agent},
    }
    return {"message": message}


def a2a_call(request, agent=AGENT):
    params = a2a_message(request, agent)
    return {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}


DOORS = {
    "invoke": (f"/v1/agents/{AGENT}:invoke", {}, lambda request: request),
    "version": (f"/v1/agents/{AGENT}/versions/1:invoke", {}, lambda request: request),
    "batch": (f"/v1/agents/{AGENT}:batch", {}, lambda request: [request]),
    "mcp": ("/mcp", MCP_HEADERS, mcp_call),
    "a2a": ("/a2a", A2A_HEADERS, a2a_call),
    "a2a_rest": ("/a2a/message:send", A2A_HEADERS, a2a_message),
}


async def post(client, door, request=REQUEST, **more):
    path, headers, wrap = DOORS[door]
    headers = {**headers, **more.pop("headers", {})}
    if "content" in more:
        return await client.post(path, headers=headers, **more)
    return await client.post(path, json=wrap(request), headers=headers)


async def test_doors_open_for_tokens_of_their_scope_only(tmp_path, capfd):
    async with serve(tmp_path) as doors:
        async with doors.rest() as client:
            for door in DOORS:  # open, as nobody has a token
                assert (await post(client, door)).status_code == 200
        invoke = await doors.make_token("caller", "invoke")
        train = await doors.make_token("trainer", "train")
        doors.parts.callers._proved.clear()
        for token, status in ((invoke, 200), (train, 403), ("qm_wrong", 401), (None, 401)):
            async with doors.rest(token) as client:
                answers = [await post(client, door) for door in DOORS]
                answers.append(await client.get("/.well-known/agent-card.json"))
            assert [one.status_code for one in answers] == [status] * len(answers)
            for answer in answers:
                assert token is None or token not in answer.text
                if status != 200:
                    assert answer.headers["content-type"] == "application/problem+json"
    said = "".join(capfd.readouterr())
    assert invoke not in said
    assert train not in said


async def announce(url, path, length):
    """The answer to a request whose body is announced and never sent."""
    host, _, port = url.removeprefix("http://").partition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
        await stream.send(head.encode())
        said = b""
        with anyio.fail_after(120):
            while b"larger than" not in said:
                said += await stream.receive()
    return said.decode()


async def test_twelve_megabytes_are_refused_at_once_while_health_answers(tmp_path):
    """Announced, before a byte is read; in chunks, as soon as they are too many."""
    size = 12 * 1024 * 1024

    async def pieces():
        yield b'"'
        for _ in range(size // 65536):
            yield b"a" * 65536
        yield b'"'

    async with serve(tmp_path) as doors, doors.rest() as client, doors.rest() as other:
        answers = []

        async def send(door):
            try:
                answer = await post(client, door, content=pieces())
                answers.append((answer.status_code, answer.headers["content-type"]))
            except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
                answers.append("closed")  # it hung up on us before we had read its answer

        for door in DOORS:
            said = await announce(doors.url, DOORS[door][0], size)
            assert said.startswith("HTTP/1.1 413 "), door
            async with anyio.create_task_group() as group:
                group.start_soon(send, door)
                with anyio.fail_after(120):
                    assert (await other.get("/health/live")).status_code == 200
            assert answers.pop() in {"closed", (413, "application/problem+json")}, door
            with anyio.fail_after(120):
                assert (await post(other, door)).status_code == 200


async def test_a_message_of_many_values_is_refused_before_it_is_parsed(tmp_path):
    many = {"services": [0] * 20_000}
    async with serve(tmp_path) as doors, doors.rest() as client:
        for door in ("a2a", "a2a_rest"):
            answer = await post(client, door, many)
            assert answer.status_code == 413
            assert ":invoke" in answer.json()["detail"]


BROKEN = (
    *(b"", b"{", b"null", b"[]", b"\xff\xfe", b'"\\ud800"', b"1e400", b"NaN"),
    b"[" * 30_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
)


async def check_broken(client, door):
    for content in BROKEN:
        answer = await post(client, door, content=content)
        assert answer.status_code < 500, (door, content[:20], answer.text)
        assert "Traceback" not in answer.text
        if answer.status_code == 200:  # JSON-RPC tells errors inside
            assert "error" in answer.json(), (door, content[:20], answer.text)


async def test_what_is_no_request_is_the_senders_fault(tmp_path):
    nested = REQUEST
    for _ in range(150):
        nested = {"services": [nested]}
    async with serve(tmp_path) as doors, doors.rest() as client:
        for door in DOORS:
            await check_broken(client, door)
            answer = await post(client, door, nested)
            assert answer.status_code < 500, (door, answer.text)


async def test_numbers_that_are_none_do_not_get_in(tmp_path):
    async with serve(tmp_path) as doors, doors.rest() as client:
        for path, headers, wrap in DOORS.values():
            good = json.dumps(wrap({**REQUEST, "time_of_day": 0.4375}))
            answer = await client.post(path, content=good, headers=headers)
            assert "allocation" in answer.text
            for word in ("NaN", "Infinity", "-Infinity", "1e999"):
                content = good.replace("0.4375", word)
                answer = await client.post(path, content=content, headers=headers)
                assert answer.status_code < 500
                assert "expected_value" not in answer.text


async def test_foreign_pages_reach_no_door(tmp_path):
    async with serve(tmp_path) as doors, doors.rest() as client:
        for door in DOORS:
            answer = await post(client, door, headers={"origin": "https://evil.example"})
            assert answer.status_code == 403
            answer = await post(client, door)
            assert "access-control-allow-origin" not in answer.headers
            path = DOORS[door][0]
            asked = {"origin": doors.url, "access-control-request-method": "POST"}
            answer = await client.options(path, headers=asked)
            assert "access-control-allow-origin" not in answer.headers


async def test_a_caller_above_its_pace_is_told_when_to_come_back(tmp_path):
    config = ReceptionConfig(calls_per_second=0.01)

    def slow(parts):
        reception = Reception(parts.orchestrator, parts.clock, config)
        parts.late._reception = reception
        return replace(parts, reception=reception)

    async with serve(tmp_path, change=slow) as doors, doors.rest() as client:
        for door in DOORS:
            doors.parts.reception._levels.clear()
            assert (await post(client, door)).status_code == 200
            answer = await post(client, door)
            if door in {"mcp", "a2a"}:  # these say it inside their answer
                assert "asks too often; try again in" in answer.text
            else:
                assert answer.status_code == 429
            if door in {"invoke", "version", "batch"}:
                assert 90 <= int(answer.headers["retry-after"]) <= 100


class Orchestra:
    """Agents that answer when they are told to."""

    def __init__(self):
        self.asked = []
        self.may_answer = anyio.Event()

    async def invoke(self, name, payload, *, deadline_seconds, **choice):
        self.asked.append((name, payload, deadline_seconds))
        await self.may_answer.wait()
        return payload

    async def invoke_batch(self, name, payload, **choice):
        return list(payload)


async def test_an_agent_works_on_a_few_requests_while_few_wait_and_others_are_refused():
    agents = Orchestra()
    reception = Reception(agents, ManualClock(), ReceptionConfig(at_once=2, waiting=1))
    done = []

    async def ask(name, payload):
        done.append(await reception.decide("me", name, payload))

    async with anyio.create_task_group() as group:
        for payload in (b"1", b"2", b"3"):
            group.start_soon(ask, "a", payload)
            await anyio.wait_all_tasks_blocked()
        assert [payload for _, payload, _ in agents.asked] == [b"1", b"2"]
        with pytest.raises(TooManyCallsError, match="full queue"):
            await reception.decide("me", "a", b"4")
        group.start_soon(ask, "b", b"5")  # another agent has a queue of its own
        await anyio.wait_all_tasks_blocked()
        agents.may_answer.set()
    assert sorted(done) == [b"1", b"2", b"3", b"5"]
    assert reception._queues == {}


async def test_waiting_counts_against_the_deadline():
    agents, clock = Orchestra(), ManualClock()
    reception = Reception(agents, clock, ReceptionConfig(at_once=1))
    async with anyio.create_task_group() as group:
        group.start_soon(reception.decide, "me", "a", b"1")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(reception.decide, "me", "a", b"2", Choice(deadline_seconds=50))
        await anyio.wait_all_tasks_blocked()
        clock.advance(20)
        agents.may_answer.set()
    assert agents.asked == [("a", b"1", None), ("a", b"2", 30)]
    assert reception._queues == {}


async def test_who_waited_too_long_is_answered_by_the_expert_at_once():
    agents = Orchestra()
    reception = Reception(agents, ManualClock(), ReceptionConfig(at_once=1))
    async with anyio.create_task_group() as group:
        group.start_soon(reception.decide, "me", "a", b"1")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(reception.decide, "me", "a", b"2", Choice(deadline_seconds=0.01))
        while len(agents.asked) < 2:
            await anyio.lowlevel.checkpoint()
        assert agents.asked[1][2] <= 0.01
        agents.may_answer.set()
    assert reception._queues == {}


async def test_who_leaves_the_queue_leaves_no_hole():
    agents = Orchestra()
    reception = Reception(agents, ManualClock(), ReceptionConfig(at_once=1, waiting=1))
    async with anyio.create_task_group() as group:
        group.start_soon(reception.decide, "me", "a", b"1")
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(reception.decide, "me", "a", b"2")
            await anyio.wait_all_tasks_blocked()
            waiting.cancel_scope.cancel()
        group.start_soon(reception.decide, "me", "a", b"3")
        await anyio.wait_all_tasks_blocked()
        agents.may_answer.set()
    assert [payload for _, payload, _ in agents.asked] == [b"1", b"3"]
    assert reception._queues == {}


async def test_a_pace_is_one_of_decisions_and_each_callers_own():
    clock = ManualClock()
    reception = Reception(Orchestra(), clock, ReceptionConfig(calls_per_second=2))
    assert await reception.decide_all("me", "a", b"1234") == list(b"1234")
    with pytest.raises(TooManyCallsError) as refused:
        reception.charge("me")
    assert refused.value.retry_after_seconds == 1.5  # two were saved up, four were given
    reception.charge("you")
    clock.advance(1.5)
    reception.charge("me")
    with pytest.raises(TooManyCallsError):
        reception.charge("me")


@pytest.mark.parametrize(
    "wrong",
    [
        {"at_once": 0},
        {"waiting": -1},
        {"calls_per_second": 0.0},
        {"calls_per_second": float("nan")},
    ],
)
def test_settings_that_let_nobody_in_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ReceptionConfig(**wrong)


async def test_a_deadline_that_cannot_be_kept_is_answered_by_the_expert(tmp_path):
    path = DOORS["invoke"][0]
    async with serve(tmp_path) as doors, doors.rest() as client:
        answer = (await client.post(f"{path}?deadline_seconds=1e-9", json=REQUEST)).json()
        assert answer["fallback_reason"] == "deadline"
        for wrong in ("0", "-1", "nan", "inf", "61", "soon"):
            answer = await client.post(f"{path}?deadline_seconds={wrong}", json=REQUEST)
            assert answer.status_code == 422
            assert answer.json()["problems"][0]["field"] == "deadline_seconds"
        answer = (await client.post(path, json=REQUEST)).json()
        assert answer["fallback_used"] is False


async def test_a_token_is_not_in_any_log_line(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    async with serve(tmp_path) as doors:
        token = await doors.make_token("caller", "invoke")
        for sent in (token, token[:-1] + "x"):
            async with doors.rest(sent) as client:
                for door in DOORS:
                    await post(client, door)
                    await post(client, door, content=b"{")
        said = "\n".join(f"{one.getMessage()} {one.exc_text}" for one in caplog.records)
        secret = token.rpartition("_")[2][:-1]
        assert secret not in said
        assert "invoke" in said  # something was logged, and would have been seen
