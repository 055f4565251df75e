"""The MCP door: one tool per agent, over HTTP at /mcp and over standard input and output.

Tools are made from the cards of those agents that have a champion, so they change when a version
is promoted; who listens is told (`tools/list_changed`, of protocol 2026-07-28).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import ListenHandler, ServerEvent, ToolsListChanged
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from starlette.types import Receive, Scope, Send

from ai_agents.registry import UnknownAgentError
from orchestration.endpoints.bodies import LARGEST_BULK_BYTES
from utils.errors import QuartermasterError
from utils.logs import get_logger
from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from ai_agents.cards import AgentCard
    from ai_agents.registry import AgentRegistry
    from orchestration.endpoints.reception import Reception
    from utils.clock import Clock

CARD = "agents://{name}/card"
CARD_START, CARD_END = CARD.split("{name}")
WATCH_SECONDS = 2.0
ON_THIS_MACHINE = "stdio"
INSTRUCTIONS = (
    "Each tool is a trained agent that decides how to allocate something scarce. Its card, the "
    "resource agents://NAME/card, says how good it is, for which ranges that was proved, and who "
    "answers outside of them. Every decision names the version that made it."
)
logger = get_logger(__name__)
Context = ServerRequestContext[Any, Any]


class _Changes:
    """Tells listening clients; a bus as the SDK wants it that can be told without waiting."""

    def __init__(self) -> None:
        self._listeners: dict[object, Callable[[ServerEvent], None]] = {}

    @property
    def has_listeners(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def tell(self, event: ServerEvent) -> None:
        """Tell all that listen."""
        for listener in list(self._listeners.values()):
            listener(event)

    async def publish(self, event: ServerEvent) -> None:
        """Tell all that listen."""
        self.tell(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Tell somebody from now on, until what is returned is called."""
        key = object()
        self._listeners[key] = listener
        return lambda: self._listeners.pop(key, None) and None


class McpDoor:
    """Agents as tools."""

    def __init__(self, registry: AgentRegistry, reception: Reception, clock: Clock) -> None:
        """Make the server; nothing runs yet.

        Args:
            registry: Knows the agents.
            reception: Passes requests on to them.
            clock: Tells when to look for what other processes promoted.
        """
        self._registry = registry
        self._clock = clock
        self._reception = reception
        self._changes = _Changes()
        self._listening = ListenHandler(self._changes)
        registry.subscribe(lambda _agent, _alias, _version: self._changes.tell(ToolsListChanged()))
        self.server: Server[Any] = Server(
            "quartermaster",
            title="Quartermaster",
            instructions=INSTRUCTIONS,
            get_tool_input_schema=lambda _: None,  # agents check requests themselves
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_subscriptions_listen=self._listening,
        )
        self._sessions = StreamableHTTPSessionManager(
            self.server,
            json_response=True,
            stateless=True,
            # The outermost door has judged Host and Origin, and knows our names.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=LARGEST_BULK_BYTES,
        )

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request over HTTP, of a caller that may enter; `run` must run.

        Args:
            scope: As ASGI defines it.
            receive: As ASGI defines it.
            send: As ASGI defines it.
        """
        await self._sessions.handle_request(scope, receive, send)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve over HTTP inside the block; once only."""
        async with self._sessions.run(), anyio.create_task_group() as group:
            group.start_soon(self._watch)
            yield
            group.cancel_scope.cancel()

    async def run_stdio(self) -> None:
        """Serve the process that started this one, until it closes standard input."""
        options = self.server.create_initialization_options(NotificationOptions())
        async with stdio_server() as (reading, writing), anyio.create_task_group() as group:
            group.start_soon(self._watch)
            await self.server.run(reading, writing, options)
            group.cancel_scope.cancel()

    def stop(self) -> None:
        """End all streams of clients that listen."""
        self._listening.close()

    async def _watch(self) -> None:
        """Look at aliases while somebody listens; the registry tells what it sees to have moved."""
        while True:
            await self._clock.sleep(WATCH_SECONDS)
            if self._changes.has_listeners:
                try:
                    await self._registry.cards()
                except DatabaseError as error:
                    logger.warning("agents_not_seen", reason=str(error))

    async def _list_tools(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        del context, params
        return types.ListToolsResult(tools=[_tool_of(c) for c in await self._registry.cards()])

    async def _call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        try:
            payload = json.dumps(params.arguments or {}).encode()
            decision = await self._reception.decide(_caller_of(context), params.name, payload)
        except UnknownAgentError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from error
        except (QuartermasterError, RecursionError) as error:
            return types.CallToolResult(content=[_text(str(error))], is_error=True)
        text = decision.model_dump_json()
        return types.CallToolResult(content=[_text(text)], structured_content=json.loads(text))

    async def _list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        del context, params
        cards = [
            types.Resource(
                name=f"{card.name} card",
                uri=CARD.format(name=card.name),
                description=card.description,
                mime_type="application/json",
            )
            for card in await self._registry.cards()
        ]
        return types.ListResourcesResult(resources=cards)

    async def _list_templates(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        del context, params
        template = types.ResourceTemplate(
            name="card",
            uri_template=CARD,
            description="What an agent says of itself: lineage, proof, limits, schemas, examples.",
            mime_type="application/json",
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def _read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        del context
        name = params.uri.removeprefix(CARD_START).removesuffix(CARD_END)
        cards = [card for card in await self._registry.cards() if card.name == name]
        if not cards or params.uri != CARD.format(name=name):
            raise MCPError(types.INVALID_PARAMS, f"no resource {params.uri}; see resources/list")
        contents = types.TextResourceContents(
            uri=params.uri, mime_type="application/json", text=cards[0].model_dump_json()
        )
        return types.ReadResourceResult(contents=[contents])


def _tool_of(card: AgentCard) -> types.Tool:
    return types.Tool(
        name=card.name,
        title=card.title,
        description=f"{card.description} Version {card.version} answers.",
        input_schema=card.request_schema,
        output_schema=card.decision_schema,
        annotations=types.ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
        _meta={"version": card.version, "artifact_sha256": card.artifact_sha256},
    )


def _caller_of(context: Context) -> str:
    request = context.request
    return ON_THIS_MACHINE if request is None else str(request.state.caller.name)


def _text(text: str) -> types.TextContent:
    return types.TextContent(text=text)
