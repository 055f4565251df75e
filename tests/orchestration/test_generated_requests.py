"""Made-up requests over all doors of a served process: never a fault, never an unlawful answer.

`QUARTERMASTER_GENERATED=20000` makes it many.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from ai_agents.base_agent import Decision
from ai_agents.domains import DOMAINS
from orchestration.app import Settings, open_application
from orchestration.endpoints.shapes import kinds_of
from tests.orchestration.served import adopt_one_of_each
from tests.orchestration.test_door_guards import (
    A2A_HEADERS,
    MCP_HEADERS,
    a2a_call,
    a2a_message,
    mcp_call,
)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
NUMBER = int(os.environ.get("QUARTERMASTER_GENERATED", "400"))
MOST_RSS_MIB = 180
JSON = {"content-type": "application/json"}
MAKERS = list(DOMAINS.values())  # loads all kinds of decisions
DECISIONS = {kind.__name__: kind for kind in kinds_of(Decision)}
DOORS = {
    "invoke": ("/v1/agents/{name}:invoke", JSON, lambda request, name: request),
    "batch": ("/v1/agents/{name}:batch", JSON, lambda request, name: [request] * 2),
    "mcp": ("/mcp", {**MCP_HEADERS, "mcp-name": "{name}"}, mcp_call),
    "a2a": ("/a2a", {**JSON, **A2A_HEADERS}, a2a_call),
    "a2a_rest": ("/a2a/message:send", {**JSON, **A2A_HEADERS}, a2a_message),
}


def post(client, door, name, request):
    path, headers, wrap = DOORS[door]
    headers = {key: value.format(name=name) for key, value in headers.items()}
    content = json.dumps(wrap(request, name)).encode()
    return client.post(path.format(name=name), content=content, headers=headers)


class Server:
    """A process of `serve`, with an agent of each kind."""

    def __init__(self, var):
        async def fill():
            async with open_application(Settings(var=var), with_worker=False) as application:
                registry = application.orchestrator.registry
                await adopt_one_of_each(registry)
                return await registry.cards()

        self.cards = anyio.run(fill)
        command = [sys.executable, "-m", "orchestration", "--var", str(var), "serve", "--port=0"]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=env
        )
        self.url = re.search(r"http://\S+", self.process.stdout.readline())[0]
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def close(self):
        self.client.close()
        self.process.terminate()
        self.process.communicate(timeout=240)

    def memory_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def libraries(self):
        return Path(f"/proc/{self.process.pid}/maps").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("served"))
    yield found
    found.close()


STRANGE = st.one_of(
    st.floats(),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e3, max_value=1e6),
    st.integers(-2, 10),
    st.integers(),
    st.none(),
    st.booleans(),
    st.text(max_size=10),
    st.just("\ud800"),
    st.lists(st.floats(width=16), max_size=20),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)
FACTORS = st.floats(0.0, 3.0, allow_nan=False)


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else []
    items = enumerate(value) if isinstance(value, list) else items
    for key, one in items:
        yield from places(one, (*path, key))


@st.composite
def requests(draw, examples):
    """Whose example it was, and the example, changed a little and lawfully, or in any way."""
    which = draw(st.integers(0, len(examples) - 1))
    request = json.loads(examples[which])
    for _ in range(draw(st.integers(0, 3))):
        *path, key = draw(st.sampled_from([one for one in places(request) if one])) or [None]
        holder = request
        for step in path:
            holder = holder[step]
        value = holder[key]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and draw(st.booleans()):
            holder[key] = type(value)(value * draw(FACTORS))
        elif draw(st.integers(0, 5)) == 0:
            del holder[key]
            if not request:
                break
        else:
            holder[key] = draw(STRANGE)
    return which, request


def decisions_of(door, answer):
    """All decisions that an answer holds."""
    content = from_json(answer.content, allow_inf_nan=False)
    if door == "mcp":
        content = content.get("result", {}).get("structuredContent")
    elif door in {"a2a", "a2a_rest"}:
        message = content.get("result", content).get("message")
        content = None if message is None else message["parts"][0]["data"]
    if isinstance(content, list):
        return content
    return [content] if content and "decision_id" in content else []


def check_allocation(request, decision):
    for resource, most in request["capacity"].items():
        given_out = [one["allocation"][resource] for one in decision["services"]]
        assert min(given_out) >= 0
        assert sum(given_out) <= most * (1 + 1e-6) + 1e-6


def check_replenishment(request, decision):
    assert len(decision["products"]) == len(request["products"])
    for product in decision["products"]:
        assert all(line["order"] >= 0 <= line["expected_shipment"] for line in product["orders"])


def check_network_orders(request, decision):
    for supplier, units in request["stock"].items():
        sent = [line["order"] for line in decision["orders"] if line["supplier"] == supplier]
        assert sum(sent) <= units * (1 + 1e-9)
    assert all(line["order"] >= 0 for line in decision["orders"])


def check_execution(request, decision):
    left, sold = request["shares_left"], decision["next_slice"]
    assert 0 <= sold <= left
    assert sold % request.get("lot", 1) == 0
    assert decision["shares_after"] == left - sold
    assert request["slices_left"] > 1 or sold == left
    assert sum(decision["outlook"]["slices"]) == left


def check_placement(request, decision):
    found = [decision["placement"], *decision["alternatives"]]
    for place in (one for one in found if one is not None):
        node, pod = request["nodes"][int(place["position"])], request["pod"]
        assert node["free_cpu_milli"] >= pod["cpu_milli"]
        assert node["free_memory_mib"] >= pod["memory_mib"]
        assert len(place["gpus"]) == pod.get("gpus", 0)
        need = pod.get("gpu_milli") or 1000
        assert all(node["free_gpu_milli"][int(one)] >= need for one in place["gpus"])


def check_view(request, decision):
    """Of the jobs that wait, one is chosen that has room at some time; or none."""
    chosen, waiting = int(decision["action"]), len(request["length"])
    assert 0 <= chosen <= waiting
    if chosen < waiting:
        assert request["length"][chosen] > 0
        needs = list(zip(request["free"], request["need"][chosen], strict=True))
        times = range(len(request["free"][0]))
        assert any(all(free[time] >= need for free, need in needs) for time in times)


CHECKS = {
    "ViewDecision": check_view,
    "AllocationDecision": check_allocation,
    "ReplenishmentDecision": check_replenishment,
    "NetworkOrdersDecision": check_network_orders,
    "ExecutionDecision": check_execution,
    "PlacementDecision": check_placement,
}


def test_no_request_breaks_a_door_or_a_constraint(server):
    seen = {"answers": 0, "decisions": 0, "refused": 0}
    doors = st.sampled_from(sorted(DOORS))
    allowed = settings(
        max_examples=NUMBER,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )

    @allowed
    @given(made=requests([json.dumps(card.examples[0]) for card in server.cards]), door=doors)
    def ask(made, door):
        card, request = server.cards[made[0]], made[1]
        answer = post(server.client, door, card.name, request)
        assert answer.status_code < 500, answer.text
        assert "Traceback" not in answer.text
        found = decisions_of(door, answer)
        seen["answers"] += 1
        seen["decisions"] += len(found)
        seen["refused"] += not found
        title = card.decision_schema["title"]
        for decision in found:
            if door not in {"a2a", "a2a_rest"}:  # there 3 is 3.0
                DECISIONS[title].model_validate(decision)
            CHECKS[title](request, decision)

    ask()
    print(seen)  # noqa: T201  for who asks for many
    assert seen["answers"] >= NUMBER
    assert seen["decisions"] > NUMBER / 5
    assert seen["refused"] > NUMBER / 10
    assert server.client.get("/health/ready").status_code == 200


def test_a_serving_process_has_no_torch_and_is_small(server):
    """Runs last: all doors were used."""
    for card in server.cards:
        for door in DOORS:
            answer = post(server.client, door, card.name, card.examples[0])
            assert answer.status_code == 200
            assert decisions_of(door, answer)
    assert server.client.get("/.well-known/agent-card.json").status_code == 200
    assert "libtorch" not in server.libraries()
    assert "numpy" in server.libraries()
    assert server.memory_mib() <= MOST_RSS_MIB
    print(f"{server.memory_mib():.0f} MiB")  # noqa: T201
