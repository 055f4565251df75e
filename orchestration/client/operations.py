"""The engine of a server as operators see it, as calls."""

from __future__ import annotations

from typing import Literal

from orchestration.client.connection import Connection
from orchestration.endpoints.engine_routes import EngineDetails, Halted, HaltRequest


class OperationCalls:
    """The engine of a server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def details(self, *, events: int = 20) -> EngineDetails:
        """Return jobs by kind, leases, workers and the newest events.

        Args:
            events: How many of the newest.
        """
        path, query = "/v1/engine/details", {"events": events}
        return await self._connection.call("GET", path, EngineDetails, query=query)

    async def halt(self, fate: Literal["pause", "cancel"]) -> list[str]:
        """Have all jobs that run or wait pause or end; returns which were told.

        Args:
            fate: Whether they can go on later.
        """
        told: list[str] = []
        before: str | None = None
        while True:
            body = HaltRequest(fate=fate, before=before).model_dump()
            answer = await self._connection.call("POST", "/v1/engine/halt", Halted, body=body)
            told += answer.jobs
            before = answer.next
            if before is None:
                return told
