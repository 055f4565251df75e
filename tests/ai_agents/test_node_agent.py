"""The node agent places as the world does, never beyond a node's units, and says why."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_agents.base_agent import InvocationContext, RequestError
from ai_agents.domains import DOMAINS
from ai_agents.node_domain import NodeDecisions
from ai_agents.node_schema import NodeRequest, example_of
from ai_agents.policy_agent import PolicyAgent
from rl.artifacts import ValidRange
from rl.environments.torch_tools import view_to_numpy
from tests.cards import make_header
from tests.views import make_artifact, make_world

pytestmark = pytest.mark.anyio
CONTEXT = InvocationContext(request_id="r")
RESOURCES = ("cpu", "memory", "bandwidth", "storage")
NAME = "distributed_nodes"


def make_domain(*valid, expert=""):
    return NodeDecisions(make_artifact(NAME, *valid, expert=expert))


def request_of(capacity, usage, needs):
    return NodeRequest.model_validate(
        {
            "nodes": [
                {
                    "name": f"n{row}",
                    "capacity": dict(zip(RESOURCES, have.tolist(), strict=True)),
                    "in_use": dict(zip(RESOURCES, used.tolist(), strict=True)),
                }
                for row, (have, used) in enumerate(zip(capacity, usage * capacity, strict=True))
            ],
            "workloads": [
                {"name": f"w{row}", "need": dict(zip(RESOURCES, need.tolist(), strict=True))}
                for row, need in enumerate(needs)
            ],
        }
    )


def test_both_worlds_have_this_agent():
    assert DOMAINS["distributed_nodes"] is DOMAINS["distributed_nodes_deadlines"] is NodeDecisions


def test_workloads_go_where_the_world_puts_them():
    _, environment, agent = make_world(NAME)
    domain, record, placed, refused = make_domain(), environment.reset(seed=0), 0, 0
    for step in range(400):
        usage = view_to_numpy(environment.view).usage.astype(float)
        acted = agent.act(record.observation, record.action_mask, deterministic=True).action
        tried = environment.state.tried.tolist()
        arrived = environment.rows["arrivals"][:, step].tolist()
        found = []
        for one in range(2):
            needs = environment.rows["need"][one, tried[one] : tried[one] + arrived[one]].numpy()
            if not len(needs):
                found.append([])
                continue
            capacity = environment.rows["capacity"][one].numpy().astype(float)
            situation = domain.read(request_of(capacity, usage[one], needs.astype(float)))
            plan = domain.plan([situation]).actions[0]
            np.testing.assert_allclose(plan, acted[one].numpy().clip(0, 1), atol=1e-6)
            stingy = np.float32(0.5) * plan
            decision = domain.decide(situation, stingy, header=make_header(), expert=None)
            found.append([placement.node for placement in decision.placements])
        record = environment.step(0.5 * acted.clamp(0, 1))
        completed = [sum(node is not None for node in nodes) for nodes in found]
        assert record.metrics["completed_workloads"].tolist() == completed
        rises = (view_to_numpy(environment.view).usage.astype(float) - usage).sum(-1) > 1e-3
        for one, nodes in enumerate(found):
            assert {f"n{node}" for node in np.flatnonzero(rises[one])} <= set(nodes)
            placed += completed[one]
            refused += len(nodes) - completed[one]
    assert placed > 5
    assert refused > 5


async def test_a_decision_in_words():
    artifact = make_artifact(NAME, expert="greedy")
    async with PolicyAgent(artifact, NodeDecisions(artifact)) as agent:
        request = agent.parse(json.dumps(example_of(10, RESOURCES) | {"compare": True}))
        decision = await agent.invoke(request, CONTEXT)
        again = await agent.invoke_batch([request, agent.example_request()], CONTEXT)
    assert decision.decided_by == "policy"
    assert [one.placements for one in again] == [decision.placements] * 2
    first, second = decision.expert.placements
    assert decision.expert.name == "greedy"
    assert first.node == "node-7"
    assert first.covering_nodes == 10
    assert "its own exceeds the need least, by 22.0% of its capacity" in first.reason
    assert second.node == "node-1"
    assert all(0 <= value <= 100 for one in decision.offers for value in one.offered.values())


def test_units_may_be_bytes():
    domain = make_domain()
    in_gib, in_bytes = (
        domain.read(
            request_of(np.full((10, 4), 64.0 * unit), np.full((10, 4), 0.5), [np.full(4, unit)])
        )
        for unit in (1.0, 2.0**30)
    )
    np.testing.assert_array_equal(in_gib.view.usage, in_bytes.view.usage)


def test_where_no_node_takes_it_the_shortest_resource_is_named():
    domain = make_domain()
    request = example_of(10, RESOURCES)
    request["workloads"] = [{"name": "big", "need": dict.fromkeys(RESOURCES, 0.0) | {"memory": 99}}]
    for node in request["nodes"]:
        node["in_use"] = {"memory": 2.0}
    situation = domain.read(NodeRequest.model_validate(request))
    stingy = np.zeros((10, 4), np.float32)
    full = domain.decide(situation, stingy + 1, header=make_header(), expert=None)
    assert full.placements[0].reason == "No node takes it: 10 of 10 offer too little memory."
    request["workloads"][0]["need"]["memory"] = 50
    situation = domain.read(NodeRequest.model_validate(request))
    held = domain.decide(situation, stingy, header=make_header(), expert=stingy + 1)
    assert held.placements[0].node is None
    assert held.placements[0].reason.endswith("10 have room for it, but hold back.")
    assert held.expert.placements[0].node == "node-0"


def test_what_rounding_would_overfill_is_cut():
    # In shares there is just enough left of 5.3 units; in units 1.9 and the need exceed them.
    need = 3.4000000000000004
    assert (1.0 - 1.9 / 5.3) - need / 5.3 >= 0
    assert 1.9 + need > 5.3
    domain = make_domain()
    request = request_of(np.full((10, 4), 5.3), np.zeros((10, 4)), [np.full(4, need)])
    told = request.model_dump(mode="json")
    for node in told["nodes"]:
        node["in_use"] = dict.fromkeys(RESOURCES, 1.9)
    situation = domain.read(NodeRequest.model_validate(told))
    everything = np.ones((10, 4), np.float32)
    placed = domain.decide(situation, everything, header=make_header(), expert=None)
    assert placed.placements[0].node is None
    assert placed.guardrails == [f"capacity.n{row}" for row in range(10)]
    by_expert = domain.decide(situation, everything, header=make_header("greedy"), expert=None)
    assert (by_expert.placements, by_expert.guardrails) == (placed.placements, [])


async def test_outside_the_validated_range_the_expert_answers():
    artifact = make_artifact(NAME, ValidRange(field="usage", low=0.0, high=0.5), expert="half")
    async with PolicyAgent(artifact, NodeDecisions(artifact)) as agent:
        decision = await agent.invoke(agent.parse(example_of(10, RESOURCES)), CONTEXT)
    assert decision.decided_by == "half"
    assert decision.fallback_reason == "outside_validated_range"
    assert decision.warnings == ["usage = 0.7: validated for 0 to 0.5 only"]
    assert decision.offers[7].offered["cpu"] == pytest.approx(15.0)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("nodes", 0, "name"), "node-1", "nodes[1].name"),
        (("nodes", 3, "capacity", "cpu"), 0.0, "nodes[3].capacity.cpu"),
        (("nodes", 3, "in_use", "cpu"), 101.0, "nodes[3].in_use.cpu"),
        (("nodes", 3, "in_use", "gpu"), 1.0, "nodes[3].in_use.gpu"),
        (("nodes", 3, "capacity", "cpu"), float("inf"), "nodes[3].capacity.cpu"),
        (("nodes", 3, "capacity"), {"cpu": 1.0}, "nodes[3].capacity.memory"),
        (("workloads", 1, "need", "cpu"), -1.0, "workloads[1].need.cpu"),
        (("workloads", 1, "need"), {"cpu": 1.0}, "workloads[1].need.storage"),
        (("workloads", 1, "name"), "import", "workloads[1].name"),
        (("workloads",), [], "workloads"),
        (("nodes",), [], "nodes"),
    ],
)
def test_a_malformed_request_names_its_field(path, value, field):
    request = copy.deepcopy(example_of(10, RESOURCES))
    place = request
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    agent = PolicyAgent(make_artifact(NAME), make_domain())
    with pytest.raises(RequestError) as caught:
        agent.domain.read(agent.parse(request))
    assert field in {problem.field for problem in caught.value.problems}


def test_another_number_of_nodes_is_refused():
    with pytest.raises(RequestError, match="9 nodes; the agent knows 10"):
        make_domain().read(NodeRequest.model_validate(example_of(9, RESOURCES)))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-3, 1.0, 1e9]),
    st.sampled_from([1e-3, 1.0, 1e9]),
)
def test_no_node_is_ever_filled_beyond_its_capacity(seed, size, need):
    generator = np.random.default_rng(seed)
    capacity = size * generator.uniform(0.1, 1.0, (10, 4))
    usage = generator.uniform(0, 1, (10, 4)) * generator.integers(0, 2, (10, 1))
    needs = need * generator.uniform(0, 0.4, (6, 4))
    request = request_of(capacity, usage, np.minimum(needs, 1e9))
    domain = make_domain()
    situation = domain.read(request)
    for wish in (domain.plan([situation]).actions[0], np.ones((10, 4), np.float32)):
        decision = domain.decide(situation, wish, header=make_header(), expert=wish)
        json.loads(decision.model_dump_json())
        in_use = {node.name: dict(node.in_use) for node in request.nodes}
        have = {node.name: node.capacity for node in request.nodes}
        for offer in decision.offers:
            for name, amount in offer.offered.items():
                assert 0 <= amount <= have[offer.node][name] - in_use[offer.node][name]
        for placement, workload in zip(decision.placements, request.workloads, strict=True):
            assert (placement.node is None) == (placement.spare_share is None)
            if placement.node is not None:
                for name, amount in workload.need.items():
                    in_use[placement.node][name] += amount
                    assert in_use[placement.node][name] <= have[placement.node][name]
