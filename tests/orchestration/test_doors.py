"""All doors lead to the same agents: REST, batch, MCP over HTTP and stdio, A2A, in process."""

from __future__ import annotations

import json

import anyio
import httpx
import pytest
from a2a.client import A2ACardResolver
from a2a.helpers import get_data_parts, new_data_message
from a2a.types import GetTaskRequest, Role, SendMessageRequest
from a2a.utils.errors import A2AError
from google.protobuf.json_format import MessageToDict
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.orchestration.house import AGENT, REQUEST
from tests.orchestration.served import ask_a2a, decided, serve, stdio

pytestmark = pytest.mark.anyio


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
    async with serve(tmp_path, versions="all") as doors:
        orchestrator = doors.application.orchestrator
        cards = await orchestrator.registry.cards()
        assert len(cards) >= 4
        expected = {}
        for card in cards:
            decision = await orchestrator.invoke(card.name, card.examples[0])
            expected[card.name] = decided(decision.model_dump_json())
            assert expected[card.name]["version"] == card.version
        examples = {card.name: card.examples[0] for card in cards}
        async with doors.rest() as client:
            for name, example in examples.items():
                path = f"/v1/agents/{name}"
                assert decided(await post(client, f"{path}:invoke", example)) == expected[name]
                by_number = f"{path}/versions/{expected[name]['version']}:invoke"
                assert decided(await post(client, by_number, example)) == expected[name]
                batch = json.loads(await post(client, f"{path}:batch", [example] * 2))
                for one in batch:  # matrices are multiplied in another order than vectors
                    assert_close(decided(one), expected[name])
        async with doors.mcp() as client:
            await check_tools(client, examples, expected)
        async with Client(stdio(tmp_path)) as client:
            await check_tools(client, examples, expected)
        for binding in ("JSONRPC", "HTTP+JSON"):
            async with doors.a2a(bindings=[binding]) as client:
                for name, example in examples.items():
                    assert decided(await ask_a2a(client, name, example)) == expected[name]


async def post(client, path, body):
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.text


async def check_tools(client, examples, expected):
    assert {tool.name for tool in (await client.list_tools()).tools} == examples.keys()
    for name, example in examples.items():
        answer = await client.call_tool(name, example)
        assert not answer.is_error, answer.content
        assert decided(answer.structured_content) == expected[name]
        assert decided(answer.content[0].text) == expected[name]


async def test_every_agent_is_a_tool_with_schemas_and_a_card(tmp_path):
    async with serve(tmp_path, versions="all") as doors:
        cards = await doors.application.orchestrator.registry.cards()
        async with doors.mcp() as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == [card.name for card in cards]
            for tool, card in zip(tools, cards, strict=True):
                assert tool.input_schema == card.request_schema
                assert tool.output_schema == card.decision_schema
                assert tool.annotations.read_only_hint
                assert tool.annotations.idempotent_hint
                answer = await client.call_tool(tool.name, card.examples[0])
                assert not answer.is_error
                assert answer.structured_content["decided_by"] == "policy"
                uri = f"agents://{card.name}/card"
                text = (await client.read_resource(uri)).contents[0].text
                assert json.loads(text) == card.model_dump(mode="json")
            resources = (await client.list_resources()).resources
            assert [one.uri for one in resources] == [f"agents://{c.name}/card" for c in cards]
            (template,) = (await client.list_resource_templates()).resource_templates
            assert template.uri_template == "agents://{name}/card"


async def test_a_client_of_the_protocol_before_is_served_too(tmp_path):
    async with serve(tmp_path) as doors, doors.mcp(mode="legacy") as client:
        assert client.protocol_version == "2025-11-25"
        assert [tool.name for tool in (await client.list_tools()).tools] == [AGENT]
        answer = await client.call_tool(AGENT, REQUEST)
        assert answer.structured_content["version"] == "1"


@pytest.mark.parametrize("door", ["http", "stdio"])
async def test_who_listens_is_told_of_a_promotion(tmp_path, door):
    async with serve(tmp_path, versions=2) as doors:
        client = doors.mcp() if door == "http" else Client(stdio(tmp_path))
        async with client as client:
            (tool,) = (await client.list_tools()).tools
            assert tool.meta["version"] == "1"
            async with client.listen(tools_list_changed=True) as changes:
                assert changes.honored.tools_list_changed
                await doors.application.orchestrator.promote(AGENT, 2)
                with anyio.fail_after(120):
                    assert await anext(aiter(changes))
            (tool,) = (await client.list_tools()).tools
            assert tool.meta["version"] == "2"


async def test_what_is_wrong_is_said_in_the_words_of_each_door(tmp_path):
    wrong = {**REQUEST, "time_of_day": 2.0}
    async with serve(tmp_path) as doors:
        async with doors.mcp() as client:
            answer = await client.call_tool(AGENT, wrong)
            assert answer.is_error
            assert "time_of_day" in answer.content[0].text
            with pytest.raises(MCPError, match="no agent 'nobody'"):
                await client.call_tool("nobody", REQUEST)
            with pytest.raises(MCPError, match="no resource agents://nobody/card"):
                await client.read_resource("agents://nobody/card")
        for binding in ("JSONRPC", "HTTP+JSON"):
            async with doors.a2a(bindings=[binding]) as client:
                with pytest.raises(A2AError, match="time_of_day"):
                    await ask_a2a(client, AGENT, wrong)
                with pytest.raises(A2AError, match="no agent 'nobody'"):
                    await ask_a2a(client, "nobody", REQUEST)
                with pytest.raises(A2AError, match="not found"):
                    await client.get_task(GetTaskRequest(id="t"))


async def test_the_card_names_skills_schemas_and_where_to_send(tmp_path):
    async with serve(tmp_path) as doors, httpx.AsyncClient() as http:
        card = await A2ACardResolver(http, doors.url).get_agent_card()
        (agent,) = await doors.application.orchestrator.registry.cards()
    (skill,) = card.skills
    assert (skill.id, skill.name) == (AGENT, agent.title)
    assert {one.url for one in card.supported_interfaces} == {f"{doors.url}/a2a"}
    assert not card.capabilities.push_notifications
    (extension,) = card.capabilities.extensions
    schemas = MessageToDict(extension.params)[AGENT]
    assert schemas["version"] == "1"
    assert schemas["request"]["properties"].keys() == agent.request_schema["properties"].keys()
    assert decided(json.loads(skill.examples[0])).keys() == agent.examples[0].keys()


async def test_an_agent_need_not_be_named_where_there_is_one(tmp_path):
    async with serve(tmp_path) as doors, doors.a2a() as client:
        message = new_data_message(REQUEST, role=Role.ROLE_USER)
        (answer,) = [a async for a in client.send_message(SendMessageRequest(message=message))]
        (decision,) = get_data_parts(answer.message.parts)
    assert decision["version"] == "1"
    assert decision["decision_id"]
