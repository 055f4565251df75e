"""Worlds of a server, to be played by calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestration.client.connection import Connection
from orchestration.endpoints.session_play_routes import (
    ComparisonView,
    DeciderRequest,
    PlayView,
    ReferenceView,
    StateView,
)
from orchestration.endpoints.session_routes import SessionView, StepView, TrajectoryPage
from orchestration.endpoints.world_routes import WorldView


class SessionCalls:
    """Worlds of a server, to be played."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def worlds(self) -> Sequence[WorldView]:
        """List the worlds that can be opened, and what can be chosen of each."""
        return await self._connection.call("GET", "/v1/environments", tuple[WorldView, ...])

    async def open(
        self,
        environment: str,
        *,
        actions: str = "own",
        seed: int = 0,
        sizes: Mapping[str, float | str] | None = None,
    ) -> SessionView:
        """Open a world.

        Args:
            environment: Its name.
            actions: `own`, `binned` or `units`.
            seed: Of its scenarios.
            sizes: By name, those that are not to be the usual ones; `worlds` tells which there are.

        Raises:
            BusyError: As many as allowed are open.
        """
        settings = {"actions": actions, **(sizes or {})}
        body = {"environment": environment, "settings": settings, "seed": seed}
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

    async def play(self, session_id: str, decider: DeciderRequest, *, steps: int) -> PlayView:
        """Let a rule, chance or an agent decide for some steps; never repeated by itself.

        Args:
            session_id: Which.
            decider: Who.
            steps: At most so many; fewer if it takes long.

        Raises:
            ConflictError: The episode has ended.
            OverError: The session is over.
        """
        path = f"/v1/environments/sessions/{session_id}/play"
        body = {"decider": decider.model_dump(), "steps": steps}
        return await self._connection.call("POST", path, PlayView, body=body, may_repeat=False)

    async def state(self, session_id: str) -> StateView:
        """Return what is known in the world now, array by array.

        Args:
            session_id: Which.
        """
        path = f"/v1/environments/sessions/{session_id}/state"
        return await self._connection.call("GET", path, StateView)

    async def reference(self, session_id: str, decider: DeciderRequest) -> ReferenceView:
        """Let somebody play the same episode apart; to be asked again until it has ended.

        Args:
            session_id: Which.
            decider: Who.
        """
        path = f"/v1/environments/sessions/{session_id}/reference"
        body = {"decider": decider.model_dump()}
        return await self._connection.call("POST", path, ReferenceView, body=body)

    async def compare(
        self, session_id: str, deciders: Sequence[DeciderRequest], *, episodes: int
    ) -> ComparisonView:
        """Let several play the same episodes; to be asked again until there is a report.

        Args:
            session_id: Which.
            deciders: Who.
            episodes: How many.
        """
        path = f"/v1/environments/sessions/{session_id}/comparison"
        body = {"deciders": [one.model_dump() for one in deciders], "episodes": episodes}
        return await self._connection.call("POST", path, ComparisonView, body=body)

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
