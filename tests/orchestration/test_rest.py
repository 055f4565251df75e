"""The API over real HTTP messages: what it answers, refuses, and never reads."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest

from orchestration.endpoints.bodies import LARGEST_BODY_BYTES, LARGEST_BULK_BYTES, BodyLimit
from orchestration.endpoints.rest import make_api
from orchestration.serving import make_api_parts
from tests.orchestration.house import AGENT, REQUEST, Hand, open_house

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
BASE = "http://127.0.0.1:8321"
INVOKE = f"/v1/agents/{AGENT}:invoke"


class House:
    def __init__(self, application, client):
        self.application = application
        self.client = client

    async def post(self, path, body=None):
        return await self.client.post(path, json=body)

    async def submit(self, **config):
        return (await self.post("/v1/jobs", {"config": config})).json()


@pytest.fixture
async def house(tmp_path):
    async with open_house(tmp_path, versions=2) as application:
        api = make_api(make_api_parts(application))
        transport = httpx.ASGITransport(api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            yield House(application, client)


def assert_problem(answer, status, *words, fields=None):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert content["status"] == status
    for word in words:
        assert word in content["detail"]
    if fields is not None:
        assert {one["field"] for one in content["problems"]} == fields


async def test_health(house):
    assert (await house.client.get("/health/live")).json() == {"status": "live"}
    assert (await house.client.get("/health/ready")).json() == {"status": "ready"}


async def test_not_ready_without_its_database(house):
    house.application.database.path.write_bytes(b"x" * 8192)
    await house.application.database.aclose()
    assert_problem(await house.client.get("/health/ready"), 503)
    assert (await house.client.get("/health/live")).status_code == 200


async def test_a_job_is_submitted_followed_and_cancelled(house):
    answer = await house.post("/v1/jobs", {"config": {"total_episodes": 128, "seed": 7}})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["state"], job["config"]["seed"]) == ("queued", 7)
    assert str(Path.cwd()) not in answer.text
    assert (await house.client.get(answer.headers["location"])).json() == {
        **job,
        "retried_from": None,
    }
    (run,) = (await house.client.get("/v1/runs")).json()["items"]
    assert (run["id"], run["job_id"], run["state"]) == (job["run_id"], job["id"], "queued")
    for verb, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        answer = await house.post(f"/v1/jobs/{job['id']}/{verb}")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    (run,) = (await house.client.get("/v1/runs")).json()["items"]
    assert run["state"] == "cancelled"


async def test_the_same_key_is_the_same_job(house):
    body = {"config": {"seed": 1}, "dedupe_key": "mine"}
    first, again = [(await house.post("/v1/jobs", body)).json() for _ in range(2)]
    assert first["id"] == again["id"]


async def test_a_run_tells_its_figures(house):
    job = await house.submit(seed=2)
    hand = Hand(house.application)
    claimed = await hand.claim()
    await hand.report(claimed, 9216, value=2.5, kpi=91.0)
    run = (await house.client.get(f"/v1/runs/{job['run_id']}")).json()
    assert run["latest"]["return"]["value"] == 2.5
    assert run["evaluations"][0]["scores"]["kpi"] == 91.0
    assert run["config"]["seed"] == 2


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"sead": 1}, {"config.sead"}),
        ({"seed": "one", "num_agents": 0}, {"config.seed", "config.num_agents"}),
        ({"total_episodes": 1e400}, {"config.total_episodes"}),
        ({"real_share": float("nan")}, {"config.real_share"}),
        ({"traces": "/etc"}, {"config.traces"}),
        ({"environment": "tradin"}, {"config.environment"}),
    ],
)
async def test_wrong_settings_are_named(house, config, fields):
    body = json.dumps({"config": config}).encode()
    headers = {"content-type": "application/json"}
    answer = await house.client.post("/v1/jobs", content=body, headers=headers)
    assert_problem(answer, 422, fields=fields)
    assert (await house.client.get("/v1/runs")).json() == {"items": [], "next": None}


async def test_wrong_bodies_of_submissions_are_named(house):
    assert_problem(await house.post("/v1/jobs", {"kind": "dance"}), 422, fields={"kind"})
    assert_problem(await house.post("/v1/jobs", {"config": []}), 422, fields={"config"})
    headers = {"content-type": "application/json"}
    answer = await house.client.post("/v1/jobs", content=b"{", headers=headers)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/none"),
        ("POST", "/v1/jobs/none/cancel"),
        ("POST", "/v1/jobs/none/pause"),
        ("POST", "/v1/jobs/none/resume"),
        ("GET", "/v1/runs/none"),
        ("GET", "/v1/agents/none"),
        ("GET", f"/v1/agents/{AGENT}?version=9"),
        ("GET", f"/v1/agents/{AGENT}?alias=shadow"),
        ("GET", "/nowhere"),
    ],
)
async def test_unknown_things_are_404(house, method, path):
    assert_problem(await house.client.request(method, path), 404)


async def test_unknown_agents_and_versions_are_404(house):
    assert_problem(await house.post("/v1/agents/none:invoke", REQUEST), 404, AGENT)
    assert_problem(await house.post("/v1/agents/none/promote", {}), 404)
    answer = await house.post(f"/v1/agents/{AGENT}/promote", {"version": 9})
    assert_problem(answer, 404, "it has: 1, 2")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/jobs", "GET, POST"),
        (INVOKE, "POST"),
        ("/v1/environments/sessions/x", "DELETE"),
        ("/openapi.json", None),
    ],
)
async def test_wrong_methods_are_told_the_right_ones(house, path, methods):
    answer = await house.client.put(path)
    assert_problem(answer, 405)
    assert methods in {None, answer.headers["allow"]}


async def test_wrong_methods_and_queries(house):
    assert_problem(await house.client.delete("/v1/runs"), 405)
    answer = await house.client.delete(f"/v1/agents/{AGENT}/canary")
    assert answer.headers["allow"] == "GET, PUT"
    assert_problem(await house.client.get("/v1/runs?limit=0"), 422, fields={"limit"})


async def test_agents_are_listed_and_described(house):
    (agent,) = (await house.client.get("/v1/agents")).json()
    assert (agent["name"], agent["aliases"]) == (AGENT, {"champion": 1})
    assert [one["version"] for one in agent["versions"]] == [1, 2]
    card = (await house.client.get(f"/v1/agents/{AGENT}")).json()
    assert (card["name"], card["version"]) == (AGENT, "1")
    answer = await house.post(INVOKE, card["examples"][0])
    assert answer.status_code == 200


async def test_the_same_request_gets_the_same_answer_through_every_door(house):
    here = await house.application.orchestrator.invoke(AGENT, REQUEST)
    there = (await house.post(INVOKE, REQUEST)).json()
    for one in (there, ours := here.model_dump(mode="json")):
        del one["duration_seconds"], one["request_id"], one["decision_id"]
    assert there == ours


async def test_a_caller_names_its_request_and_gets_the_version_it_asks_for(house):
    answer = await house.client.post(
        f"{INVOKE}?version=2&deadline_seconds=5", json=REQUEST, headers={"X-Request-Id": "mine"}
    )
    assert (answer.json()["request_id"], answer.json()["version"]) == ("mine", "2")


async def test_promotion_moves_the_champion(house):
    body = {"version": 2, "reason": "better"}
    answer = await house.post(f"/v1/agents/{AGENT}/promote", body)
    assert answer.json()["version"] == 2
    assert (await house.post(INVOKE, REQUEST)).json()["version"] == "2"
    answer = await house.post(f"/v1/agents/{AGENT}/promote", {"version": "2"})
    assert_problem(answer, 422, fields={"version"})


def changed(**changes):
    return json.dumps({**REQUEST, **changes})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{", "request"),
        ("[]", "request"),
        ("", "request"),
        (b"\xff\xfe", "request"),
        (changed(capacity={"compute": float("nan"), "memory": 1.0}), "capacity.compute"),
        (changed(capacity={"compute": float("inf"), "memory": 1.0}), "capacity.compute"),
        (changed(time_of_day=0.5).replace("0.5", "1e400"), "time_of_day"),
        (changed(time_of_day="0.5"), "time_of_day"),
        (changed(capacity={"compute": 5.0}), "capacity.memory"),
        (changed(services=REQUEST["services"][:3]), "services"),
        (changed(services=[]), "services"),
        (changed(extra=1), "extra"),
    ],
)
async def test_wrong_requests_are_named(house, body, field):
    answer = await house.client.post(INVOKE, content=body)
    assert answer.status_code == 422, answer.text
    named = {one["field"] for one in answer.json()["problems"]}
    assert any(one == field or one.startswith(field) for one in named), named


async def test_a_large_body_is_refused(house):
    for path, largest in ((INVOKE, LARGEST_BULK_BYTES), ("/v1/jobs", LARGEST_BODY_BYTES)):
        fits = changed().ljust(largest)
        assert (await house.client.post(path, content=fits)).status_code in {200, 422}
        assert_problem(await house.client.post(path, content=fits + " "), 413)


async def test_a_body_without_a_length_is_read_up_to_the_limit_only(house):
    sent = 0

    async def pieces():
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 1024

    assert_problem(await house.client.post("/v1/jobs", content=pieces()), 413)
    assert sent <= LARGEST_BODY_BYTES / 1024 + 1


async def test_a_body_that_is_announced_too_large_is_not_read_at_all():
    answers = []

    async def never():
        raise AssertionError

    async def send(message):
        answers.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", b"65537")]
    scope = {"type": "http", "path": "/v1/jobs", "headers": headers}
    await BodyLimit(never)(scope, never, send)
    assert answers[0]["status"] == 413
    assert (b"connection", b"close") in answers[0]["headers"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8321"}, 200),
        ({"host": "[::1]:8321"}, 200),
        ({"origin": BASE}, 200),
        ({"host": "[::1"}, 200),
        ({"host": "[evil"}, 403),
        ({"host": "evil.example"}, 403),  # a name that an attacker made point here
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_pages_from_elsewhere_are_refused(house, headers, status):
    answer = await house.client.get("/health/live", headers=headers)
    assert answer.status_code == status


async def test_metrics_hold_jobs_agents_and_process(house):
    await house.submit(seed=1)
    await house.post(INVOKE, REQUEST)
    await house.application.job_metrics.refresh()
    answer = await house.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for line in (
        'job_jobs{kind="train",state="queued"} 1.0',
        f'agent_requests_total{{agent="{AGENT}",outcome="decision",version="1"}} 1.0',
        "# TYPE rl_episode_return gauge",
    ):
        assert line in answer.text
    assert "process_resident_memory_bytes" in answer.text


async def test_a_fault_of_ours_leaks_nothing(house, monkeypatch):
    async def broken():
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(house.application.orchestrator, "agents", broken)
    answer = await house.client.get("/v1/agents")
    assert_problem(answer, 500)
    assert "secret" not in answer.text


async def test_the_schema_documents_the_request(house):
    schema = (await house.client.get("/openapi.json")).json()
    body = schema["paths"]["/v1/agents/{name}:invoke"]["post"]["requestBody"]
    known = body["content"]["application/json"]["schema"]["anyOf"]
    names = {one["$ref"].rpartition("/")[2] for one in known if "$ref" in one}
    assert {"AllocationRequest", "PlacementRequest", "ReplenishmentRequest"} < names
    described = schema["components"]["schemas"]
    assert names < described.keys()
    assert "services" in described["AllocationRequest"]["properties"]


async def test_a_real_server_answers_and_leaves_at_sigterm(tmp_path):
    command = [sys.executable, "-m", "orchestration", "--var", str(tmp_path), "serve", "--port=0"]
    server = subprocess.Popen(  # noqa: ASYNC220  starting it takes no time
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        line = await anyio.to_thread.run_sync(server.stdout.readline)
        url = re.search(r"http://\S+", line)[0]
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            assert (await client.get("/health/ready")).status_code == 200
            assert (await client.post(INVOKE, json=REQUEST)).status_code == 404
            # Announced too large and never sent: the answer comes before the body.
            host, port = url.removeprefix("http://").split(":")
            async with await anyio.connect_tcp(host, int(port)) as stream:
                head = f"POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999999\r\n\r\n"
                await stream.send(head.encode())
                assert (await stream.receive()).startswith(b"HTTP/1.1 413")
            async with client.stream("GET", "/v1/events/stream") as stream:
                lines = stream.aiter_lines()
                await anext(lines)
                server.send_signal(signal.SIGTERM)
                assert [line async for line in lines] == [""]  # ended whole, by the server
        rest, _ = await anyio.to_thread.run_sync(server.communicate)
        assert server.returncode == 0
        assert "Stopped" in rest
    finally:
        server.kill()
        server.wait()
