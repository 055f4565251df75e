"""Worlds of a server, to be played by calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestration.client.connection import Connection
from orchestration.endpoints.session_routes import SessionView, StepView, TrajectoryPage


class SessionCalls:
    """Worlds of a server, to be played."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def open(self, environment: str, *, actions: str = "own", seed: int = 0) -> SessionView:
        """Open a world.

        Args:
            environment: Its name.
            actions: `own`, `binned` or `units`.
            seed: Of its scenarios.

        Raises:
            BusyError: As many as allowed are open.
        """
        body = {"environment": environment, "settings": {"actions": actions}, "seed": seed}
        path = "/v1/environments/sessions"
        return await self._connection.call("POST", path, SessionView, body=body, may_repeat=False)

    async def step(self, session_id: str, actions: Mapping[str, Any]) -> StepView:
        """Let all agents act once; never repeated by itself, as the world would move twice.

        Args:
            session_id: Which.
            actions: By agent.

        Raises:
            ConflictError: The episode has ended.
            OverError: The session is over.
        """
        path, body = f"/v1/environments/sessions/{session_id}/step", {"actions": dict(actions)}
        return await self._connection.call("POST", path, StepView, body=body, may_repeat=False)

    async def trajectory(
        self, session_id: str, *, offset: int = 0, limit: int = 100
    ) -> TrajectoryPage:
        """Return some of the steps so far.

        Args:
            session_id: Which.
            offset: How many to leave out at the beginning.
            limit: At most so many.
        """
        path = f"/v1/environments/sessions/{session_id}/trajectory"
        query = {"offset": offset, "limit": limit}
        return await self._connection.call("GET", path, TrajectoryPage, query=query)

    async def close(self, session_id: str) -> None:
        """End a session.

        Args:
            session_id: Which.
        """
        path = f"/v1/environments/sessions/{session_id}"
        await self._connection.call("DELETE", path, type(None))
