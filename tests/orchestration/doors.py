"""The API of a house, spoken to in HTTP without a socket."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import anyio
import httpx

from orchestration.endpoints.rest import make_api
from orchestration.serving import make_api_parts
from tests.orchestration.house import open_house
from utils.persistence.access_tokens import Scope, create_token

BASE = "http://127.0.0.1:8321"


class Doors:
    """An application, its API, and callers with and without tokens."""

    def __init__(self, application, parts):
        self.application = application
        self.parts = parts
        self.api = make_api(parts)

    @contextlib.asynccontextmanager
    async def caller(self, token=None, **headers):
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
            yield client

    async def make_token(self, name, *scopes, seconds=None):
        now = self.parts.clock.now()
        until = None if seconds is None else now + timedelta(seconds=seconds)
        async with self.application.database.write() as connection:
            return await create_token(
                connection, name, [Scope(one) for one in scopes], now=now, expires_at=until
            )


@contextlib.asynccontextmanager
async def open_doors(var, *, versions=0, streams=None, **more):
    """Doors of an application whose sessions live."""
    async with (
        open_house(var, versions=versions, **more) as application,
        anyio.create_task_group() as group,
    ):
        group.start_soon(application.sessions.run)
        await anyio.wait_all_tasks_blocked()
        yield Doors(application, make_api_parts(application, streams))
        group.cancel_scope.cancel()
