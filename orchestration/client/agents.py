"""Agents of a server, as calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ai_agents.base_agent import DecisionRequest, DecisionT
from ai_agents.registry import CHAMPION
from ai_agents.registry_store import ArtifactRecord
from orchestration.client.connection import Connection
from orchestration.orchestrator import AgentSummary
from utils.persistence.engine_queries import AliasMove


class AgentCalls:
    """Agents of a server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self) -> Sequence[AgentSummary]:
        """List agents with their versions and aliases."""
        return await self._connection.call("GET", "/v1/agents", tuple[AgentSummary, ...])

    async def card(
        self, name: str, *, alias: str = CHAMPION, version: int | None = None
    ) -> dict[str, Any]:
        """Return what an agent says of itself.

        Args:
            name: Of the agent.
            alias: Which of its versions.
            version: Which of its versions, by number, rather than by alias.
        """
        query = {"alias": alias, "version": version}
        return await self._connection.call("GET", f"/v1/agents/{name}", dict[str, Any], query=query)

    async def invoke(
        self,
        name: str,
        request: DecisionRequest | Mapping[str, Any],
        decision_type: type[DecisionT],
        *,
        alias: str | None = None,
        version: int | None = None,
        deadline_seconds: float | None = None,
        request_id: str | None = None,
        request_key: str | None = None,
    ) -> DecisionT:
        """Ask an agent for a decision; again while it is busy or away, until the deadline.

        Args:
            name: Of the agent.
            request: As its card describes it.
            decision_type: What its decisions are, such as `AllocationDecision`.
            alias: Which of its versions, by what it is for; the champion if absent, or the
                challenger where a canary says so.
            version: Which of its versions, by number.
            deadline_seconds: Time the policy has; the expert answers if it is late.
            request_id: The caller's name for the request.
            request_key: Requests with the same key meet the same version while a canary runs.

        Raises:
            InvalidRequestError: It does not fit the agent; `problems` names fields.
            NotFoundError: There is no such agent or version.
            BusyError: It has too much to do.
        """
        return await self._connection.call(
            "POST",
            f"/v1/agents/{name}:invoke",
            decision_type,
            body=_plain(request),
            query={"alias": alias, "version": version, "deadline_seconds": deadline_seconds},
            headers={
                name: value
                for name, value in (("X-Request-Id", request_id), ("X-Request-Key", request_key))
                if value is not None
            },
            seconds=deadline_seconds,
        )

    async def invoke_batch(
        self,
        name: str,
        requests: Sequence[DecisionRequest | Mapping[str, Any]],
        decision_type: type[DecisionT],
        *,
        alias: str | None = None,
        version: int | None = None,
        deadline_seconds: float | None = None,
    ) -> Sequence[DecisionT]:
        """Ask an agent for several decisions at once; one bad request stops all.

        Args:
            name: Of the agent.
            requests: As its card describes them.
            decision_type: What its decisions are.
            alias: Which of its versions, by what it is for; the champion if absent, or the
                challenger where a canary says so.
            version: Which of its versions, by number.
            deadline_seconds: Time the policy has; the expert answers if it is late.

        Raises:
            InvalidRequestError: One does not fit the agent; `problems` names place and field.
            NotFoundError: There is no such agent or version.
            BusyError: It has too much to do.
        """
        return await self._connection.call(
            "POST",
            f"/v1/agents/{name}:batch",
            tuple[decision_type, ...],  # type: ignore[valid-type]
            body=[_plain(request) for request in requests],
            query={"alias": alias, "version": version, "deadline_seconds": deadline_seconds},
            seconds=deadline_seconds,
        )

    async def ask(
        self, name: str, request: Mapping[str, Any], *, version: int | None = None
    ) -> dict[str, Any]:
        """Ask an agent of which only its card is known; the decision comes as plain JSON.

        Args:
            name: Of the agent.
            request: As its card describes it.
            version: Which of its versions, by number; as with `invoke` if absent.

        Raises:
            InvalidRequestError: It does not fit the agent; `problems` names fields.
        """
        path, query = f"/v1/agents/{name}:invoke", {"version": version}
        return await self._connection.call(
            "POST", path, dict[str, Any], body=dict(request), query=query
        )

    async def register(self, content: bytes, *, agent: str | None = None) -> ArtifactRecord:
        """Take a policy file in as the next version of the agent on its card; no alias moves.

        Args:
            content: The file; the same again is the version that it was.
            agent: A policy of any other agent is refused.

        Raises:
            InvalidRequestError: It is cut, altered, too large or no policy; nothing was kept.
        """
        query = {"agent": agent}
        return await self._connection.upload("/v1/policies", content, ArtifactRecord, query=query)

    async def promote(
        self, name: str, version: int | None = None, *, alias: str = CHAMPION, reason: str = ""
    ) -> ArtifactRecord:
        """Let callers of an alias meet another version.

        Args:
            name: Of the agent.
            version: The newest if absent.
            alias: Which alias moves.
            reason: For the history.
        """
        body = {"version": version, "alias": alias, "reason": reason}
        path = f"/v1/agents/{name}/promote"
        return await self._connection.call(
            "POST", path, ArtifactRecord, body=body, may_repeat=version is not None
        )

    async def history(self, name: str) -> Sequence[AliasMove]:
        """List which versions the aliases of an agent have meant, newest first.

        Args:
            name: Of the agent.
        """
        path = f"/v1/agents/{name}/history"
        return await self._connection.call("GET", path, tuple[AliasMove, ...])


def _plain(request: DecisionRequest | Mapping[str, Any]) -> Any:
    return request.model_dump(mode="json") if isinstance(request, DecisionRequest) else request
