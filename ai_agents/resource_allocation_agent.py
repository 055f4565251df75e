"""The agent that splits capacities among services: a trained planner behind a business face."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ai_agents.allocation_schema import (
    EXAMPLE_REQUEST,
    AllocationDecision,
    AllocationRequest,
    ExpertAnswer,
    ServiceState,
)
from ai_agents.allocation_translation import (
    AllocationTranslator,
    Outlook,
    Situation,
    stack_views,
    take_view,
)
from ai_agents.base_agent import (
    AgentNotReadyError,
    BusinessAgent,
    Health,
    InvocationContext,
    RequestError,
    attempt,
)
from rl.artifacts import Baseline, PolicyArtifact
from rl.deployment.exporters import (
    RESOURCE_ALLOCATION,
    AllocationAction,
    planner_action_size,
)
from rl.deployment.guardrails import (
    FallbackReason,
    finite_rows,
    overbooked,
    project_safely,
)
from rl.deployment.policy_runtime import PolicyRuntime
from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.domains.resource_allocation import AllocationConfig, AllocationDomain, AllocationView
from utils.clock import Clock, SystemClock
from utils.config import from_json
from utils.errors import ConfigError

Action = NDArray[np.float32]
ACTIONS: tuple[str, ...] = get_args(AllocationAction)


class ResourceAllocationAgent(BusinessAgent[AllocationRequest, AllocationDecision]):
    """Answers who gets how much of each resource in the coming step.

    The policy answers inside the ranges that its card is validated for; outside of them, or where
    the policy fails, the card's tuned expert does.
    """

    request_type = AllocationRequest
    decision_type = AllocationDecision

    def __init__(
        self,
        artifact: PolicyArtifact,
        *,
        name: str | None = None,
        version: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Read the world and the expert from the artifact.

        Args:
            artifact: The policy and its card.
            name: How callers name the agent; the card's by default.
            version: What decisions call this policy; the start of its sha256 by default.
            clock: Measures durations.

        Raises:
            ConfigError: The artifact is for another domain, its expert is unknown, or the network
                does not fit its world.
        """
        if artifact.domain != RESOURCE_ALLOCATION:
            raise ConfigError(f"this agent serves {RESOURCE_ALLOCATION}, not {artifact.domain}")
        self.artifact = artifact
        self.name = name or artifact.card.agent
        self.version = version or artifact.sha256[:12]
        self.config = from_json(AllocationConfig, json.loads(artifact.domain_config))
        baseline = artifact.card.baseline
        if baseline.expert not in EXPERTS:
            raise ConfigError(f"expert {baseline.expert!r}; known: {', '.join(EXPERTS)}")
        self.expert_name = baseline.expert
        self._parameters = _tuned_parameters(baseline)
        self._clock = clock or SystemClock()
        self._translator = AllocationTranslator(self.config, artifact.card.validated_for)
        self._domain = self._translator.domain
        self._runtime = PolicyRuntime(artifact)
        _check_network(artifact, self._domain)
        self._health = Health(status="starting")

    async def setup(self) -> None:
        """Warm up: answer one request of the agent's own world."""
        self._health = Health(status="ready")
        await self.invoke(self.example_request(), InvocationContext(request_id="warm_up"))

    async def health(self) -> Health:
        """Tell whether the agent can answer, and whether by its policy."""
        return self._health

    async def aclose(self) -> None:
        """Answer no more requests."""
        self._health = Health(status="closed")

    def example_request(self) -> AllocationRequest:
        """Return a request that fits this agent: the usual example for services of known kinds."""
        middle = {one.field: (one.low + one.high) / 2 for one in self.artifact.card.validated_for}
        known = {service["name"]: service for service in EXAMPLE_REQUEST["services"]}
        services = []
        for service in self.config.services:
            kind = service.name.rstrip("0123456789").rstrip("_")
            usual = middle.get(f"services.{service.name}.recent_demand", 1.0)
            sample = known.get(kind, {"recent_demand": [usual] * 3})
            services.append(ServiceState(**{**sample, "name": service.name}))
        capacity = dict(zip(self.config.resources, self.config.capacity, strict=True))
        return AllocationRequest(services=services, capacity=capacity, time_of_day=0.5)

    async def invoke_batch(
        self, requests: Sequence[AllocationRequest], context: InvocationContext
    ) -> list[AllocationDecision]:
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
        view = stack_views([situation.view for situation in situations])
        action, reasons = await self._ask_policy(view, situations, context)
        is_compared = [request.compare for request in requests]
        expert = self._ask_expert(view) if any(is_compared) or any(reasons) else action
        return [
            self._decide(
                situation,
                expert[row] if reasons[row] else action[row],
                reasons[row],
                expert=expert[row] if is_compared[row] else None,
                started=started,
                request_id=context.request_id,
            )
            for row, situation in enumerate(situations)
        ]

    def _read_all(self, requests: Sequence[AllocationRequest]) -> list[Situation]:
        situations = []
        for position, request in enumerate(requests):
            try:
                situations.append(self._translator.read(request))
            except RequestError as error:
                if len(requests) == 1:
                    raise
                raise error.under(f"[{position}]") from error
        return situations

    async def _ask_policy(
        self, view: AllocationView, situations: Sequence[Situation], context: InvocationContext
    ) -> tuple[Action, list[FallbackReason | None]]:
        """Return actions, and for each row why it must not be used, if so."""
        size = self._domain.num_services * self._domain.num_resources
        action = np.zeros((len(situations), size), np.float32)
        reasons: list[FallbackReason | None] = [
            context.stand_in
            or (FallbackReason.OUTSIDE_VALIDATED_RANGE if situation.outside else None)
            for situation in situations
        ]
        inside = np.asarray([row for row, reason in enumerate(reasons) if reason is None], np.intp)
        if inside.size == 0:
            return action, reasons
        known = take_view(view, inside)
        answer = await attempt(lambda: self._plan(known), context.deadline_seconds)
        if isinstance(answer, FallbackReason):
            failed = dict.fromkeys(inside.tolist(), answer)
        else:
            action[inside], is_finite = answer
            failed = dict.fromkeys(inside[~is_finite].tolist(), FallbackReason.NOT_FINITE)
        for row, reason in failed.items():
            reasons[row] = reason
        self._note_health(next(iter(failed.values()), None))
        return action, reasons

    def _plan(self, view: AllocationView) -> tuple[Action, NDArray[np.bool_]]:
        """Return the shares that the policy wants, and which of them can be used."""
        output = self._runtime.output(self._domain.encode(view))
        chosen = self._runtime.choose(output)
        is_coverage = self.artifact.action.meaning == "coverage"
        wanted = self._domain.cover(chosen, view) if is_coverage else chosen
        shares = np.asarray(wanted, np.float32)
        return shares, finite_rows(output) & finite_rows(shares)

    def _ask_expert(self, view: AllocationView) -> Action:
        return EXPERTS[self.expert_name](view, self.config, self._parameters)

    def _note_health(self, failure: FallbackReason | None) -> None:
        if self._health.status == "closed":
            return
        if failure is None:
            self._health = Health(status="ready")
        else:
            self._health = Health(status="degraded", reason=f"the policy failed: {failure}")

    def _decide(
        self,
        situation: Situation,
        action: Action,
        reason: FallbackReason | None,
        *,
        expert: Action | None,
        started: float,
        request_id: str,
    ) -> AllocationDecision:
        outlook = self._outlook(action, situation)
        compared = None if expert is None else self._outlook(expert, situation)
        cut = overbooked(self._domain, action) & (reason is None)
        return AllocationDecision(
            agent=self.name,
            version=self.version,
            request_id=request_id,
            decided_by="policy" if reason is None else self.expert_name,
            fallback_used=reason is not None,
            fallback_reason=reason,
            warnings=list(situation.warnings),
            services=outlook.services,
            leftover=outlook.leftover,
            expected_value=outlook.value,
            guardrails=[
                f"capacity.{name}"
                for name, is_cut in zip(self.config.resources, cut, strict=True)
                if is_cut
            ],
            expert=None
            if compared is None
            else ExpertAnswer(
                name=self.expert_name,
                services=compared.services,
                leftover=compared.leftover,
                expected_value=compared.value,
            ),
            duration_seconds=self._clock.monotonic() - started,
        )

    def _outlook(self, action: Action, situation: Situation) -> Outlook:
        allocation = project_safely(self._domain, action, situation.view.capacity)
        return self._translator.outlook(allocation, situation)


def _check_network(artifact: PolicyArtifact, domain: AllocationDomain) -> None:
    action = artifact.action
    if action.kind == "discrete" or action.meaning not in ACTIONS:
        raise ConfigError(f"{action}: this agent knows continuous {' and '.join(ACTIONS)}")
    size = planner_action_size(domain, cast("AllocationAction", action.meaning))
    if (artifact.observation_size, action.size) != (domain.observation_size, size):
        raise ConfigError("the artifact's network does not fit its own world; export it again")


def _tuned_parameters(baseline: Baseline) -> ExpertParameters:
    """Read the parameters of the card; whole numbers where the expert wants them."""
    hints = get_type_hints(ExpertParameters)
    values = {
        figure.name: int(figure.value) if hints.get(figure.name) is int else figure.value
        for figure in baseline.parameters
    }
    return from_json(ExpertParameters, values)
