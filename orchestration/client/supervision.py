"""How a server's agents are watched over: their settings, how they do, what the expert betters."""

from __future__ import annotations

from orchestration.client.connection import Connection
from orchestration.endpoints.decision_routes import SettingsChange
from orchestration.endpoints.standing_routes import AgentStanding
from orchestration.feedback.regret import RegretReport
from orchestration.feedback.settings import AgentSettings


class SupervisionCalls:
    """How a server's agents are watched over."""

    def __init__(self, connection: Connection) -> None:
        """Speak over a connection.

        Args:
            connection: Open as long as this is used.
        """
        self._connection = connection

    async def standing(self, agent: str) -> AgentStanding:
        """Return how an agent's versions do in the process that answers.

        Args:
            agent: Its name.
        """
        return await self._connection.call("GET", f"/v1/agents/{agent}/standing", AgentStanding)

    async def settings(self, agent: str) -> AgentSettings:
        """Return how an agent is supervised.

        Args:
            agent: Its name.
        """
        return await self._connection.call("GET", f"/v1/agents/{agent}/settings", AgentSettings)

    async def change_settings(self, agent: str, change: SettingsChange) -> AgentSettings:
        """Say how an agent shall be supervised.

        Args:
            agent: Its name.
            change: What is left out is as if nobody had set it.
        """
        path, body = f"/v1/agents/{agent}/settings", change.model_dump()
        return await self._connection.call("PUT", path, AgentSettings, body=body)

    async def replay_regret(self, agent: str, *, limit: int = 200) -> RegretReport:
        """Play kept requests again and say what the expert would have done better.

        Args:
            agent: Its name.
            limit: At most so many.

        Raises:
            ConflictError: None are kept.
        """
        path, query = f"/v1/agents/{agent}/regret", {"limit": limit}
        return await self._connection.call("POST", path, RegretReport, query=query)
