"""What programs ask about decisions: whether they hold, what came of them, and what waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestration.client.connection import Connection
from orchestration.endpoints.approval_routes import ApprovalPage
from orchestration.endpoints.decision_routes import DecisionPage, DecisionView
from orchestration.feedback.approvals import Approval, ApprovalState
from utils.persistence.decisions import DecisionRecord


class DecisionCalls:
    """Decisions of a server's agents."""

    def __init__(self, connection: Connection) -> None:
        """Speak over a connection.

        Args:
            connection: Open as long as this is used.
        """
        self._connection = connection

    async def list_all(
        self, *, agent: str | None = None, before: str | None = None, limit: int = 100
    ) -> DecisionPage:
        """List decisions, newest first.

        Args:
            agent: Only of this one.
            before: `next` of the page before.
            limit: At most so many.
        """
        query = {"agent": agent, "before": before, "limit": limit}
        return await self._connection.call("GET", "/v1/decisions", DecisionPage, query=query)

    async def get(self, decision_id: str) -> DecisionView:
        """Return a decision, and whether it holds.

        Args:
            decision_id: Its id.
        """
        return await self._connection.call("GET", f"/v1/decisions/{decision_id}", DecisionView)

    async def wait(self, decision_id: str) -> DecisionView:
        """Wait until a person has answered, or the time for that is up.

        Args:
            decision_id: Of a decision that waits.
        """
        async for _ in self._connection.follow(f"/v1/decisions/{decision_id}/stream"):
            pass
        return await self.get(decision_id)

    async def report_outcome(self, decision_id: str, realised: Mapping[str, Any]) -> DecisionRecord:
        """Tell what came of a decision; telling the same twice does no harm.

        Args:
            decision_id: Its id.
            realised: What was seen, as plain JSON.
        """
        path = f"/v1/decisions/{decision_id}/outcome"
        body = {"realised": dict(realised)}
        return await self._connection.call("POST", path, DecisionRecord, body=body)

    async def waiting(self, *, agent: str | None = None) -> ApprovalPage:
        """List decisions that wait for a person, newest first.

        Args:
            agent: Only of this one.
        """
        query = {"agent": agent, "state": ApprovalState.WAITING.value}
        return await self._connection.call("GET", "/v1/approvals", ApprovalPage, query=query)

    async def approve(self, decision_id: str, *, reason: str = "") -> Approval:
        """Let a decision hold as the agent made it.

        Args:
            decision_id: Its id.
            reason: Kept with the verdict.
        """
        return await self._give(decision_id, "approve", {"reason": reason})

    async def override(
        self, decision_id: str, decision: Mapping[str, Any], *, reason: str = ""
    ) -> Approval:
        """Let another decision hold instead.

        Args:
            decision_id: Its id.
            decision: In the words of a decision of its agent; it must be feasible.
            reason: Kept with the verdict.
        """
        body = {"decision": dict(decision), "reason": reason}
        return await self._give(decision_id, "override", body)

    async def reject(self, decision_id: str, *, reason: str = "") -> Approval:
        """Let a decision not hold.

        Args:
            decision_id: Its id.
            reason: Kept with the verdict.
        """
        return await self._give(decision_id, "reject", {"reason": reason})

    async def _give(self, decision_id: str, verb: str, body: Mapping[str, Any]) -> Approval:
        path = f"/v1/approvals/{decision_id}/{verb}"
        return await self._connection.call("POST", path, Approval, body=body)
