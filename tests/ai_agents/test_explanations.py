"""Explanations name what the answer hangs on, in the request's words; people's decisions fit."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

from ai_agents.allocation_domain import AllocationDecisions
from ai_agents.allocation_schema import EXAMPLE_REQUEST, AllocationRequest
from ai_agents.base_agent import Header, InvocationContext, RequestError
from ai_agents.decision_domain import DecisionDomain
from ai_agents.domains import DOMAINS
from ai_agents.occlusion import CHOICE, REFERENCE, occlude_request
from ai_agents.policy_agent import PolicyAgent
from ai_agents.request_numbers import values_of, with_values
from ai_agents.resource_allocation_agent import ResourceAllocationAgent
from rl.artifacts import PolicyArtifact
from rl.deployment.attribution import integrate_gradients, output_gradient
from rl.deployment.guardrails import FallbackReason
from tests.serving import NAMES, WORLD, make_artifact

pytestmark = pytest.mark.anyio
SHIPPED = Path(__file__).parents[2] / "shipped"
REQUEST = AllocationRequest.model_validate({**EXAMPLE_REQUEST, "compare": False, "explain": True})
CONTEXT = InvocationContext(request_id="r1")
HEADER = Header(
    agent="a", version="1", request_id="r", decision_id="d", decided_by="person",
    fallback_used=False, fallback_reason=None, duration_seconds=0.0, warnings=[],
)  # fmt: skip


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def ask(request=REQUEST, context=CONTEXT, **options):
    agent = ResourceAllocationAgent(make_artifact(**options))
    await agent.setup()
    return await agent.invoke(request, context)


@pytest.mark.parametrize("action", ["shares", "coverage"])
async def test_an_explanation_is_given_when_asked_for(action):
    decision = await ask(action=action)
    why = decision.explanation
    assert why.bound == decision.guardrails
    assert (why.expert, decision.expert.name) == ("urgent_value", "urgent_value")
    assert {one.field for one in why.fields} == {
        *(f"services.{n}.{f}" for n in NAMES
          for f in ("waiting", "recent_demand", "holding", "priority")),
        *(f"{kind}.{r}" for kind in ("capacity", "price") for r in WORLD.resources),
        "time_of_day",
    }  # fmt: skip
    moved = [one.moved for one in why.fields]
    assert moved == sorted(moved, reverse=True)
    assert moved[0] > 0
    assert why.gap < 1e-4
    plain = await ask(REQUEST.model_copy(update={"explain": False}), action=action)
    assert (plain.explanation, plain.expert) == (None, None)
    assert plain.services == decision.services


async def test_contributions_of_fields_add_up_to_the_policys_output():
    artifact = make_artifact()
    domain = AllocationDecisions(artifact)
    trace = domain.trace(domain.read(REQUEST))
    found, _ = integrate_gradients(artifact, trace.blend, len(trace.fields))
    ends = np.repeat([[1.0], [0.0]], len(trace.fields), axis=1)
    output, _ = output_gradient(artifact, trace.blend(ends))
    np.testing.assert_allclose(found.sum(-1), output[0] - output[1], atol=1e-4)
    observed = domain._domain.encode(domain.read(REQUEST).view)
    np.testing.assert_allclose(trace.blend(ends)[0], observed, atol=1e-6)


async def test_a_field_at_its_reference_moves_nothing():
    request = REQUEST.model_copy(
        update={"time_of_day": 0.5, "price": {"compute": 0.15, "memory": 0.19}}
    )
    why = (await ask(request)).explanation
    still = {one.field: (one.moved, one.contributed) for one in why.fields}
    assert still["time_of_day"] == (0.0, 0.0)
    assert still["price.compute"] == (0.0, 0.0)
    assert still["price.memory"] != (0.0, 0.0)


async def test_where_the_expert_answered_no_field_is_blamed():
    context = InvocationContext(request_id="r", stand_in=FallbackReason.CIRCUIT_OPEN)
    decision = await ask(context=context)
    assert decision.fallback_used
    assert decision.explanation.fields == []
    assert decision.explanation.expert == "urgent_value"


def changed_example(domain, factor=1.3):
    """A request of any domain that differs from its example in its first number."""
    example = domain.example_request()
    name, values = next(iter(values_of(example).items()))
    changed = with_values(example, name, [factor * value for value in values])
    return domain.request_type.model_validate(changed), name


def test_a_place_hangs_on_what_would_choose_another_one():
    artifact = PolicyArtifact.from_bytes((SHIPPED / "cluster_placement.safetensors").read_bytes())
    domain = DOMAINS[artifact.domain](artifact)
    example = domain.example_request()
    seen = []
    for gpu_milli in (810, 815, 400):  # 400 fits beside what runs on another node
        pod = example.pod.model_copy(update={"gpu_milli": gpu_milli})
        request = example.model_copy(update={"pod": pod})
        first, second = domain.plan([domain.read(one) for one in (example, request)]).actions[:, 0]
        found = occlude_request(domain, request)
        seen.append({one.field: one.moved for one in found.fields}["pod.gpu_milli"])
        assert seen[-1] == float((first[:2] != second[:2]).any())
        assert found.unit == CHOICE
    assert seen == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("name", ["supply_chain", "trading"])
async def test_agents_of_every_domain_explain_themselves(name):
    artifact = PolicyArtifact.from_bytes((SHIPPED / f"{name}.safetensors").read_bytes())
    domain = DOMAINS[artifact.domain](artifact)
    agent = PolicyAgent(artifact, domain)
    await agent.setup()
    request, field = changed_example(domain)
    decision = await agent.invoke(request.model_copy(update={"explain": True}), CONTEXT)
    assert decision.decided_by == "policy"
    why = decision.explanation
    assert (why.gap, why.reference) == (None, REFERENCE)
    moved = {one.field: one.moved for one in why.fields}
    assert moved.pop(field) > 0
    assert max(moved.values()) < 1e-6  # all others are as in the example
    assert why.fields[0].field == field


def test_numbers_are_replaced_where_they_stand():
    changed = with_values(REQUEST, "services.search.recent_demand", [7.0, 8.0])
    search = next(one for one in changed["services"] if one["name"] == "search")
    assert search["recent_demand"] == [7.5] * 5
    search["recent_demand"] = [30.0, 32.0, 29.0, 31.0, 30.0]
    assert changed == REQUEST.model_dump()
    same = with_values(REQUEST, "services.search.waiting", [2.0, 4.0])
    assert same == REQUEST.model_dump()
    assert with_values(REQUEST, "explain", [0.0]) == REQUEST.model_dump()
    assert with_values(REQUEST, "time_of_day", [0.1])["time_of_day"] == 0.1


def grant(**units):
    return {"services": [{"name": n, "allocation": units if n == NAMES[0] else {}} for n in NAMES]}


def test_a_persons_allocation_is_worded_as_the_agents_are():
    domain = AllocationDecisions(make_artifact())
    decision = domain.override(domain.read(REQUEST), grant(compute=59.5, memory=80), header=HEADER)
    given = {one.name: one.allocation for one in decision.services}
    assert given[NAMES[0]]["compute"] == pytest.approx(59.5)
    assert given[NAMES[1]] == {"compute": 0.0, "memory": 0.0}
    assert decision.leftover == pytest.approx({"compute": 0.5, "memory": 0.0})
    for name, capacity in REQUEST.capacity.items():
        assert sum(one[name] for one in given.values()) <= capacity


def test_decimal_numbers_that_add_up_above_by_rounding_are_projected():
    domain = AllocationDecisions(make_artifact())
    tight = REQUEST.model_copy(update={"capacity": {"compute": 0.3, "memory": 80.0}})
    wish = grant(compute=0.1)
    wish["services"][1]["allocation"] = {"compute": 0.2}
    decision = domain.override(domain.read(tight), wish, header=HEADER)
    given = [one.allocation["compute"] for one in decision.services]
    assert 0.1 + 0.2 > 0.3 >= sum(given)
    assert sum(given) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (grant(compute=60.1), "capacity.compute"),
        (grant(gpus=1.0), "services[0].allocation.gpus"),
        (grant(compute=-1.0), "services[0].allocation.compute"),
        (grant(compute=float("nan")), "services[0].allocation.compute"),
        ({"services": grant(compute=1.0)["services"][:2]}, "services"),
        ({"services": grant(compute=1.0)["services"] * 2}, "services"),
        ({}, "services"),
        ({**grant(compute=1.0), "extra": 1}, "extra"),
    ],
)
def test_an_infeasible_wish_is_refused_by_name(wish, field):
    domain = AllocationDecisions(make_artifact())
    with pytest.raises(RequestError) as refused:
        domain.override(domain.read(REQUEST), wish, header=HEADER)
    assert refused.value.problems[0].field == field


def test_domains_take_no_overrides_and_trace_nothing_unless_they_say_so():
    domain = AllocationDecisions(make_artifact())
    situation = domain.read(REQUEST)
    assert DecisionDomain.trace(domain, situation) is None
    assert DecisionDomain.realised(domain, REQUEST, {}, None) is None
    with pytest.raises(RequestError, match="approve its own, or reject it"):
        DecisionDomain.override(domain, situation, {}, header=HEADER)


async def test_what_arrived_is_told_or_seen_in_the_next_request():
    domain = AllocationDecisions(make_artifact())
    told = dict(zip(NAMES, (1.0, 2.0, 3.0, 4.0), strict=True))
    assert domain.realised(REQUEST, {"arrived": told}, None).tolist() == [1.0, 2.0, 3.0, 4.0]
    assert domain.realised(REQUEST, {"arrived": {NAMES[0]: 1.0}}, None) is None
    assert domain.realised(REQUEST, {"arrived": {**told, NAMES[1]: -1.0}}, None) is None
    states = [
        one.model_copy(update={"recent_demand": [*one.recent_demand[1:], float(k)]})
        for k, one in enumerate(REQUEST.services)
    ]
    following = REQUEST.model_copy(update={"services": states})
    expected = [{one.name: k for k, one in enumerate(REQUEST.services)}[name] for name in NAMES]
    assert domain.realised(REQUEST, None, following).tolist() == expected
    assert domain.realised(REQUEST, None, REQUEST) is None


async def test_worth_is_the_value_of_what_really_arrived():
    domain, decision = AllocationDecisions(make_artifact()), await ask()
    situation = domain.read(REQUEST)
    assert domain.worth(situation, decision, None) == pytest.approx(decision.expected_value)
    idle = domain.worth(situation, decision, np.zeros(len(NAMES)))
    assert idle < decision.expected_value


def test_the_example_of_the_page_runs(capsys, monkeypatch):
    page = (SHIPPED.parent / "docs" / "agents" / "guardrails.md").read_text()
    (code,) = re.findall(r"python - <<'END'\n(.*?)\n    END", page, flags=re.DOTALL)
    monkeypatch.chdir(SHIPPED.parent)
    exec(compile(textwrap.dedent(code), "guardrails.md", "exec"), {})
    assert "services.storefront.waiting" in capsys.readouterr().out
