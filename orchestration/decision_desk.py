"""Passes requests to agents, with a deadline, and counts what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ai_agents.allocation_schema import AllocationDecision, AllocationRequest
from ai_agents.base_agent import InvocationContext, RequestError

if TYPE_CHECKING:
    from ai_agents.registry import AgentRegistry
    from ai_agents.resource_allocation_agent import ResourceAllocationAgent
    from rl.monitoring.serving_metrics import ServingMetrics
    from utils.clock import Clock

Request = AllocationRequest | Mapping[str, Any] | bytes | str


class DecisionDesk:
    """Asks agents and counts what becomes of the requests."""

    def __init__(self, registry: AgentRegistry, metrics: ServingMetrics, clock: Clock) -> None:
        """Keep the parts.

        Args:
            registry: Knows the agents.
            metrics: Count what became of requests.
            clock: Measures how long they take.
        """
        self._registry = registry
        self._metrics = metrics
        self._clock = clock
        self._served: dict[tuple[str, str], str] = {}

    async def ask(
        self,
        name: str,
        request: Request,
        context: InvocationContext,
        *,
        alias: str,
        version: int | None,
    ) -> AllocationDecision:
        """Ask one agent for a decision.

        Args:
            name: Of the agent.
            request: JSON text, the object it holds, or the agent's own request type.
            context: Of the request: its id and its deadline.
            alias: Which of its versions answers, by what it is for.
            version: Which of its versions answers, by number, rather than by alias.

        Raises:
            UnknownAgentError: There is no such agent, or nothing has this alias.
            RequestError: The request does not fit the agent.
        """
        agent = await self._registry.resolve(name, alias=alias, version=version)
        if version is None:
            self._note_served(agent, alias)
        decision = await self._answer(agent, request, context)
        self._count(decision)
        return decision

    async def _answer(
        self, agent: ResourceAllocationAgent, request: Request, context: InvocationContext
    ) -> AllocationDecision:
        started = self._clock.monotonic()
        try:
            typed = request if isinstance(request, AllocationRequest) else agent.parse(request)
            return await agent.invoke(typed, context)
        except Exception as error:
            self._metrics.answered(
                agent.name,
                agent.version,
                outcome="refused" if isinstance(error, RequestError) else "error",
                seconds=self._clock.monotonic() - started,
            )
            raise

    def _count(self, decision: AllocationDecision) -> None:
        metrics = self._metrics
        metrics.answered(
            decision.agent,
            decision.version,
            outcome="fallback" if decision.fallback_used else "decision",
            seconds=decision.duration_seconds,
        )
        if decision.fallback_reason is not None:
            metrics.fell_back(decision.agent, reason=decision.fallback_reason.value)
        for constraint in decision.guardrails:
            metrics.guardrail_applied(decision.agent, constraint=constraint)

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
