"""A person's verdict on a decision that waits: approve, override by one's own, or reject."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ai_agents.base_agent import Header
from orchestration.feedback.approvals import Approval, Approvals, ApprovalState, Verdict

if TYPE_CHECKING:
    from ai_agents.registry import AgentRegistry

OVERRIDDEN = {"approval": ApprovalState.OVERRIDDEN.value}


class Reviews:
    """Takes verdicts."""

    def __init__(self, approvals: Approvals, registry: AgentRegistry) -> None:
        """Keep the parts.

        Args:
            approvals: The decisions that wait.
            registry: Knows the agents, whose domains check a person's own decision.
        """
        self._approvals = approvals
        self._registry = registry

    async def approve(self, decision_id: str, *, by: str, reason: str = "") -> Approval:
        """Let a decision hold as the agent made it.

        Args:
            decision_id: Which one.
            by: Who says so.
            reason: Why.

        Raises:
            ApprovalNotFoundError: No such decision ever waited.
            VerdictKnownError: Somebody was faster, or the time is up.
        """
        verdict = Verdict(state=ApprovalState.APPROVED, by=by, reason=reason)
        return await self._approvals.give(decision_id, verdict)

    async def reject(self, decision_id: str, *, by: str, reason: str = "") -> Approval:
        """Let a decision not hold.

        Args:
            decision_id: Which one.
            by: Who says so.
            reason: Why.

        Raises:
            ApprovalNotFoundError: No such decision ever waited.
            VerdictKnownError: Somebody was faster, or the time is up.
        """
        verdict = Verdict(state=ApprovalState.REJECTED, by=by, reason=reason)
        return await self._approvals.give(decision_id, verdict)

    async def override(
        self, decision_id: str, wish: Mapping[str, Any], *, by: str, reason: str = ""
    ) -> Approval:
        """Let a person's own decision hold instead, if it is feasible.

        Args:
            decision_id: Which one.
            wish: What the person wants, in the words of a decision of this agent.
            by: Who says so.
            reason: Why.

        Raises:
            RequestError: The wish is malformed or infeasible; the decision goes on waiting.
            ApprovalNotFoundError: No such decision ever waited.
            VerdictKnownError: Somebody was faster, or the time is up.
        """
        waiting = await self._approvals.get(decision_id)
        agent = await self._registry.resolve(waiting.agent, version=int(waiting.version))
        situation = agent.domain.read(agent.parse(json.dumps(waiting.request)))
        header = Header(
            agent=waiting.agent,
            version=waiting.version,
            request_id=waiting.request_id,
            decision_id=decision_id,
            decided_by=by,
            fallback_used=False,
            fallback_reason=None,
            duration_seconds=0.0,
            warnings=list(situation.warnings),
        )
        given = agent.domain.override(situation, wish, header=header).model_copy(update=OVERRIDDEN)
        verdict = Verdict(
            state=ApprovalState.OVERRIDDEN, by=by, reason=reason, given=given.model_dump_json()
        )
        return await self._approvals.give(decision_id, verdict)
