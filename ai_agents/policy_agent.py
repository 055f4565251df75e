"""The agent of every domain: the policy where it is known to be good, else the expert, and said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Generic

import anyio.to_thread

from ai_agents.base_agent import (
    AgentNotReadyError,
    BusinessAgent,
    DecisionT,
    Header,
    Health,
    InvocationContext,
    RequestError,
    RequestT,
    attempt,
)
from ai_agents.decision_domain import DecisionDomain, SituationT
from ai_agents.explanation import Influences, explain, trace_influences
from ai_agents.occlusion import occlude_request
from rl.artifacts import PolicyArtifact
from rl.deployment.guardrails import FallbackReason
from utils.clock import Clock, SystemClock

WARM_UPS = 5


class PolicyAgent(BusinessAgent[RequestT, DecisionT], Generic[RequestT, DecisionT, SituationT]):
    """Answers by a frozen policy.

    The policy answers inside the ranges that its card is validated for; outside of them, or where
    it fails or is late, the card's tuned expert does.
    """

    def __init__(
        self,
        artifact: PolicyArtifact,
        domain: DecisionDomain[RequestT, DecisionT, SituationT],
        *,
        name: str | None = None,
        version: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Put an agent together.

        Args:
            artifact: The policy and its card.
            domain: Made from the artifact.
            name: How callers name the agent; the card's by default.
            version: What decisions call this policy; the start of its sha256 by default.
            clock: Measures durations.
        """
        self.artifact = artifact
        self.domain = domain
        self.request_type = domain.request_type
        self.decision_type = domain.decision_type
        self.name = name or artifact.card.agent
        self.version = version or artifact.sha256[:12]
        self._clock = clock or SystemClock()
        self.seconds_per_decision: float | None = None
        self._health = Health(status="starting")

    async def setup(self) -> None:
        """Warm up: answer a request of the agent's own world a few times."""
        self._health = Health(status="ready")
        example, context = self.domain.example_request(), InvocationContext(request_id="warm_up")
        decisions = [await self.invoke(example, context) for _ in range(WARM_UPS)]
        self.seconds_per_decision = min(one.duration_seconds for one in decisions)

    async def health(self) -> Health:
        """Tell whether the agent can answer, and whether by its policy."""
        return self._health

    async def aclose(self) -> None:
        """Answer no more requests."""
        self._health = Health(status="closed")

    def example_request(self) -> RequestT:
        """Return a request that this agent answers."""
        return self.domain.example_request()

    async def invoke_batch(
        self, requests: Sequence[RequestT], context: InvocationContext
    ) -> list[DecisionT]:
        """Answer several requests by one forward pass.

        Args:
            requests: At least one.
            context: Of the call.

        Raises:
            RequestError: A request does not fit the agent; none is answered.
            AgentNotReadyError: The agent was not set up, or was closed.
        """
        if self._health.status in {"starting", "closed"}:
            raise AgentNotReadyError(f"{self.name} is {self._health.status}: await setup() first")
        started = self._clock.monotonic()
        situations = self._read_all(requests)
        planned, reasons = await self._ask_policy(situations, context)
        asked = [
            row for row, one in enumerate(requests) if one.compare or one.explain or reasons[row]
        ]
        experts = {}
        if asked:
            answers = self.domain.ask_expert([situations[row] for row in asked])
            experts = dict(zip(asked, answers, strict=True))
        actions = [experts[row] if reasons[row] else planned[row] for row in range(len(requests))]
        headers = self._make_headers(situations, reasons, context, started)
        shown = [
            experts[row] if one.compare or one.explain else None for row, one in enumerate(requests)
        ]
        decisions = self.domain.decide_all(situations, actions, headers=headers, experts=shown)
        if not any(request.explain for request in requests):
            return decisions
        return [
            await self._explain(decision, situation, request) if request.explain else decision
            for decision, situation, request in zip(decisions, situations, requests, strict=True)
        ]

    def _make_headers(
        self,
        situations: Sequence[SituationT],
        reasons: Sequence[FallbackReason | None],
        context: InvocationContext,
        started: float,
    ) -> list[Header]:
        ids = context.decision_ids or (context.request_id,) * len(situations)
        seconds = self._clock.monotonic() - started
        return [
            Header(
                agent=self.name,
                version=self.version,
                request_id=context.request_id,
                decision_id=decision_id,
                decided_by="policy" if reason is None else self.domain.expert_name,
                fallback_used=reason is not None,
                fallback_reason=reason,
                duration_seconds=seconds,
                warnings=list(situation.warnings),
            )
            for situation, reason, decision_id in zip(situations, reasons, ids, strict=True)
        ]

    async def _explain(
        self, decision: DecisionT, situation: SituationT, request: RequestT
    ) -> DecisionT:
        influences = None
        if not decision.fallback_used:
            look = partial(self._find_influences, situation, request)
            influences = await anyio.to_thread.run_sync(look)
        why = explain(influences, bound=decision.guardrails, expert=self.domain.expert_name)
        return decision.model_copy(update={"explanation": why})

    def _find_influences(self, situation: SituationT, request: RequestT) -> Influences:
        trace = self.domain.trace(situation)
        if trace is None:
            return occlude_request(self.domain, request)
        return trace_influences(self.artifact, trace)

    def _read_all(self, requests: Sequence[RequestT]) -> list[SituationT]:
        situations = []
        for position, request in enumerate(requests):
            try:
                situations.append(self.domain.read(request))
            except RequestError as error:
                if len(requests) == 1:
                    raise
                raise error.under(f"[{position}]") from error
        return situations

    async def _ask_policy(
        self, situations: Sequence[SituationT], context: InvocationContext
    ) -> tuple[dict[int, object], list[FallbackReason | None]]:
        """Return actions by row, and for each row why there is none to be used, if so."""
        reasons: list[FallbackReason | None] = [
            context.stand_in
            or (FallbackReason.OUTSIDE_VALIDATED_RANGE if situation.outside else None)
            for situation in situations
        ]
        inside = [row for row, reason in enumerate(reasons) if reason is None]
        if not inside:
            return {}, reasons
        known = [situations[row] for row in inside]
        answer = await attempt(lambda: self.domain.plan(known), context.deadline_seconds)
        if isinstance(answer, FallbackReason):
            failed = dict.fromkeys(inside, answer)
            planned = {}
        else:
            planned = dict(zip(inside, answer.actions, strict=True))
            usable = dict(zip(inside, answer.is_usable.tolist(), strict=True))
            failed = {row: FallbackReason.NOT_FINITE for row in inside if not usable[row]}
        for row, reason in failed.items():
            reasons[row] = reason
        self._note_health(next(iter(failed.values()), None))
        return planned, reasons

    def _note_health(self, failure: FallbackReason | None) -> None:
        if self._health.status == "closed":
            return
        if failure is None:
            self._health = Health(status="ready")
        else:
            self._health = Health(status="degraded", reason=f"the policy failed: {failure}")
