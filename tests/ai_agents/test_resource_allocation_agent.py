"""The agent answers always, within capacity, and says who answered and why."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from functools import partial

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_agents.allocation_schema import EXAMPLE_REQUEST, AllocationDecision, AllocationRequest
from ai_agents.allocation_translation import stack_views
from ai_agents.base_agent import AgentNotReadyError, InvocationContext, RequestError
from ai_agents.resource_allocation_agent import ResourceAllocationAgent
from rl.artifacts import Figure, Layer, PolicyArtifact
from rl.deployment.guardrails import FallbackReason
from rl.domains.allocation_experts import ExpertParameters, urgent_value_split
from rl.domains.resource_allocation import AllocationDomain
from tests.serving import NAMES, WORLD, make_artifact, make_card
from utils.clock import ManualClock
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
CONTEXT = InvocationContext(request_id="r1")
EXAMPLE = AllocationRequest.model_validate(EXAMPLE_REQUEST)
QUIET = EXAMPLE.model_copy(update={"compare": False})


async def ready(artifact: PolicyArtifact | None = None) -> ResourceAllocationAgent:
    agent = ResourceAllocationAgent(artifact or make_artifact())
    await agent.setup()
    return agent


def broken_artifact() -> PolicyArtifact:
    """Finite weights whose product is not."""
    artifact = make_artifact()
    last = Layer(np.full_like(artifact.layers[-1].weight, 3e38), artifact.layers[-1].bias)
    return replace(artifact, layers=(*artifact.layers[:-1], last))


def expert_grants(decision: AllocationDecision) -> list[dict[str, float]]:
    assert decision.expert is not None
    return [one.allocation for one in decision.expert.services]


def grants(decision: AllocationDecision) -> list[dict[str, float]]:
    return [one.allocation for one in decision.services]


async def test_the_policy_answers_in_the_words_of_the_request():
    agent = await ready()
    decision = await agent.invoke(EXAMPLE, CONTEXT)
    assert (decision.agent, decision.request_id) == ("resource_allocator", "r1")
    assert decision.version == make_artifact().sha256[:12]
    assert (decision.decided_by, decision.fallback_used) == ("policy", False)
    assert decision.fallback_reason is None
    assert tuple(one.name for one in decision.services) == NAMES
    for name, capacity in EXAMPLE.capacity.items():
        granted = sum(one.allocation[name] for one in decision.services)
        assert decision.leftover[name] == pytest.approx(capacity - granted)
    assert decision.expert is not None
    assert decision.expert.name == "urgent_value"
    assert AllocationDecision.model_validate_json(decision.model_dump_json()) == decision


async def test_the_policy_acts_as_in_training():
    artifact = make_artifact()
    decision = await (await ready(artifact)).invoke(EXAMPLE, CONTEXT)
    agent = ResourceAllocationAgent(artifact)
    domain = AllocationDomain(WORLD)
    view = stack_views([agent.domain.translator.read(EXAMPLE).view])
    expected = domain.project(agent.domain._runtime.act(domain.encode(view)), view.capacity)[0]
    got = [list(allocation.values()) for allocation in grants(decision)]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


async def test_coverage_is_turned_into_shares_as_in_training():
    artifact = make_artifact(action="coverage", bias=0.5)
    agent = await ready(artifact)
    decision = await agent.invoke(EXAMPLE, CONTEXT)
    domain = AllocationDomain(WORLD)
    view = stack_views([agent.domain.translator.read(EXAMPLE).view])
    shares = domain.cover(agent.domain._runtime.act(domain.encode(view)), view)
    expected = domain.project(shares, view.capacity)[0]
    got = [list(allocation.values()) for allocation in grants(decision)]
    assert decision.decided_by == "policy"
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


async def test_the_order_of_services_does_not_matter():
    agent = await ready()
    mirrored = copy.deepcopy(EXAMPLE_REQUEST)
    mirrored["services"].reverse()
    there = await agent.invoke(EXAMPLE, CONTEXT)
    back = await agent.invoke(agent.parse(mirrored), CONTEXT)
    assert back.services == there.services[::-1]


async def test_a_batch_gives_the_answers_of_its_requests():
    agent = await ready()
    requests = [
        EXAMPLE,
        QUIET.model_copy(update={"capacity": {"compute": 1.0, "memory": 60.0}}),
        QUIET.model_copy(update={"time_of_day": 0.9}),
    ]
    together = await agent.invoke_batch(requests, CONTEXT)
    assert [one.fallback_used for one in together] == [False, True, False]
    assert [one.expert is not None for one in together] == [True, False, False]
    for request, decision in zip(requests, together, strict=True):
        alone = await agent.invoke(request, CONTEXT)
        assert alone.decided_by == decision.decided_by
        for ours, theirs in zip(grants(alone), grants(decision), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-4)


async def test_a_bad_request_in_a_batch_is_found():
    stranger = copy.deepcopy(EXAMPLE_REQUEST)
    stranger["services"][2]["name"] = "checkout"
    agent = await ready()
    with pytest.raises(RequestError) as caught:
        await agent.invoke_batch([EXAMPLE, agent.parse(stranger)], CONTEXT)
    assert caught.value.problems[0].field == "[1].services[2].name"


async def test_outside_the_validated_range_the_expert_answers():
    agent = await ready()
    failing = EXAMPLE.model_copy(update={"capacity": {"compute": 39.0, "memory": 60.0}})
    decision = await agent.invoke(failing, CONTEXT)
    assert decision.fallback_reason is FallbackReason.OUTSIDE_VALIDATED_RANGE
    assert decision.decided_by == "urgent_value"
    assert "capacity.compute = 39: validated for 40 to 80 only" in decision.warnings
    assert grants(decision) == expert_grants(decision)
    assert decision.guardrails == []
    assert (await agent.health()).status == "ready"


async def test_the_expert_is_tuned_as_the_card_says():
    agent = await ready(broken_artifact())
    decision = await agent.invoke(EXAMPLE, CONTEXT)
    view = stack_views([agent.domain.translator.read(EXAMPLE).view])
    tuned = ExpertParameters(headroom=1.1, lookback=2)
    action = urgent_value_split(view, WORLD, tuned)
    expected = AllocationDomain(WORLD).project(action, view.capacity)[0]
    got = [list(allocation.values()) for allocation in grants(decision)]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


async def test_an_output_that_is_not_finite_falls_back():
    agent = await ready(broken_artifact())
    decision = await agent.invoke(EXAMPLE, CONTEXT)
    assert decision.fallback_reason is FallbackReason.NOT_FINITE
    assert grants(decision) == expert_grants(decision)
    health = await agent.health()
    assert (health.status, health.reason) == ("degraded", "the policy failed: not_finite")


async def test_a_policy_that_fails_falls_back(monkeypatch):
    agent = await ready()

    def fail(observation):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(agent.domain._runtime, "output", fail)
        decision = await agent.invoke(EXAMPLE, CONTEXT)
        assert decision.fallback_reason is FallbackReason.ERROR
        assert (await agent.health()).status == "degraded"
    assert not (await agent.invoke(EXAMPLE, CONTEXT)).fallback_used
    assert (await agent.health()).status == "ready"


async def test_a_policy_that_is_late_falls_back(monkeypatch):
    agent = await ready()
    released = threading.Event()

    def hang(observation):
        released.wait()
        return np.zeros((1, 8), np.float32)

    monkeypatch.setattr(agent.domain._runtime, "output", hang)
    try:
        context = InvocationContext(request_id="r2", deadline_seconds=0.01)
        decision = await agent.invoke(EXAMPLE, context)
    finally:
        released.set()
    assert decision.fallback_reason is FallbackReason.DEADLINE
    assert grants(decision) == expert_grants(decision)


async def test_a_deadline_that_is_met_changes_nothing():
    agent = await ready()
    context = InvocationContext(request_id="r1", deadline_seconds=60.0)
    assert grants(await agent.invoke(EXAMPLE, context)) == grants(
        await agent.invoke(EXAMPLE, CONTEXT)
    )


async def test_a_wish_above_the_capacity_is_cut_and_named():
    decision = await (await ready(make_artifact(bias=5.0))).invoke(EXAMPLE, CONTEXT)
    assert decision.guardrails == ["capacity.compute", "capacity.memory"]
    assert all(left <= 1e-3 for left in decision.leftover.values())
    modest = await (await ready(make_artifact(bias=-50.0))).invoke(EXAMPLE, CONTEXT)
    assert modest.guardrails == []
    assert modest.leftover == EXAMPLE.capacity


async def test_reasons_say_what_bounds_a_grant():
    agent = await ready(make_artifact(bias=5.0))
    decision = await agent.invoke(EXAMPLE, CONTEXT)
    reasons = {one.name: one.reason for one in decision.services}
    assert reasons["search"].endswith("units of work expected: compute is short.")
    rich = EXAMPLE.model_copy(update={"capacity": {"compute": 4e3, "memory": 4e3}})
    plenty = await agent.invoke(rich, CONTEXT)
    assert plenty.services[1].reason.startswith("Full need met: all 36.0 units")
    starved = await (await ready(make_artifact(bias=-50.0))).invoke(EXAMPLE, CONTEXT)
    assert "held back, though some compute is left over" in starved.services[0].reason


async def test_expected_work_is_that_of_the_environments_rule():
    decision = await (await ready(make_artifact(bias=-50.0))).invoke(EXAMPLE, CONTEXT)
    storefront, search, settlement, telemetry = decision.services
    assert [one.expected_served_work for one in decision.services] == [0.0] * 4
    assert storefront.expected_lost_work == pytest.approx(9.0)
    assert search.expected_lost_work == pytest.approx(2.0)
    assert settlement.expected_lost_work == 0.0
    assert telemetry.expected_lost_work == pytest.approx((21.0 + 20.0 + 20.0) / 3)
    assert decision.expected_value == 0.0


async def test_an_agent_must_be_set_up_and_not_closed():
    agent = ResourceAllocationAgent(make_artifact())
    assert (await agent.health()).status == "starting"
    with pytest.raises(AgentNotReadyError, match="starting"):
        await agent.invoke(EXAMPLE, CONTEXT)
    async with agent:
        assert (await agent.health()).status == "ready"
    assert (await agent.health()).status == "closed"
    with pytest.raises(AgentNotReadyError, match="closed"):
        await agent.invoke(EXAMPLE, CONTEXT)


async def test_the_duration_is_measured_by_the_clock(monkeypatch):
    clock = ManualClock()
    agent = ResourceAllocationAgent(make_artifact(), clock=clock)
    await agent.setup()
    output = agent.domain._runtime.output

    def slow(observation):
        clock.advance(0.25)
        return output(observation)

    monkeypatch.setattr(agent.domain._runtime, "output", slow)
    assert (await agent.invoke(EXAMPLE, CONTEXT)).duration_seconds == pytest.approx(0.25)


async def test_its_own_example_is_answered_by_the_policy():
    agent = await ready()
    assert not (await agent.invoke(agent.example_request(), CONTEXT)).fallback_used


@pytest.mark.parametrize(
    "artifact",
    [
        replace(make_artifact(), domain="trading"),
        replace(make_artifact(), card=make_card(expert="oracle")),
        replace(make_artifact(), action=replace(make_artifact().action, meaning="bids")),
        replace(make_artifact(), action=replace(make_artifact().action, meaning="coverage")),
        make_artifact().with_card(
            replace(
                make_card(),
                baseline=replace(
                    make_card().baseline, parameters=(Figure(name="courage", value=1.0),)
                ),
            )
        ),
    ],
)
def test_artifacts_it_cannot_serve_are_refused(artifact):
    with pytest.raises(ConfigError):
        ResourceAllocationAgent(artifact)


AMOUNTS = st.floats(0, 1e9) | st.floats(0, 200)
CAPACITIES = st.floats(0, 1e9) | st.floats(40, 80)
HOLDINGS = st.dictionaries(st.sampled_from(WORLD.resources), AMOUNTS)


@st.composite
def requests(draw) -> AllocationRequest:
    services = [
        {
            "name": service.name,
            "waiting": draw(st.lists(AMOUNTS, max_size=service.patience)),
            "recent_demand": draw(st.lists(AMOUNTS, min_size=1, max_size=WORLD.lookback)),
            "priority": draw(st.none() | st.floats(0, 10)),
            "holding": draw(HOLDINGS),
        }
        for service in draw(st.permutations(WORLD.services))
    ]
    return AllocationRequest.model_validate(
        {
            "services": services,
            "capacity": {name: draw(CAPACITIES) for name in WORLD.resources},
            "price": draw(HOLDINGS),
            "time_of_day": draw(st.floats(0, 1, exclude_max=True)),
            "compare": draw(st.booleans()),
        }
    )


TRUSTING = make_artifact().with_card(replace(make_card(), validated_for=()))

COVERING = make_artifact(action="coverage", bias=0.5).with_card(TRUSTING.card)


@pytest.mark.parametrize("artifact", [make_artifact(), TRUSTING, COVERING, broken_artifact()])
@given(request=requests())
@settings(max_examples=60)
def test_every_answer_is_finite_and_within_capacity(artifact, request):
    agent = anyio.run(partial(ready, artifact))
    decision = anyio.run(agent.invoke, request, CONTEXT)
    answers = [decision.services, *([decision.expert.services] if decision.expert else [])]
    for services in answers:
        for name, capacity in request.capacity.items():
            amounts = [one.allocation[name] for one in services]
            assert all(np.isfinite(amounts))
            assert min(amounts) >= 0.0
            assert sum(amounts) <= capacity
    numbers = [one.expected_served_work + one.expected_lost_work for one in decision.services]
    assert all(np.isfinite([*numbers, *decision.leftover.values(), decision.expected_value]))
    assert all(left >= 0 for left in decision.leftover.values())
    assert (decision.fallback_reason is not None) == decision.fallback_used
