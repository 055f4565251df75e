"""The domain of shared services, as an agent needs it: planner, experts, projection, words."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ai_agents.allocation_fields import REFERENCE, blend_views, find_places, make_reference
from ai_agents.allocation_hindsight import capacity_shares, find_arrivals, to_array, word_override
from ai_agents.allocation_schema import (
    EXAMPLE_REQUEST,
    AllocationDecision,
    AllocationRequest,
    ExpertAnswer,
    ServiceState,
)
from ai_agents.allocation_translation import (
    AllocationSituation,
    AllocationTranslator,
    Outlook,
    stack_views,
)
from ai_agents.base_agent import Header
from ai_agents.decision_domain import DecisionDomain, Plan
from ai_agents.explanation import Trace
from rl.artifacts import Baseline, PolicyArtifact, ValidRange
from rl.deployment.exporters import (
    RESOURCE_ALLOCATION,
    AllocationAction,
    planner_action_size,
)
from rl.deployment.guardrails import finite_rows, overbooked, project_safely
from rl.deployment.policy_runtime import PolicyRuntime
from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.domains.resource_allocation import AllocationConfig, AllocationDomain, AllocationView
from utils.config import from_json
from utils.errors import ConfigError

Action = NDArray[np.float32]
Array64 = NDArray[np.float64]
ACTIONS: tuple[str, ...] = get_args(AllocationAction)


class AllocationDecisions(
    DecisionDomain[AllocationRequest, AllocationDecision, AllocationSituation]
):
    """Who gets how much of each resource in the coming step."""

    title = "Resource allocation agent"
    tags = ("capacity", "services", "fairness")
    request_type = AllocationRequest
    decision_type = AllocationDecision

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read the world and the expert from the artifact.

        Args:
            artifact: The policy and its card.

        Raises:
            ConfigError: The artifact is for another domain, its expert is unknown, or the network
                does not fit its world.
        """
        if artifact.domain != RESOURCE_ALLOCATION:
            raise ConfigError(f"this agent serves {RESOURCE_ALLOCATION}, not {artifact.domain}")
        self.config = from_json(AllocationConfig, json.loads(artifact.domain_config))
        baseline = artifact.card.baseline
        if baseline.expert not in EXPERTS:
            raise ConfigError(f"expert {baseline.expert!r}; known: {', '.join(EXPERTS)}")
        self.expert_name = baseline.expert
        self._parameters = _tuned_parameters(baseline)
        self._valid = artifact.card.validated_for
        self.translator = AllocationTranslator(self.config, self._valid)
        self._domain = self.translator.domain
        self._runtime = PolicyRuntime(artifact)
        self._is_coverage = artifact.action.meaning == "coverage"
        _check_network(artifact, self._domain)
        self._places = find_places(self.config)
        self._reference = make_reference(self.config, self._valid)

    def describe(self) -> str:
        """Say what is split among whom, and what for."""
        services = ", ".join(service.name for service in self.config.services)
        return (
            f"Splits {' and '.join(self.config.resources)} among {services} for the coming step, "
            "so that the priority-weighted served work minus the cost of idle units is as large as "
            "can be over the hours to come."
        )

    def example_request(self) -> AllocationRequest:
        """Return a request that fits this agent: the usual example for services of known kinds."""
        return _make_example(self.config, self._valid)

    def read(self, request: AllocationRequest) -> AllocationSituation:
        """Match names and sizes, fill in what may be left out.

        Args:
            request: Well formed, but perhaps about another world.

        Raises:
            RequestError: Names or sizes do not fit; each problem names its field.
        """
        return self.translator.read(request)

    def plan(self, situations: Sequence[AllocationSituation]) -> Plan:
        """Return the shares that the policy wants.

        Args:
            situations: At least one.
        """
        view = stack_views([situation.view for situation in situations])
        output = self._runtime.output(self._domain.encode(view))
        shares = self._to_shares(output, view)
        return Plan(shares, finite_rows(output) & finite_rows(shares))

    def _to_shares(self, output: Action, view: AllocationView) -> Action:
        chosen = self._runtime.choose(output)
        return np.asarray(
            self._domain.cover(chosen, view) if self._is_coverage else chosen, np.float32
        )

    def ask_expert(self, situations: Sequence[AllocationSituation]) -> Action:
        """Return the shares that the tuned expert wants.

        Args:
            situations: At least one.
        """
        view = stack_views([situation.view for situation in situations])
        return EXPERTS[self.expert_name](view, self.config, self._parameters)

    def decide(
        self,
        situation: AllocationSituation,
        action: Action,
        *,
        header: Header,
        expert: Action | None,
    ) -> AllocationDecision:
        """Cut shares to the capacities and foresee the coming step.

        Args:
            situation: What it is about.
            action: Shares `[service * resource]`.
            header: What the decision says about itself.
            expert: The expert's shares, if the answer shall show them.
        """
        outlook = self._outlook(action, situation)
        cut = overbooked(self._domain, action).tolist()
        return self._state(outlook, header, cut, self._expert_answer(situation, expert))

    def decide_all(
        self,
        situations: Sequence[AllocationSituation],
        actions: Sequence[Action],
        *,
        headers: Sequence[Header],
        experts: Sequence[Action | None],
    ) -> list[AllocationDecision]:
        """Cut and foresee all at once; see `decide`.

        Args:
            situations: What they are about.
            actions: Shares `[service * resource]` each.
            headers: What the decisions say about themselves.
            experts: The expert's shares where the answer shall show them.
        """
        if len(situations) == 1:  # arrays of one row cost more than they save
            return super().decide_all(situations, actions, headers=headers, experts=experts)
        wanted = np.asarray(actions, np.float32)
        capacity = np.asarray([situation.view.capacity for situation in situations])
        allocations = project_safely(self._domain, wanted, capacity)
        outlooks = self.translator.outlooks(allocations, situations)
        answers = map(self._expert_answer, situations, experts)
        rows = zip(
            outlooks, headers, overbooked(self._domain, wanted).tolist(), answers, strict=True
        )
        return [self._state(*row) for row in rows]

    def _state(
        self, outlook: Outlook, header: Header, cut: list[bool], expert: ExpertAnswer | None
    ) -> AllocationDecision:
        is_policy = not header["fallback_used"]
        return AllocationDecision(
            **header,
            services=outlook.services,
            leftover=outlook.leftover,
            expected_value=outlook.value,
            guardrails=[
                f"capacity.{name}"
                for name, is_cut in zip(self.config.resources, cut, strict=True)
                if is_cut and is_policy
            ],
            expert=expert,
        )

    def _expert_answer(
        self, situation: AllocationSituation, shares: Action | None
    ) -> ExpertAnswer | None:
        if shares is None:
            return None
        outlook = self._outlook(shares, situation)
        return ExpertAnswer(
            name=self.expert_name,
            services=outlook.services,
            leftover=outlook.leftover,
            expected_value=outlook.value,
        )

    def trace(self, situation: AllocationSituation) -> Trace:
        """Say how the policy sees a request, field by field.

        Args:
            situation: What the policy was asked about.
        """

        def mix(shares: Array64) -> AllocationView:
            return blend_views(situation.view, self._reference, self._places, shares)

        def answer(shares: Array64) -> Array64:
            view = mix(shares)
            output = self._runtime.output(self._domain.encode(view).astype(np.float32))
            return self._to_shares(output, view).clip(0.0, 1.0).astype(np.float64)

        return Trace(
            fields=tuple(place.field for place in self._places),
            blend=lambda shares: self._domain.encode(mix(shares)),
            answer=answer,
            unit="share of a capacity that a service asks for",
            reference=REFERENCE,
        )

    def amounts(self, decision: AllocationDecision) -> Mapping[Hashable, float]:
        """Return the share of each capacity by service, what is left over included.

        Args:
            decision: Of policy, expert or person.
        """
        return capacity_shares(decision)

    def override(
        self, situation: AllocationSituation, wish: Mapping[str, Any], *, header: Header
    ) -> AllocationDecision:
        """Word a person's own allocation, if there is enough for it.

        Args:
            situation: What it is about.
            wish: `services`, each with `name` and `allocation`, as in a decision.
            header: What the decision says about itself.

        Raises:
            RequestError: It is malformed, or grants more than there is.
        """
        return word_override(self.translator, situation, wish, header)

    def realised(
        self,
        request: AllocationRequest,
        outcome: Mapping[str, Any] | None,
        following: AllocationRequest | None,
    ) -> Array64 | None:
        """Return the work that arrived in the step after a request, `[service]`.

        Args:
            request: What was asked.
            outcome: `arrived`, by service, if it was reported.
            following: The agent's next request.
        """
        return find_arrivals(self.config, request, outcome, following)

    def worth(
        self, situation: AllocationSituation, decision: AllocationDecision, came: Array64 | None
    ) -> float:
        """Return the value of served work minus the cost of idle units in the step.

        Args:
            situation: What it was about.
            decision: Of policy, expert or person.
            came: Work that arrived; what was expected if absent.
        """
        allocation = to_array(
            self.config, [(one.name, one.allocation) for one in decision.services]
        )
        return self.translator.outlook(allocation, situation, arriving=came).value

    def _outlook(self, action: Action, situation: AllocationSituation) -> Outlook:
        allocation = project_safely(self._domain, action, situation.view.capacity)
        return self.translator.outlook(allocation, situation)


def _make_example(config: AllocationConfig, valid: Sequence[ValidRange]) -> AllocationRequest:
    middle = {one.field: (one.low + one.high) / 2 for one in valid}
    known = {service["name"]: service for service in EXAMPLE_REQUEST["services"]}
    services = []
    for service in config.services:
        kind = service.name.rstrip("0123456789").rstrip("_")
        usual = middle.get(f"services.{service.name}.recent_demand", 1.0)
        sample = known.get(kind, {"recent_demand": [usual] * 3})
        services.append(ServiceState(**{**sample, "name": service.name}))
    capacity = dict(zip(config.resources, config.capacity, strict=True))
    return AllocationRequest(services=services, capacity=capacity, time_of_day=0.5)


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
