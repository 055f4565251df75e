"""The doors of MCP and A2A, whose libraries take a second to load: opened for the first who knocks.

Other requests go on meanwhile; one who may not enter opens nothing.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import anyio.to_thread
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestration.endpoints.a2a_paths import CARD_PATH, JSONRPC_PATH, REST_PATH
from orchestration.endpoints.guard import Guard
from utils.persistence.access_tokens import Scope as TokenScope

if TYPE_CHECKING:
    from ai_agents.registry import AgentRegistry
    from orchestration.endpoints.callers import Callers
    from orchestration.endpoints.mcp_door import McpDoor
    from orchestration.endpoints.reception import Reception
    from utils.clock import Clock

MCP_PATH = "/mcp"
METHODS = {MCP_PATH: None, CARD_PATH: ["GET"], REST_PATH: ["POST"], JSONRPC_PATH: ["POST"]}


class LateDoors:
    """Knows where the doors are, and makes them when they are needed."""

    def __init__(self, registry: AgentRegistry, reception: Reception, clock: Clock) -> None:
        """Keep what the doors will need.

        Args:
            registry: Knows the agents.
            reception: Passes requests on to them.
            clock: Paces what they do in the background.
        """
        self._registry = registry
        self._reception = reception
        self._clock = clock
        self._group: anyio.abc.TaskGroup | None = None
        self._opening = anyio.Lock()
        self._mcp: McpDoor | None = None
        self._apps: dict[str, ASGIApp] = {}

    def make_routes(self, callers: Callers) -> list[Route]:
        """Return the routes of all of them.

        Args:
            callers: Known ones; a token of scope `invoke` opens the doors.
        """
        return [
            Route(
                path,
                Guard(_Threshold(self, path), callers, TokenScope.INVOKE),
                methods=methods,
                include_in_schema=False,
            )
            for path, methods in METHODS.items()
        ]

    async def find(self, path: str) -> ASGIApp:
        """Return what answers at an address, made now if it was not before.

        Args:
            path: One of `METHODS`.
        """
        async with self._opening:
            if path == MCP_PATH and path not in self._apps:
                self._mcp = await self.load_mcp()
                if self._group is None:
                    raise RuntimeError("the doors open only while `run` runs")
                await self._group.start(_keep_open, self._mcp)
                self._apps[path] = self._mcp.app
            elif path not in self._apps:
                self._apps |= await self._load_a2a()
        return self._apps[path]

    async def load_mcp(self) -> McpDoor:
        """Return a new door of MCP, which nothing runs yet."""
        module = await _load("orchestration.endpoints.mcp_door")
        door: McpDoor = module.McpDoor(self._registry, self._reception, self._clock)
        return door

    async def _load_a2a(self) -> dict[str, ASGIApp]:
        module = await _load("orchestration.endpoints.a2a_door")
        apps: dict[str, ASGIApp] = module.A2aDoor(self._registry, self._reception).make_apps()
        return apps

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Let doors be opened inside the block; once only."""
        async with anyio.create_task_group() as self._group:
            yield
            self._group.cancel_scope.cancel()

    def stop(self) -> None:
        """End all streams of clients that listen."""
        if self._mcp is not None:
            self._mcp.stop()


class _Threshold:
    """Stands at an address whose door may not be there yet."""

    def __init__(self, doors: LateDoors, path: str) -> None:
        self._doors = doors
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = await self._doors.find(self._path)
        await app(scope, receive, send)


async def _load(name: str) -> Any:
    return await anyio.to_thread.run_sync(importlib.import_module, name)


async def _keep_open(door: McpDoor, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    async with door.run():
        task_status.started()
        await anyio.sleep_forever()
