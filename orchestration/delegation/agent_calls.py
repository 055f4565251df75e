"""Asking business agents by the patterns: calls of the desk, the mean of allocations, their split.

The disagreement of allocations: half the sum of differences between two decisions' shares of a
capacity, what is left over included, averaged over the resources that there are. 0: the same;
1: every unit goes elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ai_agents.allocation_domain import AllocationDecisions
from ai_agents.allocation_schema import AllocationDecision, AllocationRequest
from ai_agents.allocation_translation import AllocationSituation, AllocationTranslator
from ai_agents.base_agent import Decision, FieldProblem, RequestError
from ai_agents.registry import CHAMPION
from orchestration.delegation.calls import Call, Limits
from orchestration.delegation.combination import Combine, average
from rl.deployment.guardrails import project_safely
from utils.errors import ConfigError

if TYPE_CHECKING:
    from ai_agents.registry import AgentRegistry
    from orchestration.decision_desk import DecisionDesk, Request

Array64 = NDArray[np.float64]
POLICY_SHARE = 0.8
"""Of a call's time; the rest is for the expert that answers where the policy is late."""


class AgentCalls:
    """Makes calls of agents, and one decision of several."""

    def __init__(self, desk: DecisionDesk, registry: AgentRegistry) -> None:
        """Keep the parts.

        Args:
            desk: Asks the agents.
            registry: Knows their worlds.
        """
        self._desk = desk
        self._registry = registry

    def call(
        self,
        agent: str,
        request: Request,
        *,
        alias: str = CHAMPION,
        version: int | None = None,
        name: str | None = None,
        request_id: str | None = None,
        deadline_seconds: float | None = None,
    ) -> Call[Request, Decision]:
        """Make a call for the patterns; nobody is asked yet.

        Args:
            agent: Its name.
            request: JSON text, the object it holds, or the agent's own request type.
            alias: Which of its versions answers, by what it is for.
            version: Which of its versions answers, by number, rather than by alias.
            name: What results call it; agent and version, or alias, if absent.
            request_id: The caller's name for the request; the decision's own id if absent.
            deadline_seconds: Time the call has; that of the pattern's limits if absent. The expert
                answers if the policy takes more than 80 % of it, or of 5 seconds if absent.
        """
        seconds = deadline_seconds or Limits().call_seconds
        ask = partial(
            self._desk.invoke,
            agent,
            alias=alias,
            version=version,
            request_id=request_id,
            deadline_seconds=POLICY_SHARE * seconds,
        )
        return Call(
            name=name or f"{agent}@{version or alias}",
            ask=ask,
            request=request,
            deadline_seconds=deadline_seconds,
        )

    async def averaging(
        self, agent: str, request: Request, *, alias: str = CHAMPION, version: int | None = None
    ) -> Combine[AllocationDecision]:
        """Return the way to average decisions about one request, for `consensus`.

        Args:
            agent: Whose world the request is about; all that are asked live in the same.
            request: What they are asked.
            alias: Which of its versions, by what it is for.
            version: Which of its versions, by number.

        Raises:
            UnknownAgentError: There is no such agent, or nothing has this alias.
            RequestError: The request does not fit it.
            ConfigError: Its decisions are no allocations.
        """
        known = await self._registry.resolve(agent, alias=alias, version=version)
        if not isinstance(known.domain, AllocationDecisions):
            raise ConfigError(f"agent={agent}: only allocations are averaged, let the others vote")
        typed = cast("AllocationRequest", known.parse(request))
        translator = known.domain.translator
        mean = AllocationMean(translator=translator, situation=translator.read(typed))
        return average(mean.to_shares, mean.to_decision, distance=mean.distance)


@dataclass(frozen=True, kw_only=True)
class AllocationMean:
    """Averages decisions about one situation."""

    translator: AllocationTranslator
    situation: AllocationSituation

    def to_shares(self, decision: AllocationDecision) -> Array64:
        """Return `[service, resource]`, the shares of each capacity; none of one that is absent.

        Args:
            decision: About this situation.

        Raises:
            RequestError: It is about other services or resources.
        """
        config, capacity = self.translator.config, self._capacity
        grants = {one.name: one.allocation for one in decision.services}
        names = [service.name for service in config.services]
        if set(grants) != set(names) or set(decision.leftover) != set(config.resources):
            problem = f"{decision.agent} {decision.version} decides about another world"
            raise RequestError([FieldProblem(field="services", problem=problem)])
        units = [[grants[name][resource] for resource in config.resources] for name in names]
        return np.divide(
            units, capacity, out=np.zeros((len(names), len(capacity))), where=capacity > 0
        )

    def to_decision(
        self, shares: Array64, decisions: Sequence[AllocationDecision]
    ) -> AllocationDecision:
        """Make a decision of mean shares: projected to what is feasible, worded as agents do.

        Args:
            shares: As `to_shares` gives them.
            decisions: Those behind the mean, in a fixed order.
        """
        action = shares.astype(np.float32).reshape(-1)
        allocation = project_safely(self.translator.domain, action, self._capacity)
        outlook = self.translator.outlook(allocation, self.situation)
        fallback = next((one for one in decisions if one.fallback_used), None)
        voices = ", ".join(f"{one.agent} {one.version} ({one.decided_by})" for one in decisions)
        return AllocationDecision(
            agent="consensus",
            version="+".join(dict.fromkeys(one.version for one in decisions)),
            request_id=decisions[0].request_id,
            decision_id=decisions[0].decision_id,
            decided_by=f"mean of {voices}",
            fallback_used=fallback is not None,
            fallback_reason=None if fallback is None else fallback.fallback_reason,
            duration_seconds=max(one.duration_seconds for one in decisions),
            warnings=list(self.situation.warnings),
            services=outlook.services,
            leftover=outlook.leftover,
            expected_value=outlook.value,
            guardrails=[],
            expert=None,
        )

    def distance(self, one: Array64, other: Array64) -> float:
        """Return how far two decisions are apart, in [0, 1].

        Args:
            one: Shares of one.
            other: Shares of the other.
        """
        moved = np.abs(one - other).sum(0) + np.abs((1 - one.sum(0)) - (1 - other.sum(0)))
        exists = self._capacity > 0
        return float(moved[exists].mean() / 2) if exists.any() else 0.0

    @property
    def _capacity(self) -> Array64:
        return np.asarray(self.situation.view.capacity, np.float64)


def hand_down(
    decision: AllocationDecision, requests: Mapping[str, AllocationRequest]
) -> dict[str, AllocationRequest]:
    """Give each cluster below the capacity that the decision above granted it.

    Args:
        decision: Its services are the clusters.
        requests: What each cluster asks for its own services; its capacity is replaced.

    Raises:
        RequestError: A cluster has no grant, or a grant no cluster.
    """
    grants = {one.name: one.allocation for one in decision.services}
    odd = sorted(set(grants) ^ set(requests))
    if odd:
        problems = [FieldProblem(field=name, problem="needs a grant and a request") for name in odd]
        raise RequestError(problems)
    return {
        name: request.model_copy(update={"capacity": dict(grants[name])})
        for name, request in requests.items()
    }
