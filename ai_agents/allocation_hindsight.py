"""Allocations by people, and allocations looked at afterwards."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ai_agents.allocation_schema import (
    MOST_SERVICES,
    AllocationDecision,
    AllocationRequest,
    Amounts,
    Name,
)
from ai_agents.allocation_translation import AllocationSituation, AllocationTranslator
from ai_agents.base_agent import FieldProblem, Header, RequestError, RequestModel
from ai_agents.outcomes import continues, read_amounts
from ai_agents.wishes import read_wish
from rl.deployment.guardrails import fit_to_capacity
from rl.domains.resource_allocation import AllocationConfig

Array64 = NDArray[np.float64]
ROUNDING = 1e-9
"""Share of a capacity by which decimal numbers may miss it."""


class Grant(RequestModel):
    """What a person grants to one service."""

    name: Name
    allocation: Amounts = Field(description="Units granted, by resource; none of those not named.")


class AllocationWish(RequestModel):
    """A person's own allocation."""

    services: list[Grant] = Field(
        min_length=1, max_length=MOST_SERVICES, description="Every service of the agent once."
    )


def word_override(
    translator: AllocationTranslator,
    situation: AllocationSituation,
    wish: Mapping[str, Any],
    header: Header,
) -> AllocationDecision:
    """Word a person's allocation, if there is enough for it.

    Args:
        translator: Of the world.
        situation: What it is about.
        wish: As `AllocationWish` describes it.
        header: What the decision says about itself.

    Raises:
        RequestError: It is malformed, names others than there are, or grants more than there is.
    """
    read = read_wish(AllocationWish, wish)
    grants = [(one.name, one.allocation) for one in read.services]
    allocation = to_array(translator.config, grants)
    capacity = np.asarray(situation.view.capacity, np.float64)
    granted = allocation.sum(0)
    over = granted > capacity * (1 + ROUNDING)
    if over.any():
        raise RequestError(
            [
                FieldProblem(
                    field=f"capacity.{name}",
                    problem=f"{granted[number]:g} units granted, there are {capacity[number]:g}",
                )
                for number, name in enumerate(translator.config.resources)
                if over[number]
            ]
        )
    outlook = translator.outlook(fit_to_capacity(allocation, capacity), situation)
    return AllocationDecision(
        **header,
        guardrails=[],
        services=outlook.services,
        leftover=outlook.leftover,
        expected_value=outlook.value,
        expert=None,
    )


def to_array(
    config: AllocationConfig, grants: Sequence[tuple[str, Mapping[str, float]]]
) -> Array64:
    """Return grants as `[service, resource]`.

    Args:
        config: The world.
        grants: Names of services and their units by resource.

    Raises:
        RequestError: A service is missing, unknown or there twice, or a resource is unknown.
    """
    names = [service.name for service in config.services]
    granted = [name for name, _ in grants]
    problems = []
    if sorted(granted) != sorted(names):
        problem = f"name each service once: {', '.join(names)}"
        problems.append(FieldProblem(field="services", problem=problem))
    for position, (_, units) in enumerate(grants):
        problems += [
            FieldProblem(
                field=f"services[{position}].allocation.{name}", problem="unknown resource"
            )
            for name in units
            if name not in config.resources
        ]
    if problems:
        raise RequestError(problems)
    known = dict(grants)
    return np.asarray([[known[name].get(r, 0.0) for r in config.resources] for name in names])


def find_arrivals(
    config: AllocationConfig,
    request: AllocationRequest,
    outcome: Mapping[str, Any] | None,
    following: AllocationRequest | None,
) -> Array64 | None:
    """Return `[service]`: the work that arrived in the step after a request; None if unknown.

    It is told as an outcome's `arrived`, by service; or by the following request, if that one's
    recent demand is this one's and one step more, for every service.

    Args:
        config: The world.
        request: What was asked.
        outcome: What was reported later.
        following: The agent's next request.
    """
    names = [service.name for service in config.services]
    told = read_amounts((outcome or {}).get("arrived"), names)
    if told is not None:
        return told
    if following is None:
        return None
    before = {one.name: one.recent_demand for one in request.services}
    after = {one.name: one.recent_demand for one in following.services}
    if not all(continues(before[name], after.get(name, ())) for name in names):
        return None
    return np.asarray([after[name][-1] for name in names])


def capacity_shares(decision: AllocationDecision) -> dict[Hashable, float]:
    """Return the share of each capacity that a service gets, what is left over under None.

    Args:
        decision: Of policy, expert or person.

    Returns:
        By resource and service; resources that there is nothing of are left out.
    """
    units = {
        (resource, service.name): amount
        for service in decision.services
        for resource, amount in service.allocation.items()
    } | {(resource, None): amount for resource, amount in decision.leftover.items()}
    capacity: dict[str, float] = {}
    for (resource, _), amount in units.items():
        capacity[resource] = capacity.get(resource, 0.0) + amount
    return {key: units[key] / capacity[key[0]] for key in units if capacity[key[0]] > 0}
