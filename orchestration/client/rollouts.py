"""How versions of a server's agents come into use: canary, gate, rollback, second answers."""

from __future__ import annotations

from collections.abc import Sequence

from ai_agents.registry_store import ArtifactRecord
from orchestration.client.connection import Connection
from orchestration.endpoints.rollout_routes import Limits, SecondAnswer
from orchestration.rollout.gate import GateResult
from orchestration.rollout.plan import CanaryPlan


class RolloutCalls:
    """Versions of a server's agents on their way to champion and back."""

    def __init__(self, connection: Connection) -> None:
        """Speak over a connection.

        Args:
            connection: Open as long as this is used.
        """
        self._connection = connection

    async def canary(self, agent: str) -> CanaryPlan:
        """Return an agent's last canary, running or not.

        Args:
            agent: Its name.

        Raises:
            NotFoundError: It never had one.
        """
        return await self._connection.call("GET", f"/v1/agents/{agent}/canary", CanaryPlan)

    async def start_canary(
        self,
        agent: str,
        *,
        share: float,
        version: int | None = None,
        limits: Limits | None = None,
        reason: str = "",
    ) -> CanaryPlan:
        """Give a share of the request keys to the challenger, in place of any canary there is.

        Args:
            agent: Its name.
            share: From 0 to 1.
            version: Becomes the challenger; the present one if absent.
            limits: What it must not exceed; the usual ones if absent.
            reason: For the history.
        """
        body = {
            "share": share,
            "version": version,
            "limits": (limits or Limits()).model_dump(),
            "reason": reason,
        }
        path = f"/v1/agents/{agent}/canary"
        return await self._connection.call("PUT", path, CanaryPlan, body=body)

    async def stop_canary(self, agent: str, *, reason: str = "") -> CanaryPlan:
        """End a canary: all requests go to the champion.

        Args:
            agent: Its name.
            reason: For the history.

        Raises:
            NotFoundError: None runs.
        """
        path, body = f"/v1/agents/{agent}/canary/stop", {"reason": reason}
        return await self._connection.call("POST", path, CanaryPlan, body=body, may_repeat=False)

    async def promote_challenger(
        self, agent: str, *, force_because: str | None = None, reason: str = ""
    ) -> GateResult:
        """Let challenger and champion change places, if the gate lets it through.

        Args:
            agent: Its name.
            force_because: Why it shall pass although the gate refuses it; kept.
            reason: For the history.

        Raises:
            ConflictError: The gate refused it; nothing moved.
        """
        path = f"/v1/agents/{agent}/promote_challenger"
        body = {"force_because": force_because, "reason": reason}
        return await self._connection.call("POST", path, GateResult, body=body, may_repeat=False)

    async def gate_results(self, agent: str, *, limit: int = 20) -> Sequence[GateResult]:
        """List what the promotion gate said, newest first.

        Args:
            agent: Its name.
            limit: At most so many.
        """
        path = f"/v1/agents/{agent}/gate_results"
        return await self._connection.call(
            "GET", path, tuple[GateResult, ...], query={"limit": limit}
        )

    async def rollback(self, agent: str, *, reason: str = "") -> ArtifactRecord:
        """Let the champion be the version that it was before.

        Args:
            agent: Its name.
            reason: For the history.

        Raises:
            NotFoundError: There is none before.
        """
        path, body = f"/v1/agents/{agent}/rollback", {"reason": reason}
        return await self._connection.call(
            "POST", path, ArtifactRecord, body=body, may_repeat=False
        )

    async def second_answers(self, agent: str, *, limit: int = 100) -> Sequence[SecondAnswer]:
        """List what other versions would have decided, newest first.

        Args:
            agent: Its name.
            limit: At most so many.
        """
        path = f"/v1/agents/{agent}/second_answers"
        return await self._connection.call(
            "GET", path, tuple[SecondAnswer, ...], query={"limit": limit}
        )
