"""What programs ask of a server, by topic."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orchestration.client.agents import AgentCalls
from orchestration.client.connection import Connection
from orchestration.client.decisions import DecisionCalls
from orchestration.client.jobs import JobCalls
from orchestration.client.operations import OperationCalls
from orchestration.client.rollouts import RolloutCalls
from orchestration.client.runs import RunCalls
from orchestration.client.schedules import ScheduleCalls
from orchestration.client.sessions import SessionCalls
from orchestration.client.supervision import SupervisionCalls
from orchestration.client.training import TrainingCalls
from orchestration.client.webhooks import WebhookCalls
from orchestration.endpoints.engine_routes import EngineView
from orchestration.endpoints.event_routes import EventView


class Client:
    """One server: `async with Connection(url, token=...) as c: client = Client(c)`."""

    def __init__(self, connection: Connection) -> None:
        """Speak over a connection.

        Args:
            connection: Open as long as the client is used.
        """
        self._connection = connection
        self.jobs = JobCalls(connection)
        self.agents = AgentCalls(connection)
        self.decisions = DecisionCalls(connection)
        self.rollouts = RolloutCalls(connection)
        self.supervision = SupervisionCalls(connection)
        self.sessions = SessionCalls(connection)
        self.runs = RunCalls(connection)
        self.training = TrainingCalls(connection)
        self.webhooks = WebhookCalls(connection)
        self.operations = OperationCalls(connection)
        self.schedules = ScheduleCalls(connection)

    async def engine(self) -> EngineView:
        """Return what waits, what runs, and who works."""
        return await self._connection.call("GET", "/v1/engine", EngineView)

    async def metrics(self) -> str:
        """Return all metric families as Prometheus text."""
        return (await self._connection.fetch("/metrics")).decode()

    async def events(self, *, since: int = 0) -> AsyncIterator[EventView]:
        """Yield all that happens, for ever; connects again by itself.

        Args:
            since: The last `seq` already seen.
        """
        async for event in self._connection.follow("/v1/events/stream", after=since):
            yield EventView.model_validate(event.data)
