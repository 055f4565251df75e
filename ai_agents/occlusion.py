"""Explaining any domain's policy from outside: one field at a time as in the agent's example."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import ValidationError

from ai_agents.base_agent import DecisionRequest, RequestError
from ai_agents.decision_domain import DecisionDomain, Situation
from ai_agents.explanation import MOST_FIELDS, FieldInfluence, Influences
from ai_agents.request_numbers import values_of, with_values

REFERENCE = "the agent's example request, which its card shows; one field at a time"
CHOICE = "choice; 1 where another one is made"
NUMBER = "number of the policy's plan"


def occlude_request(domain: DecisionDomain[Any, Any, Any], request: DecisionRequest) -> Influences:
    """Ask the policy again with each field as in the agent's example; see what moves.

    Fields that the example does not have, or that cannot be changed alone, are left out.

    Args:
        domain: Of the policy.
        request: What it answered.
    """
    usual, asked = values_of(domain.example_request()), values_of(request)
    names: list[str] = []
    situations: list[Situation] = [domain.read(request)]
    for field in asked:
        if field not in usual or len(names) == MOST_FIELDS:
            continue
        changed = _read_changed(domain, with_values(request, field, usual[field]))
        if changed is not None:
            names.append(field)
            situations.append(changed)
    actions = np.asarray(domain.comparable(domain.plan(situations).actions))
    is_choice = np.issubdtype(actions.dtype, np.integer)
    flat = actions.reshape(len(situations), -1)
    if is_choice:
        moved = (flat[1:] != flat[:1]).any(-1)
    else:
        apart = np.abs(flat[1:] - flat[:1])
        moved = np.where(np.isfinite(apart), apart, 0.0).mean(-1)
    found = [
        FieldInfluence(field=name, moved=float(value), contributed=None)
        for name, value in zip(names, moved, strict=True)
    ]
    found.sort(key=lambda one: (-one.moved, one.field))
    unit = CHOICE if is_choice else NUMBER
    return Influences(fields=found, unit=unit, reference=REFERENCE, gap=None)


def _read_changed(
    domain: DecisionDomain[Any, Any, Any], changed: dict[str, Any]
) -> Situation | None:
    try:
        read: Situation = domain.read(domain.request_type.model_validate(changed))
    except (RequestError, ValidationError):
        return None
    return read
