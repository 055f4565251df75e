"""Passes requests to agents, with a deadline, and notes what came of them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ai_agents.base_agent import Decision, DecisionRequest, InvocationContext, RequestError
from ai_agents.registry import CHALLENGER, CHAMPION
from ai_agents.registry_making import AnyAgent
from orchestration.decision_ports import Gate, Records, Router, Served, Supervisor, Verdict
from rl.deployment.guardrails import FallbackReason
from utils.clock import new_id
from utils.logs import log_context
from utils.persistence.decisions import LONGEST_REQUEST_ID, DecisionRecord

if TYPE_CHECKING:
    from ai_agents.registry import AgentRegistry
    from rl.monitoring.serving_metrics import Outcome, ServingMetrics
    from utils.clock import Clock

Request = DecisionRequest | Mapping[str, Any] | bytes | str
Batch = bytes | str | Sequence[DecisionRequest | Mapping[str, Any]]
POLICY_FAILED = {FallbackReason.ERROR, FallbackReason.DEADLINE, FallbackReason.NOT_FINITE}


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
        router: Router | None = None,
        supervisor: Supervisor,
    ) -> None:
        """Keep the parts.

        Args:
            registry: Knows the agents.
            metrics: Count what became of requests.
            clock: Measures how long they take.
            gate: Knows which policies had better not be asked; their experts then answer.
            records: Keeps every decision and refusal.
            router: Gives some requests to a version on trial; without it all go to the champion.
            supervisor: Says what becomes of decisions before they are handed out.
        """
        self._supervisor = supervisor
        self._registry = registry
        self._metrics = metrics
        self._clock = clock
        self._gate = gate
        self._records = records
        self._router = router
        self._served: dict[tuple[str, str], str] = {}

    async def invoke(
        self,
        name: str,
        request: Request,
        *,
        alias: str | None = None,
        version: int | None = None,
        request_id: str | None = None,
        request_key: str | None = None,
        deadline_seconds: float | None = None,
    ) -> Decision:
        """Ask one agent for a decision.

        Args:
            name: Of the agent.
            request: JSON text, the object it holds, or the agent's own request type.
            alias: Which of its versions answers, by what it is for. Without alias and version it
                is the champion, or the challenger where a canary gives it the request.
            version: Which of its versions answers, by number, rather than by alias.
            request_id: The caller's name for the request; the decision's id if absent.
            request_key: Requests with the same key meet the same version while a canary runs; the
                request id if absent.
            deadline_seconds: Time the policy has; the expert answers if it is late.

        Raises:
            UnknownAgentError: There is no such agent, or nothing has this alias.
            UnknownVersionError: It has no such version.
            RequestError: The request is malformed; each problem names its field.
            AgentNotReadyError: The agent is closed.
        """
        decision_id = new_id(self._clock)
        context = InvocationContext(
            request_id=request_id or decision_id,
            decision_ids=(decision_id,),
            deadline_seconds=deadline_seconds,
        )
        asked = _Asked(name, alias, version, key=request_key or context.request_id)
        return (await self._serve(asked, _Single(request), context))[0]

    async def invoke_batch(
        self,
        name: str,
        requests: Batch,
        *,
        alias: str | None = None,
        version: int | None = None,
        request_id: str | None = None,
        request_key: str | None = None,
        deadline_seconds: float | None = None,
    ) -> list[Decision]:
        """Ask one agent for several decisions, by one forward pass; one bad request stops all.

        Args:
            name: Of the agent.
            requests: JSON text of a list, or the requests.
            alias: Which of its versions answers, by what it is for; as with `invoke` if absent.
            version: Which of its versions answers, by number, rather than by alias.
            request_id: The caller's name for the batch; an id of its own if absent.
            request_key: As with `invoke`; the whole batch meets one version.
            deadline_seconds: Time the policy has; the expert answers if it is late.

        Raises:
            UnknownAgentError: There is no such agent, or nothing has this alias.
            UnknownVersionError: It has no such version.
            RequestError: A request is malformed; each problem names its place and field.
            AgentNotReadyError: The agent is closed.
        """
        context = InvocationContext(
            request_id=request_id or new_id(self._clock), deadline_seconds=deadline_seconds
        )
        asked = _Asked(name, alias, version, key=request_key or context.request_id)
        return await self._serve(asked, _Several(requests), context)

    async def _serve(
        self, asked: _Asked, payload: _Single | _Several, context: InvocationContext
    ) -> list[Decision]:
        """Find the version that answers, and hold it open while it does."""
        name, alias, version, key = asked
        with log_context(agent=name, request=context.request_id):
            router = self._router if alias is None and version is None else None
            tried = None if router is None else await router.route(name, key)
            served_as = alias or (CHAMPION if tried is None else CHALLENGER)
            number = version or tried
            async with self._registry.lease(name, alias=served_as, version=number) as agent:
                if version is None:
                    self._note_served(agent, served_as)
                return await self._ask(_Found(agent, router), payload, context)

    async def _ask(
        self, found: _Found, asked: _Single | _Several, context: InvocationContext
    ) -> list[Decision]:
        agent = found.agent
        tell = self._gate.admit(agent.name, agent.version)
        why = self._supervisor.stand_in(agent.name, agent.version)
        if tell is None or why is not None:
            context = replace(context, stand_in=why or FallbackReason.CIRCUIT_OPEN)
        answered = _Answered(agent=agent, context=context, started=self._clock.monotonic())
        verdict = Verdict.UNKNOWN
        requests: list[DecisionRequest] = []
        try:
            requests = asked.read(agent)
            if not context.decision_ids:
                ids = tuple(new_id(self._clock) for _ in requests)
                answered.context = context = replace(context, decision_ids=ids)
            answered.fingerprints = [_fingerprint(request) for request in requests]
            decisions = await agent.invoke_batch(requests, context)
            verdict = _judge(decisions)
        except RequestError:
            answered.fingerprints = answered.fingerprints or [_fingerprint(asked.payload)]
            self._note_failure(answered, "refused")
            raise
        except Exception:
            verdict = Verdict.FAILED
            self._note_failure(answered, "error")
            await self._tell_router(found, answered, requests, [])
            raise
        finally:
            if tell is not None:
                tell(verdict)
        decisions = await self._supervise(answered, requests, decisions)
        for decision, fingerprint in zip(decisions, answered.fingerprints, strict=True):
            self._note(answered, decision, fingerprint)
        await self._tell_router(found, answered, requests, decisions)
        return decisions

    async def _tell_router(
        self,
        found: _Found,
        answered: _Answered,
        requests: Sequence[DecisionRequest],
        decisions: Sequence[Decision],
    ) -> None:
        if found.router is None:
            return
        seconds = self._clock.monotonic() - answered.started
        await found.router.served(
            Served(
                agent=found.agent.name,
                version=found.agent.version,
                requests=requests,
                decisions=decisions,
                seconds=seconds,
            )
        )

    async def _supervise(
        self,
        answered: _Answered,
        requests: Sequence[DecisionRequest],
        decisions: list[Decision],
    ) -> list[Decision]:
        try:
            return await self._supervisor.supervise(requests, decisions)
        except Exception:
            self._note_failure(answered, "error")
            raise

    def _note(self, answered: _Answered, decision: Decision, fingerprint: str | None) -> None:
        reason = decision.fallback_reason
        outcome: Outcome = "decision" if reason is None else "fallback"
        self._record(answered, outcome, decision.decision_id, fingerprint, reason=reason)
        if reason is not None:
            self._metrics.fell_back(decision.agent, reason=reason.value)
        for constraint in decision.guardrails:
            self._metrics.guardrail_applied(decision.agent, constraint=constraint)

    def _note_failure(self, answered: _Answered, outcome: Outcome) -> None:
        ids = answered.context.decision_ids or (new_id(self._clock),)
        for decision_id, fingerprint in itertools.zip_longest(ids, answered.fingerprints):
            self._record(answered, outcome, decision_id, fingerprint)

    def _record(
        self,
        answered: _Answered,
        outcome: Outcome,
        decision_id: str,
        fingerprint: str | None,
        *,
        reason: FallbackReason | None = None,
    ) -> None:
        agent, seconds = answered.agent, self._clock.monotonic() - answered.started
        self._metrics.answered(agent.name, agent.version, outcome=outcome, seconds=seconds)
        self._records.record(
            DecisionRecord(
                id=decision_id,
                request_id=_storable(answered.context.request_id),
                agent=agent.name,
                version=agent.version,
                request_sha256=fingerprint,
                latency_seconds=seconds,
                outcome=outcome,
                fallback_reason=reason,
                at=self._clock.now(),
            )
        )

    def _note_served(self, agent: AnyAgent, alias: str) -> None:
        former = self._served.get((agent.name, alias))
        if former == agent.version:
            return
        self._served[agent.name, alias] = agent.version
        metrics = self._metrics
        metrics.serving(agent.name, agent.version, artifact=agent.artifact.sha256)
        still_served = {v for (name, _), v in self._served.items() if name == agent.name}
        if former is not None and former not in still_served:
            metrics.retire(agent.name, former)


class _Asked(NamedTuple):
    """Which version is asked."""

    name: str
    alias: str | None
    version: int | None
    key: str


class _Found(NamedTuple):
    agent: AnyAgent
    router: Router | None
    """Who hears what comes of it; None if the caller named a version."""


@dataclass(frozen=True)
class _Single:
    payload: Request

    def read(self, agent: AnyAgent) -> list[DecisionRequest]:
        """Return the one request in the agent's terms."""
        return [agent.parse(self.payload)]


@dataclass(frozen=True)
class _Several:
    payload: Batch

    def read(self, agent: AnyAgent) -> list[DecisionRequest]:
        """Return the requests in the agent's terms."""
        return agent.parse_batch(self.payload)


@dataclass(kw_only=True)
class _Answered:
    """What is known of requests that were asked together."""

    agent: AnyAgent
    context: InvocationContext
    started: float
    fingerprints: list[str | None] = field(default_factory=list)


def _judge(decisions: Sequence[Decision]) -> Verdict:
    reasons = {decision.fallback_reason for decision in decisions}
    if reasons & POLICY_FAILED:
        return Verdict.FAILED
    return Verdict.SOUND if None in reasons else Verdict.UNKNOWN


def _fingerprint(request: Request | Batch) -> str | None:
    if isinstance(request, DecisionRequest):
        request = request.model_dump_json()
    if isinstance(request, str):
        request = request.encode(errors="replace")
    return hashlib.sha256(request).hexdigest() if isinstance(request, bytes) else None


def _storable(text: str) -> str:
    """Return what every database takes: no NUL, no lone surrogates, not too long."""
    whole = text[:LONGEST_REQUEST_ID].replace("\0", "?")
    return whole.encode(errors="replace").decode()
