"""The HTTP API put together, with health and metrics, and the server that carries it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import uvicorn
from fastapi import APIRouter, FastAPI, Response
from sqlalchemy import select
from starlette.types import ASGIApp

from ai_agents.base_agent import Decision, DecisionRequest
from ai_agents.domains import DOMAINS
from orchestration.endpoints import (
    agent_routes,
    approval_routes,
    artifact_routes,
    audit,
    decision_routes,
    engine_routes,
    event_routes,
    fact_routes,
    form_routes,
    invoke_routes,
    log_routes,
    rollout_routes,
    run_routes,
    schedule_routes,
    session_play_routes,
    session_routes,
    standing_routes,
    training_routes,
    upload_routes,
    webhook_routes,
    world_routes,
)
from orchestration.endpoints.audit import AuditTrail
from orchestration.endpoints.bodies import BodyLimit
from orchestration.endpoints.parts import ApiParts, Parts
from orchestration.endpoints.problems import explain_errors
from orchestration.endpoints.security import Anyone
from orchestration.endpoints.shapes import Problem, add_models, kinds_of, may_fail
from utils.errors import ConfigError
from utils.observability import EXPOSITION_CONTENT_TYPE, exposition

CLOSE_SECONDS = 5
MOST_CONNECTIONS = 256
TOPICS = (
    *(training_routes, log_routes, event_routes, run_routes, schedule_routes, webhook_routes),
    *(agent_routes, rollout_routes, session_routes, engine_routes, audit, artifact_routes),
    *(
        decision_routes,
        approval_routes,
        fact_routes,
        form_routes,
        session_play_routes,
        world_routes,
    ),
    *(standing_routes, upload_routes),
)
router = APIRouter(tags=["operations"], responses=may_fail())


@router.get("/health/live")
async def is_live() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "live"}


@router.get("/health/ready")
async def is_ready(parts: Parts) -> dict[str, str]:
    """Tell whether requests can be served; 503 while the database cannot be read."""
    async with parts.database.read() as connection:
        await connection.execute(select(1))
    return {"status": "ready"}


@router.get("/metrics", response_class=Response, dependencies=[Anyone])
async def metrics(parts: Parts) -> Response:
    """Return all metric families as Prometheus text."""
    content = await anyio.to_thread.run_sync(exposition, parts.metrics)
    return Response(content, headers={"content-type": EXPOSITION_CONTENT_TYPE})


def make_api(parts: ApiParts) -> ASGIApp:
    """Make the HTTP application.

    Args:
        parts: What lies behind its doors.
    """
    api = FastAPI(
        title="Quartermaster",
        summary="Train agents that allocate scarce things, and ask them.",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        lifespan=lambda _: parts.late.run(),
    )
    api.state.parts = parts
    api.router.routes[:0] = parts.late.make_routes(parts.callers)
    api.include_router(router)
    for topic in TOPICS:
        api.include_router(topic.router)
    explain_errors(api)
    bare = api.openapi
    api.openapi = lambda: _describe(bare())  # type: ignore[method-assign]
    doors = invoke_routes.InvokeDoor(api, parts.reception, parts.callers)
    return BodyLimit(AuditTrail(doors, parts), allowed_hosts=parts.allowed_hosts)


def _describe(document: dict[str, Any]) -> dict[str, Any]:
    for domain in DOMAINS:
        DOMAINS[domain]  # loads it, and what its agents are asked and answer
    requests, decisions = kinds_of(DecisionRequest), kinds_of(Decision)
    add_models(document, Problem, *requests, *decisions)
    invoke_routes.describe_routes(document, requests=requests, decisions=decisions)
    return document


class ApiServer:
    """Serves an application on one address until cancelled."""

    def __init__(
        self, app: ASGIApp, *, host: str, port: int, on_stop: Callable[[], None] = lambda: None
    ) -> None:
        """Take the address; connections wait from now on.

        Args:
            app: What answers.
            host: Where to listen.
            port: Where to listen; 0 takes a free one.
            on_stop: Ends what would keep connections open.

        Raises:
            ConfigError: The address is taken or not ours.
        """
        self._on_stop = on_stop
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from error
        # Accepted sockets inherit it; without it an answer waits 40 ms for the peer's next word.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._socket.getsockname()[1]}"
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="on",
                ws="none",
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=CLOSE_SECONDS,
            )
        )

    async def run(self) -> None:
        """Serve; when cancelled, answer what has come and close."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._serve)
            try:
                await anyio.sleep_forever()
            finally:
                self._on_stop()
                self._server.should_exit = True

    async def _serve(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._server.serve(sockets=[self._socket])


class _Server(uvicorn.Server):
    """Leaves signals to the composition root, which also has jobs to save."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
