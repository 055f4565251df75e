"""What happens to a decision after it is made: it may have to wait, be kept, and be watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from ai_agents.base_agent import Decision, DecisionRequest
from orchestration.feedback.approvals import Approvals, Question
from orchestration.feedback.drift_monitor import DriftMonitor
from orchestration.feedback.kept_requests import KeptRequest, KeptRequests
from orchestration.feedback.settings import AgentSettings, SettingsShelf
from rl.deployment.guardrails import FallbackReason

if TYPE_CHECKING:
    from rl.monitoring.serving_metrics import ServingMetrics
    from utils.clock import Clock
    from utils.persistence.engine import Database


class Supervision:
    """Does with decisions what the settings of their agents say."""

    def __init__(self, database: Database, clock: Clock, metrics: ServingMetrics) -> None:
        """Put the parts together; `run` does what can wait.

        Args:
            database: Holds settings, waiting decisions and kept requests.
            clock: Tells the time.
            metrics: Show drift.
        """
        self._clock = clock
        self.settings = SettingsShelf(database, clock)
        self.approvals = Approvals(database, clock)
        self.kept = KeptRequests(database, clock)
        self.drift = DriftMonitor(database, clock, metrics)

    def stand_in(self, agent: str, version: str) -> FallbackReason | None:
        """Say why the expert shall answer rather than the policy; None if there is no reason.

        Args:
            agent: Its name.
            version: Which one.
        """
        if self.drift.has_drifted(agent, version) and self.settings.known(agent).expert_on_drift:
            return FallbackReason.DRIFT
        return None

    async def supervise(
        self, requests: Sequence[DecisionRequest], decisions: Sequence[Decision]
    ) -> list[Decision]:
        """Return decisions as they may be handed out.

        Args:
            requests: As they were read.
            decisions: Of one agent, one a request.

        Raises:
            DatabaseError: They need approval, and that cannot be asked for now.
        """
        settings = await self.settings.find(decisions[0].agent)
        handed_out = list(decisions)
        if settings.needs_approval:
            waiting = {"approval": "waiting"}
            handed_out = [decision.model_copy(update=waiting) for decision in decisions]
            questions = [
                _question(request, decision, settings)
                for request, decision in zip(requests, handed_out, strict=True)
            ]
            await self.approvals.ask(questions)
        for request, decision in zip(requests, handed_out, strict=True):
            self.drift.add(request, decision)
            if settings.keep_requests:
                self._keep(request, decision, settings)
        return handed_out

    async def run(self) -> None:
        """Do what can wait, until cancelled."""
        async with anyio.create_task_group() as group:
            for one in (self.settings, self.approvals, self.kept, self.drift):
                group.start_soon(one.run)

    async def aclose(self) -> None:
        """Write what waits to be written."""
        await self.kept.aclose()

    def _keep(self, request: DecisionRequest, decision: Decision, settings: AgentSettings) -> None:
        bare = decision.model_copy(update={"explanation": None})
        one = KeptRequest(
            decision_id=decision.decision_id,
            agent=decision.agent,
            version=decision.version,
            request=request.model_dump_json(),
            decision=bare.model_dump_json(),
            at=self._clock.now(),
        )
        self.kept.keep(one, newest=settings.keep_requests)


def _question(request: DecisionRequest, decision: Decision, settings: AgentSettings) -> Question:
    return Question(
        decision_id=decision.decision_id,
        agent=decision.agent,
        version=decision.version,
        request_id=decision.request_id,
        request=request.model_dump_json(),
        proposed=decision.model_dump_json(),
        seconds=settings.approval_seconds,
    )
