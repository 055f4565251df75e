"""Passes requests to agents, with a deadline, and notes what came of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from ai_agents.allocation_schema import AllocationDecision, AllocationRequest
from ai_agents.base_agent import InvocationContext, RequestError
from ai_agents.registry import CHAMPION
from rl.deployment.guardrails import FallbackReason
from utils.clock import new_id
from utils.logs import log_context
from utils.persistence.decisions import LONGEST_REQUEST_ID, DecisionRecord

if TYPE_CHECKING:
    from ai_agents.registry import AgentRegistry
    from ai_agents.resource_allocation_agent import ResourceAllocationAgent
    from rl.monitoring.serving_metrics import Outcome, ServingMetrics
    from utils.clock import Clock

Request = AllocationRequest | Mapping[str, Any] | bytes | str
POLICY_FAILED = {FallbackReason.ERROR, FallbackReason.DEADLINE, FallbackReason.NOT_FINITE}


class Verdict(StrEnum):
    """How a policy did that was asked."""

    SOUND = "sound"
    FAILED = "failed"  # it broke, or was late
    UNKNOWN = "unknown"  # it was not asked after all, or nobody waited for it


class Gate(Protocol):
    """Knows which policies had better not be asked."""

    def admit(self, agent: str, version: str) -> Callable[[Verdict], None] | None:
        """Return where to tell how the policy does; None while it must not be asked.

        Args:
            agent: Its name.
            version: Which one.
        """
        ...


class Records(Protocol):
    """Keeps what agents decided."""

    def record(self, record: DecisionRecord) -> None:
        """Keep one record; never waits and never fails.

        Args:
            record: What was decided.
        """
        ...


class DecisionDesk:
    """Asks agents and counts what becomes of the requests."""

    def __init__(
        self,
        registry: AgentRegistry,
        metrics: ServingMetrics,
        clock: Clock,
        *,
        gate: Gate,
        records: Records,
    ) -> None:
        """Keep the parts.

        Args:
            registry: Knows the agents.
            metrics: Count what became of requests.
            clock: Measures how long they take.
            gate: Knows which policies had better not be asked; their experts then answer.
            records: Keeps every decision and refusal.
        """
        self._registry = registry
        self._metrics = metrics
        self._clock = clock
        self._gate = gate
        self._records = records
        self._served: dict[tuple[str, str], str] = {}

    async def invoke(
        self,
        name: str,
        request: Request,
        *,
        alias: str = CHAMPION,
        version: int | None = None,
        request_id: str | None = None,
        deadline_seconds: float | None = None,
    ) -> AllocationDecision:
        """Ask one agent for a decision.

        Args:
            name: Of the agent.
            request: JSON text, the object it holds, or the agent's own request type.
            alias: Which of its versions answers, by what it is for.
            version: Which of its versions answers, by number, rather than by alias.
            request_id: The caller's name for the request; the id of the decision's record if
                absent.
            deadline_seconds: Time the policy has; the expert answers if it is late.

        Raises:
            UnknownAgentError: There is no such agent, or nothing has this alias.
            UnknownVersionError: It has no such version.
            RequestError: The request is malformed; each problem names its field.
            AgentNotReadyError: The agent is closed.
        """
        record_id = new_id(self._clock)
        context = InvocationContext(
            request_id=request_id or record_id, deadline_seconds=deadline_seconds
        )
        with log_context(agent=name, request=context.request_id):
            return await self.ask(
                name, request, context, alias=alias, version=version, record_id=record_id
            )

    async def ask(
        self,
        name: str,
        request: Request,
        context: InvocationContext,
        *,
        alias: str,
        version: int | None,
        record_id: str | None = None,
    ) -> AllocationDecision:
        """Ask one agent for a decision, in a context that the caller made.

        Args:
            name: Of the agent.
            request: JSON text, the object it holds, or the agent's own request type.
            context: Of the request: its id and its deadline.
            alias: Which of its versions answers, by what it is for.
            version: Which of its versions answers, by number, rather than by alias.
            record_id: Id of the decision's record; a fresh one if absent.

        Raises:
            UnknownAgentError: There is no such agent, or nothing has this alias.
            RequestError: The request does not fit the agent.
        """
        agent = await self._registry.resolve(name, alias=alias, version=version)
        if version is None:
            self._note_served(agent, alias)
        decision = await self._ask(agent, request, context, record_id or new_id(self._clock))
        self._count(decision)
        return decision

    async def _ask(
        self,
        agent: ResourceAllocationAgent,
        request: Request,
        context: InvocationContext,
        record_id: str,
    ) -> AllocationDecision:
        tell = self._gate.admit(agent.name, agent.version)
        if tell is None:
            context = replace(context, stand_in=FallbackReason.CIRCUIT_OPEN)
        started, typed, verdict = self._clock.monotonic(), request, Verdict.UNKNOWN

        def note(outcome: Outcome, reason: FallbackReason | None = None) -> None:
            seconds = self._clock.monotonic() - started
            self._metrics.answered(agent.name, agent.version, outcome=outcome, seconds=seconds)
            self._records.record(
                DecisionRecord(
                    id=record_id,
                    request_id=_storable(context.request_id),
                    agent=agent.name,
                    version=agent.version,
                    request_sha256=_fingerprint(typed),
                    latency_seconds=seconds,
                    outcome=outcome,
                    fallback_reason=reason,
                    at=self._clock.now(),
                )
            )

        try:
            if not isinstance(typed, AllocationRequest):
                typed = agent.parse(typed)
            decision = await agent.invoke(typed, context)
            verdict = _judge(decision)
        except RequestError:
            note("refused")
            raise
        except Exception:
            verdict = Verdict.FAILED
            note("error")
            raise
        finally:
            if tell is not None:
                tell(verdict)
        note("fallback" if decision.fallback_used else "decision", decision.fallback_reason)
        return decision

    def _count(self, decision: AllocationDecision) -> None:
        if decision.fallback_reason is not None:
            self._metrics.fell_back(decision.agent, reason=decision.fallback_reason.value)
        for constraint in decision.guardrails:
            self._metrics.guardrail_applied(decision.agent, constraint=constraint)

    def _note_served(self, agent: ResourceAllocationAgent, alias: str) -> None:
        former = self._served.get((agent.name, alias))
        if former == agent.version:
            return
        self._served[agent.name, alias] = agent.version
        metrics = self._metrics
        metrics.serving(agent.name, agent.version, artifact=agent.artifact.sha256)
        still_served = {v for (name, _), v in self._served.items() if name == agent.name}
        if former is not None and former not in still_served:
            metrics.retire(agent.name, former)


def _judge(decision: AllocationDecision) -> Verdict:
    if decision.fallback_reason in POLICY_FAILED:
        return Verdict.FAILED
    return Verdict.UNKNOWN if decision.fallback_used else Verdict.SOUND


def _fingerprint(request: Request) -> str | None:
    if isinstance(request, AllocationRequest):
        request = request.model_dump_json()
    if isinstance(request, str):
        request = request.encode(errors="replace")
    return hashlib.sha256(request).hexdigest() if isinstance(request, bytes) else None


def _storable(text: str) -> str:
    """Return what every database takes: no NUL, no lone surrogates, not too long."""
    whole = text[:LONGEST_REQUEST_ID].replace("\0", "?")
    return whole.encode(errors="replace").decode()
