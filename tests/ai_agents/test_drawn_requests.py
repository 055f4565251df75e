"""Requests drawn for a policy are such that it answers, and no two alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ai_agents.domains import DOMAINS
from ai_agents.request_sampling import draw_situations
from rl.artifacts import PolicyArtifact
from tests.business_policies import (
    chain_policy,
    desk_policy,
    investor_policy,
    seller_policy,
    serial_policy,
)

SHIPPED = sorted((Path(__file__).parents[2] / "shipped").glob("*.safetensors"))
MAKERS = (chain_policy, serial_policy, desk_policy, seller_policy, investor_policy)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda one: one.stem)
def test_requests_can_be_drawn_for_what_comes_along(path):
    artifact = PolicyArtifact.from_bytes(path.read_bytes())
    domain = DOMAINS[artifact.domain](artifact)
    situations = draw_situations(domain, artifact, count=12)
    assert len(situations) == 12
    plans = domain.plan(situations)
    assert plans.is_usable.all()
    assert len({row.tobytes() for row in np.asarray(plans.actions)}) > 1


@pytest.mark.parametrize("make", MAKERS, ids=lambda one: one.__name__)
def test_drawn_requests_lie_inside_the_ranges_and_differ(make):
    artifact = make()
    domain = DOMAINS[artifact.domain](artifact)
    situations = draw_situations(domain, artifact, count=12)
    assert len(situations) == 12
    assert not any(one.outside for one in situations)
    plan = domain.plan(situations)
    assert plan.is_usable.all()
    experts = domain.ask_expert(situations)
    assert np.isfinite(experts).all()
    assert len({row.tobytes() for row in np.asarray(experts)}) > 3
