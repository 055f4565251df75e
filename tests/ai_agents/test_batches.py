"""Several requests at once: read together, answered by one forward pass, each named."""

from __future__ import annotations

import copy
import json

import pytest

from ai_agents.allocation_schema import EXAMPLE_REQUEST, AllocationRequest
from ai_agents.base_agent import MOST_REQUESTS, InvocationContext, RequestError
from ai_agents.resource_allocation_agent import ResourceAllocationAgent
from tests.serving import make_artifact
from utils.clock import ManualClock

pytestmark = pytest.mark.anyio
EXAMPLE = AllocationRequest.model_validate(EXAMPLE_REQUEST)


def test_a_batch_is_read_from_text_objects_and_requests():
    agent = ResourceAllocationAgent(make_artifact())
    text = json.dumps([EXAMPLE_REQUEST, EXAMPLE_REQUEST])
    assert agent.parse_batch(text) == [EXAMPLE, EXAMPLE]
    assert agent.parse_batch(text.encode()) == [EXAMPLE, EXAMPLE]
    assert agent.parse_batch([EXAMPLE_REQUEST, EXAMPLE]) == [EXAMPLE, EXAMPLE]


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"[NaN]", b"\xff", b"[" * 100_000])
def test_what_is_no_batch_is_refused(text):
    with pytest.raises(RequestError):
        ResourceAllocationAgent(make_artifact()).parse_batch(text)


def test_a_malformed_request_in_a_batch_is_found():
    wrong = copy.deepcopy(EXAMPLE_REQUEST)
    wrong["services"][1]["recent_demand"][2] = -1.0
    with pytest.raises(RequestError) as caught:
        ResourceAllocationAgent(make_artifact()).parse_batch([EXAMPLE_REQUEST, wrong])
    assert caught.value.problems[0].field == "[1].services[1].recent_demand[2]"


def test_a_batch_has_an_end():
    with pytest.raises(RequestError, match=str(MOST_REQUESTS)):
        ResourceAllocationAgent(make_artifact()).parse_batch([EXAMPLE] * (MOST_REQUESTS + 1))


async def test_each_decision_has_its_own_name():
    async with ResourceAllocationAgent(make_artifact()) as agent:
        context = InvocationContext(request_id="r", decision_ids=("one", "two"))
        decisions = await agent.invoke_batch([EXAMPLE, EXAMPLE], context)
    assert [one.decision_id for one in decisions] == ["one", "two"]
    assert {one.request_id for one in decisions} == {"r"}


async def test_what_is_decided_together_is_what_is_decided_alone():
    greedy = make_artifact(bias=3.0)  # asks for more than there is: guardrails cut
    scarce = copy.deepcopy(EXAMPLE_REQUEST) | {"compare": True}
    scarce["capacity"] = {"compute": 41.0, "memory": 60.0}
    strange = copy.deepcopy(EXAMPLE_REQUEST) | {"compare": False}
    strange["capacity"] = {"compute": 1.0, "memory": 60.0}  # outside the range: the expert
    async with ResourceAllocationAgent(greedy, clock=ManualClock()) as agent:
        requests = agent.parse_batch([EXAMPLE_REQUEST, scarce, strange])
        context = InvocationContext(request_id="r")
        together = await agent.invoke_batch(requests, context)
        alone = [await agent.invoke(request, context) for request in requests]
    assert [one.guardrails for one in together] == [one.guardrails for one in alone]
    assert together[0].guardrails
    assert [one.decided_by for one in together] == [one.decided_by for one in alone]
    for ours, theirs in zip(together, alone, strict=True):
        assert (ours.expert is None) == (theirs.expert is None)
        assert ours.expected_value == pytest.approx(theirs.expected_value, abs=1e-3)
        for mine, other in zip(ours.services, theirs.services, strict=True):
            assert (mine.name, mine.reason) == (other.name, other.reason)
            assert mine.allocation == pytest.approx(other.allocation, abs=1e-3)
        for resource, left in ours.leftover.items():
            assert left + sum(one.allocation[resource] for one in ours.services) == pytest.approx(
                requests[together.index(ours)].capacity[resource]
            )
