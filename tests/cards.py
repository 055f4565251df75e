"""Cards for agents of any domain, made up for tests."""

from __future__ import annotations

from dataclasses import replace

from ai_agents.base_agent import Header
from rl.artifacts import Baseline, PolicyCard, ValidRange
from tests.serving import make_card as make_allocation_card


def make_card(*, agent: str, expert: str, valid: tuple[ValidRange, ...] = ()) -> PolicyCard:
    """Say nothing about a policy but what its agent reads."""
    return replace(
        make_allocation_card(),
        agent=agent,
        baseline=Baseline(expert=expert, parameters=(), kpi=90.0),
        validated_for=valid,
    )


def make_header(decided_by: str = "policy") -> Header:
    """Return what a decision would say about itself."""
    return Header(
        agent="a",
        version="1",
        request_id="r",
        decision_id="d",
        decided_by=decided_by,
        fallback_used=decided_by != "policy",
        fallback_reason=None,
        duration_seconds=0.0,
        warnings=[],
    )
