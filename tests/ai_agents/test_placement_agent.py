"""The placement agent chooses as the simulated rule does, and never a node that does not fit."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_agents.base_agent import InvocationContext, RequestError
from ai_agents.decision_domain import Plan
from ai_agents.domains import DOMAINS
from ai_agents.placement_domain import PlacementDecisions
from ai_agents.placement_schema import EXAMPLE_REQUEST, PlacementRequest
from ai_agents.policy_agent import PolicyAgent
from data.cluster_tasks import NO_TASK
from rl.artifacts import PolicyArtifact, ValidRange
from rl.deployment.placement_exporter import CLUSTER_PLACEMENT, make_placement_artifact
from rl.domains.cluster_experts import EXPERTS
from rl.domains.cluster_presets import cluster_scheduling
from rl.domains.cluster_simulator import LOST, simulate
from rl.domains.cluster_value import ClusterValue
from rl.evaluation.cluster_prices import find_cluster_prices
from tests.cards import make_card, make_header
from tests.clusters import TRACE
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
PRICES = find_cluster_prices(TRACE)
WEIGHTS = np.asarray([1 / 13.3, -0.09 / 13.3], np.float32)
CONTEXT = InvocationContext(request_id="r")
MODELS = PRICES.models


def make_artifact(*valid):
    card = make_card(agent=CLUSTER_PLACEMENT, expert="fgd", valid=valid)
    return make_placement_artifact(PRICES, WEIGHTS, card)


def make_agent(*valid):
    artifact = PolicyArtifact.from_bytes(make_artifact(*valid).to_bytes())
    return PolicyAgent(artifact, DOMAINS[CLUSTER_PLACEMENT](artifact))


def example(**changes):
    request = copy.deepcopy(EXAMPLE_REQUEST)
    for node, model in zip(request["nodes"], MODELS, strict=False):
        node["model"] = model
    return request | changes


def snapshot_of(request):
    nodes = request["nodes"]
    columns = {
        name: [node[name] for node in nodes]
        for name in ("free_cpu_milli", "free_memory_mib", "free_gpu_milli")
    }
    models = sorted({node["model"] for node in nodes})
    return {
        "pod": request["pod"],
        "snapshot": columns
        | {
            "models": models,
            "model": [models.index(node["model"]) for node in nodes],
            "names": [node["name"] for node in nodes],
        },
    }


class Ledger:
    """What is left of a cluster, kept by the decisions of the agent."""

    def __init__(self, scenarios):
        self.rows = {name: array[0] for name, array in vars(scenarios).items()}
        self.cpu, self.memory = self.rows["node_cpu"].copy(), self.rows["node_memory"].copy()
        self.rests = [[1000] * int(gpus) for gpus in self.rows["node_gpus"]]

    def request(self, kind):
        rows, gpus = self.rows, int(self.rows["type_gpus"][kind])
        allowed = [MODELS[model] for model in np.flatnonzero(rows["type_allowed"][kind])]
        pod = {
            "cpu_milli": int(rows["type_cpu"][kind]),
            "memory_mib": int(rows["type_memory"][kind]),
            "gpus": gpus,
            "gpu_models": allowed if gpus else [],
        }
        if gpus:
            pod["gpu_milli"] = int(rows["type_milli"][kind])
        snapshot = {
            "models": list(MODELS),
            "model": rows["node_model"].tolist(),
            "free_cpu_milli": self.cpu.tolist(),
            "free_memory_mib": self.memory.tolist(),
            "free_gpu_milli": self.rests,
        }
        return PlacementRequest.model_validate({"pod": pod, "snapshot": snapshot})

    def take(self, kind, placement):
        node = placement.position
        self.cpu[node] -= self.rows["type_cpu"][kind]
        self.memory[node] -= self.rows["type_memory"][kind]
        for gpu in placement.gpus:
            self.rests[node][gpu] -= int(self.rows["type_milli"][kind])
            assert self.rests[node][gpu] >= 0
        assert min(self.cpu[node], self.memory[node]) >= 0


@pytest.mark.parametrize("by", ["policy", "fgd"])
async def test_the_agent_chooses_what_the_simulator_chose(by):
    scenarios = cluster_scheduling(TRACE, num_tasks=900).source.draw(1, np.random.default_rng(4))
    value = ClusterValue(PRICES, WEIGHTS) if by == "policy" else None
    placed = simulate(scenarios, EXPERTS["fgd"], np.random.default_rng(0), value=value)
    domain = PlacementDecisions(make_artifact())
    ledger = Ledger(scenarios)
    kinds = scenarios.arrivals[0][scenarios.arrivals[0] != NO_TASK]
    for step, kind in enumerate(kinds):
        situation = domain.read(ledger.request(kind))
        ask = domain.plan if by == "policy" else lambda one: Plan(domain.ask_expert(one), None)
        decision = domain.decide(
            situation, ask([situation]).actions[0], header=make_header(by), expert=None
        )
        place = decision.placement
        assert placed.node[step] == (LOST if place is None else place.position)
        if place is not None:
            assert placed.device[step] in {LOST, *place.gpus}
            ledger.take(kind, place)
    assert len(kinds) > 300
    assert LOST in placed.node


async def test_a_decision_in_words():
    async with make_agent() as agent:
        decision = await agent.invoke(agent.parse(json.dumps(example())), CONTEXT)
    assert decision.decided_by == "policy"
    assert decision.placement.node == "node-b"
    assert decision.placement.gpus == [7]
    assert "GPU 7 keeps 10 of 1000 thousandths" in decision.reason
    assert [one.node for one in decision.alternatives] == ["node-a"]
    assert [one.model_dump() for one in decision.unmet] == [{"need": "cpu", "nodes": 1}]
    assert decision.expert.name == "fgd"
    assert decision.expert.placement.node in {"node-a", "node-b"}
    assert decision.guardrails == []


async def test_columns_say_the_same_as_rows_and_a_batch_the_same_as_singles():
    one = example()
    other = snapshot_of(one)
    third = example(pod={"cpu_milli": 1000, "memory_mib": 10, "gpus": 2})
    async with make_agent() as agent:
        requests = agent.parse_batch([one, other, third])
        batch = await agent.invoke_batch(requests, CONTEXT)
        singles = [await agent.invoke(request, CONTEXT) for request in requests]
    plain = [one.model_dump(exclude={"duration_seconds", "expert"}) for one in (*batch, *singles)]
    assert plain[0] == plain[1]
    assert plain[:3] == plain[3:]


async def test_where_nothing_fits_the_commonest_lack_is_named():
    pod = {"cpu_milli": 30_000, "memory_mib": 1, "gpus": 2}
    async with make_agent() as agent:
        decision = await agent.invoke(agent.parse(example(pod=pod)), CONTEXT)
    assert decision.placement is None
    assert decision.expert.placement is None
    assert decision.unmet[0].model_dump() == {"need": "cpu", "nodes": 2}
    assert decision.reason == "No node fits: 2 of 3 lack enough free CPU."


async def test_outside_the_validated_range_the_expert_answers():
    valid = ValidRange(field="pod.cpu_milli", low=0.0, high=3000.0)
    async with make_agent(valid) as agent:
        decision = await agent.invoke(agent.parse(example()), CONTEXT)
    assert decision.decided_by == "fgd"
    assert decision.fallback_reason == "outside_validated_range"
    assert decision.warnings == ["pod.cpu_milli = 3152: validated for 0 to 3000 only"]
    assert decision.placement == decision.expert.placement
    assert "fragmentation grows least" in decision.reason


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("pod", "cpu_milli"), -1, "pod.cpu_milli"),
        (("pod", "cpu_milli"), 1.5, "pod.cpu_milli"),
        (("pod", "cpu_milli"), 10**9, "pod.cpu_milli"),
        (("pod", "gpus"), 9, "pod.gpus"),
        (("pod", "gpus"), 0, "pod.gpu_milli"),
        (("pod", "gpus"), 2, "pod.gpu_milli"),
        (("pod", "gpu_milli"), 1001, "pod.gpu_milli"),
        (("pod", "gpu_models"), ["nought"], "pod.gpu_models[0]"),
        (("pod", "colour"), "red", "pod.colour"),
        (("nodes", 1, "model"), "nought", "nodes[1].model"),
        (("nodes", 1, "free_cpu_milli"), float("nan"), "nodes[1].free_cpu_milli"),
        (("nodes", 2, "free_gpu_milli"), [1001], "nodes[2].free_gpu_milli[0]"),
        (("nodes", 0, "free_gpu_milli"), [0] * 9, "nodes[0].free_gpu_milli"),
        (("nodes",), [], "nodes"),
    ],
)
async def test_a_malformed_request_names_its_field(path, value, field):
    request = example()
    place = request
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    async with make_agent() as agent:
        with pytest.raises(RequestError) as caught:
            await agent.invoke(agent.parse(request), CONTEXT)
    assert field in {problem.field for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("free_cpu_milli", [1], "snapshot.free_cpu_milli"),
        ("free_gpu_milli", [[]], "snapshot.free_gpu_milli"),
        ("names", ["one"], "snapshot.names"),
        ("models", ["nought"], "snapshot.models[0]"),
        ("model", [0, 1, 63], "snapshot.model"),
        ("model", [], "snapshot.model"),
    ],
)
async def test_columns_that_do_not_fit_one_another_are_named(name, value, field):
    request = snapshot_of(example())
    request["snapshot"][name] = value
    agent = make_agent()
    with pytest.raises(RequestError) as caught:
        agent.domain.read(agent.parse(request))
    assert field in {problem.field for problem in caught.value.problems}


def test_a_wish_that_does_not_fit_is_cut():
    domain = PlacementDecisions(make_artifact())
    situation = domain.read(PlacementRequest.model_validate(example()))
    # Node 2 lacks CPU, GPU 0 of node 1 is full, node 9 does not exist; node 0 is left.
    wish = np.asarray([[2, 0, 9], [1, 0, 8], [9, 0, 7], [0, 0, 6], [-1, -1, -1]], float)
    decision = domain.decide(situation, wish, header=make_header("policy"), expert=None)
    assert decision.placement.node == "node-a"
    assert decision.alternatives == []
    assert decision.guardrails == ["cpu", "gpu"]
    assert domain.decide(situation, wish, header=make_header("fgd"), expert=None).guardrails == []


def test_an_artifact_of_another_kind_is_refused():
    artifact = make_artifact()
    for wrong in (
        artifact.with_card(make_card(agent="a", expert="first_fit")),
        type(artifact)(**{**vars(artifact), "domain": "trading"}),
        type(artifact)(
            **{**vars(artifact), "action": type(artifact.action)(kind="continuous", size=1)}
        ),
    ):
        with pytest.raises(ConfigError):
            PlacementDecisions(wrong)


AMOUNT = st.integers(0, 2**24)
NODE = st.fixed_dictionaries(
    {
        "name": st.text(min_size=1, max_size=5),
        "model": st.sampled_from(MODELS),
        "free_cpu_milli": AMOUNT | st.integers(0, 9000),
        "free_memory_mib": AMOUNT | st.integers(0, 9000),
        "free_gpu_milli": st.lists(st.integers(0, 1000) | st.just(1000), max_size=8),
    }
)
POD = st.one_of(
    st.fixed_dictionaries({"cpu_milli": AMOUNT, "memory_mib": AMOUNT}),
    st.fixed_dictionaries(
        {
            "cpu_milli": st.integers(0, 9000),
            "memory_mib": st.integers(0, 9000),
            "gpus": st.integers(1, 8),
            "gpu_models": st.lists(st.sampled_from(MODELS), max_size=2),
        }
    ),
    st.fixed_dictionaries(
        {
            "cpu_milli": st.integers(0, 9000),
            "memory_mib": st.integers(0, 9000),
            "gpus": st.just(1),
            "gpu_milli": st.integers(1, 1000),
        }
    ),
)
DOMAIN = PlacementDecisions(make_artifact())


def fits(pod, node):
    gpus, models = pod.get("gpus", 0), pod.get("gpu_models", [])
    enough = sum(rest >= pod.get("gpu_milli", 1000) for rest in node["free_gpu_milli"])
    return (
        node["free_cpu_milli"] >= pod["cpu_milli"]
        and node["free_memory_mib"] >= pod["memory_mib"]
        and enough >= gpus
        and (not gpus or not models or node["model"] in models)
    )


@settings(max_examples=150, deadline=None)
@given(POD, st.lists(NODE, min_size=1, max_size=12))
def test_every_place_fits_and_one_is_found_if_there_is_one(pod, nodes):
    request = PlacementRequest.model_validate({"pod": pod, "nodes": nodes})
    situation = DOMAIN.read(request)
    for ranked in (DOMAIN.plan([situation]).actions, DOMAIN.ask_expert([situation])):
        decision = DOMAIN.decide(
            situation, ranked[0], header=make_header("policy"), expert=ranked[0]
        )
        fitting = [position for position, node in enumerate(nodes) if fits(pod, node)]
        assert (decision.placement is None) == (not fitting)
        places = [decision.placement, *decision.alternatives] if fitting else []
        assert decision.guardrails == []
        assert len({place.position for place in places}) == min(len(fitting), 6)
        for place in places:
            assert fits(pod, nodes[place.position])
            assert len(set(place.gpus)) == pod.get("gpus", 0)
            rests = nodes[place.position]["free_gpu_milli"]
            assert all(rests[gpu] >= pod.get("gpu_milli", 1000) for gpu in place.gpus)
        json.loads(decision.model_dump_json())
