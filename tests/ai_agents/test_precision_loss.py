"""What fewer bits cost an agent, as it is measured and told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ai_agents.base_agent import InvocationContext
from ai_agents.cards import describe
from ai_agents.domains import DOMAINS
from ai_agents.precision_loss import measure_loss, note_loss
from ai_agents.request_sampling import draw_situations
from ai_agents.resource_allocation_agent import ResourceAllocationAgent
from rl.artifacts import ActionSpec, Layer
from tests.serving import make_artifact


def test_requests_drawn_at_random_cover_the_validated_ranges():
    artifact = make_artifact()
    situations = draw_situations(DOMAINS[artifact.domain](artifact), artifact, count=200)
    assert len(situations) == 200
    assert not any(one.outside for one in situations)
    views = [one.view for one in situations]
    capacity = np.stack([view.capacity for view in views])
    assert capacity.min() < 42
    assert capacity.max() > 78
    demand = np.stack([view.recent_demand for view in views])
    assert demand.min() < 5
    assert demand.max() > 95
    assert max(view.backlog.max() for view in views) > 150


def test_int8_costs_more_than_float16_and_both_little():
    whole = make_artifact(scale=0.05)
    half, byte = (measure_loss(whole, whole.with_precision(p)) for p in ("float16", "int8"))
    assert half.bytes_before == byte.bytes_before == len(whole.to_bytes())
    assert byte.bytes_after < half.bytes_after < half.bytes_before
    for loss in (half, byte):
        assert loss.requests.asked == 513
        assert 0 < loss.requests.mean <= loss.requests.largest < 0.05
    assert half.observations.largest < byte.observations.largest / 4


def test_one_scale_for_all_channels_would_cost_more():
    whole = make_artifact(scale=0.05)
    layer = whole.layers[0]
    weight = layer.weight * np.geomspace(1, 1e-3, layer.weight.shape[1]).astype(np.float32)
    uneven = replace(whole, layers=(Layer(weight, layer.bias), *whole.layers[1:]))
    step = np.abs(weight).max() / 127
    coarse = Layer((np.rint(weight / step) * step).astype(np.float32), layer.bias)
    each = measure_loss(uneven, uneven.with_precision("int8"))
    alike = measure_loss(uneven, replace(uneven, layers=(coarse, *uneven.layers[1:])))
    gone = (coarse.weight == 0).mean()
    kept = (uneven.with_precision("int8").layers[0].weight == 0).mean()
    assert kept < 0.05 < 0.3 < gone
    assert each.bytes_after < alike.bytes_after


def test_choices_count_as_different_or_not():
    whole = replace(make_artifact(), domain="other", action=ActionSpec(kind="discrete", size=8))
    loss = measure_loss(whole, whole.with_precision("int8"))
    assert loss.requests is None
    assert loss.observations.largest in {0.0, 1.0}
    assert loss.observations.mean < 0.05


@pytest.mark.anyio
async def test_the_card_says_so_and_the_agent_answers():
    whole = make_artifact()
    reduced = whole.with_precision("int8")
    loss = measure_loss(whole, reduced)
    async with ResourceAllocationAgent(note_loss(reduced, loss)) as agent:
        card = describe(agent)
        assert card.precision == "int8"
        assert "stored as int8" in card.model["limits"][-1]
        decision = await agent.invoke(agent.example_request(), InvocationContext(request_id="r"))
        assert decision.decided_by == "policy"
    async with ResourceAllocationAgent(whole) as agent:
        assert describe(agent).precision == "float32"
