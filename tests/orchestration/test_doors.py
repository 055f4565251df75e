"""All doors lead to the same agents: REST, batch, MCP over HTTP and stdio, A2A, in process."""

from __future__ import annotations

import json

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from tests.orchestration.house import AGENT, REQUEST
from tests.orchestration.served import ask_a2a, decided, serve, stdio

pytestmark = pytest.mark.anyio
INVOKE, BATCH = f"/v1/agents/{AGENT}:invoke", f"/v1/agents/{AGENT}:batch"


def assert_close(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, value in zip(found, expected, strict=True):
            assert_close(one, value)
    else:
        assert found == (pytest.approx(expected, 1e-4, 1e-4) if is_number(expected) else expected)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


async def test_the_same_request_gets_the_same_decision_at_every_door(tmp_path):
    from mcp import Client

    async with serve(tmp_path, versions=2) as doors:
        orchestrator = doors.application.orchestrator
        expected = decided((await orchestrator.invoke(AGENT, REQUEST)).model_dump(mode="json"))
        assert expected["version"] == "1"
        async with doors.rest() as client:
            assert decided((await client.post(INVOKE, json=REQUEST)).text) == expected
            by_number = f"/v1/agents/{AGENT}/versions/1:invoke"
            assert decided((await client.post(by_number, json=REQUEST)).text) == expected
            batch = (await client.post(BATCH, json=[REQUEST, REQUEST])).json()
            for one in batch:  # a product of matrices sums in another order than one of vectors
                assert_close(decided(one), expected)
        async with doors.mcp() as client:
            answer = await client.call_tool(AGENT, REQUEST)
            assert decided(answer.structured_content) == expected
            assert decided(answer.content[0].text) == expected
        for binding in ("JSONRPC", "HTTP+JSON"):
            async with doors.a2a(bindings=[binding]) as client:
                assert decided(await ask_a2a(client, AGENT, REQUEST)) == expected
        async with Client(stdio(tmp_path)) as client:
            answer = await client.call_tool(AGENT, REQUEST)
            assert decided(answer.structured_content) == expected
