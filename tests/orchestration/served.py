"""A real server on a free port of this machine, and agents' official clients to speak to it."""

from __future__ import annotations

import contextlib
import json
import os
import sys

import anyio
import httpx
import httpx2
from a2a.client import A2ACardResolver, ClientConfig, create_client
from a2a.helpers import get_data_parts, new_data_message
from a2a.types import Role, SendMessageRequest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from orchestration.cli.adoption import SHIPPED
from orchestration.endpoints.rest import ApiServer, make_api
from orchestration.serving import make_api_parts
from tests.ai_agents.test_placement_agent import make_artifact as make_placement_artifact
from tests.orchestration.doors import Doors
from tests.orchestration.house import open_house


class Served(Doors):
    """Doors that other processes can reach."""

    url = ""

    def headers(self, token):
        return {} if token is None else {"authorization": f"Bearer {token}"}

    @contextlib.asynccontextmanager
    async def rest(self, token=None):
        headers = self.headers(token)
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60) as client:
            yield client

    @contextlib.asynccontextmanager
    async def mcp(self, token=None, **more):
        async with httpx2.AsyncClient(headers=self.headers(token), timeout=60) as http:
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(transport, **more) as client:
                yield client

    @contextlib.asynccontextmanager
    async def a2a(self, token=None, bindings=("JSONRPC",)):
        async with httpx.AsyncClient(headers=self.headers(token), timeout=60) as http:
            card = await A2ACardResolver(http, self.url).get_agent_card()
            config = ClientConfig(
                httpx_client=http, streaming=False, supported_protocol_bindings=list(bindings)
            )
            client = await create_client(card, client_config=config)
            yield client


async def ask_a2a(client, agent, request):
    message = new_data_message(request, role=Role.ROLE_USER)
    message.metadata.update({"agent": agent})
    answers = [a async for a in client.send_message(SendMessageRequest(message=message))]
    (answer,) = answers
    (decision,) = get_data_parts(answer.message.parts)
    return decision


def stdio(var):
    """Parameters of a process that serves MCP on its standard input and output."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "orchestration", "--var", str(var), "mcp"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def decided(decision):
    """A decision without what differs from call to call."""
    if isinstance(decision, (str, bytes)):
        decision = json.loads(decision)
    own = ("request_id", "decision_id", "duration_seconds")
    return {name: value for name, value in decision.items() if name not in own}


async def adopt_one_of_each(registry):
    """An agent of every domain that a policy comes along for, and one that places pods."""
    contents = [path.read_bytes() for path in sorted(SHIPPED.glob("*.safetensors"))]
    for content in (*contents, make_placement_artifact().to_bytes()):
        record = await registry.register(content)
        await registry.promote(record.agent, record.version)


@contextlib.asynccontextmanager
async def serve(var, *, versions=1, change=lambda parts: parts, **settings):
    """A house behind real doors; with an agent of each kind if `versions` is `all`."""
    number = 0 if versions == "all" else versions
    async with (
        open_house(var, versions=number, **settings) as application,
        anyio.create_task_group() as group,
    ):
        if versions == "all":
            await adopt_one_of_each(application.orchestrator.registry)
        parts = change(make_api_parts(application))
        doors = Served(application, parts)
        server = ApiServer(make_api(parts), host="127.0.0.1", port=0, on_stop=parts.stop)
        doors.url = server.url
        group.start_soon(server.run)
        async with httpx.AsyncClient(base_url=server.url) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/health/live")).status_code == 200:
                        break
        yield doors
        group.cancel_scope.cancel()
