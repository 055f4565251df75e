"""The workforce agent calls whom the world would call, and only people who can come."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_agents.base_agent import InvocationContext, RequestError
from ai_agents.domains import DOMAINS
from ai_agents.policy_agent import PolicyAgent
from ai_agents.workforce_domain import WorkforceDecisions
from ai_agents.workforce_schema import WorkforceRequest
from rl.artifacts import ValidRange
from rl.environments.torch_tools import view_to_numpy
from tests.cards import make_header
from tests.views import make_artifact, make_world

pytestmark = pytest.mark.anyio
CONTEXT = InvocationContext(request_id="r")
SKILLS = ["nurse", "porter", "doctor"]


def make_domain(*valid, expert=""):
    return WorkforceDecisions(make_artifact("workforce", *valid, expert=expert))


def request_of(environment, copy_number):
    """Say in words what one copy of the world is in."""
    rows, state, t = environment.rows, environment.state, environment.t
    view = view_to_numpy(environment.view)
    people = []
    for row in range(environment.config.num_employees):
        skills = np.flatnonzero(rows["skills"][copy_number, row].numpy())
        if len(skills):
            people.append(
                {
                    "name": f"p{row}",
                    "skills": [SKILLS[skill] for skill in skills],
                    "contract_hours": float(rows["contract_hours"][copy_number, row]),
                    "hours_worked": float(state.hours[copy_number, row]),
                    "is_absent": bool(rows["absent"][copy_number, t, row]),
                    "worked_last_shift": bool(state.just_worked[copy_number, row]),
                }
            )
    forecast = view.forecast[copy_number].astype(float)
    return WorkforceRequest.model_validate(
        {
            "skills": SKILLS,
            "employees": people,
            "forecast": [dict(zip(SKILLS, row.tolist(), strict=True)) for row in forecast],
            "shift_of_week": int(view.shift_of_week[copy_number]),
            "shifts_left": int(view.shifts_left[copy_number]),
        }
    )


def test_people_are_called_whom_the_world_calls():
    _, environment, agent = make_world("workforce")
    domain, record, worked = make_domain(), environment.reset(seed=0), 0
    for _ in range(30):
        acted = agent.act(record.observation, record.action_mask, deterministic=True).action
        situations = [domain.read(request_of(environment, number)) for number in range(2)]
        plan = domain.plan(situations).actions
        np.testing.assert_allclose(plan, acted[:, 0].numpy().clip(0, 1), atol=1e-6)
        seen = view_to_numpy(environment.view)
        for name, values in vars(situations[1].view).items():
            np.testing.assert_allclose(values[0], getattr(seen, name)[1], rtol=1e-6)
        record = environment.step(acted)
        for number, situation in enumerate(situations):
            decision = domain.decide(situation, plan[number], header=make_header(), expert=None)
            came = {name for one in decision.staffing for name in one.called}
            just = np.flatnonzero(environment.state.just_worked[number].numpy())
            assert came == {f"p{row}" for row in just}
            staffed = record.metrics["staffed_people"][number]
            assert len(came) == staffed == sum(len(one.called) for one in decision.staffing)
            overtime = float(record.metrics["overtime_hours"][number])
            assert decision.overtime_hours == pytest.approx(overtime, abs=1e-5)
            worked += len(came)
    assert worked > 50


async def test_a_decision_in_words():
    artifact = make_artifact("workforce", expert="forecast")
    async with PolicyAgent(artifact, WorkforceDecisions(artifact)) as agent:
        request = agent.parse(agent.example_request().model_dump() | {"compare": True})
        decision = await agent.invoke(request, CONTEXT)
        batch = await agent.invoke_batch([request, request], CONTEXT)
    assert decision.decided_by == "policy"
    assert {one.model_dump_json(include={"staffing", "wages"}) for one in batch} == {
        decision.model_dump_json(include={"staffing", "wages"})
    }
    assert decision.expert.name == "forecast"
    assert [one.called for one in decision.expert.staffing] == [
        ["person-04"],
        ["person-02"],
        ["person-12"],
    ]
    assert decision.expert.wages == 3 * 8 * 20.0
    assert "1.0 people are expected to be needed and 1 are asked for" in (
        decision.expert.staffing[0].reason
    )


def small(**changes):
    return {
        "skills": SKILLS,
        "employees": [
            {"name": "ann", "skills": ["nurse"], "contract_hours": 40.0, "hours_worked": 30.0},
            {"name": "bob", "skills": ["nurse"], "contract_hours": 24.0, "hours_worked": 24.0},
            {"name": "cem", "skills": ["nurse"], "contract_hours": 40.0, "is_absent": True},
            {"name": "dee", "skills": ["porter", "doctor"], "contract_hours": 32.0},
        ],
        "forecast": [{"nurse": 3.2}],
        "shift_of_week": 5,
        "shifts_left": 1,
    } | changes


def test_only_those_who_can_come_are_called_and_overtime_costs_more():
    domain = make_domain()
    situation = domain.read(WorkforceRequest.model_validate(small()))
    everyone = np.ones(3, np.float32)
    decision = domain.decide(situation, everyone, header=make_header(), expert=None)
    nurse, porter, doctor = decision.staffing
    assert (nurse.called, nurse.wanted_people) == (["ann", "bob"], 3)
    assert nurse.expected_missing == pytest.approx(1.2)
    assert nurse.reason == (
        "3.2 people are expected to be needed and 3 are asked for, but only 2 can come."
    )
    assert (porter.called, doctor.called) == (["dee"], [])
    assert decision.guardrails == ["people.nurse", "people.doctor"]
    by_expert = domain.decide(situation, everyone, header=make_header("urgent"), expert=None)
    assert (by_expert.staffing, by_expert.guardrails) == (decision.staffing, [])
    assert decision.overtime_hours == 8.0
    assert decision.wages == 3 * 8 * 20.0 + 0.5 * 20.0 * 8.0


def test_a_short_forecast_is_said():
    domain = make_domain()
    situation = domain.read(WorkforceRequest.model_validate(small(shifts_left=9)))
    assert situation.warnings == (
        "forecast: 1 of 9 coming shifts given; the others count as without work",
    )


async def test_outside_the_validated_range_the_expert_answers():
    artifact = make_artifact(
        "workforce", ValidRange(field="forecast", low=0.0, high=2.0), expert="urgent"
    )
    async with PolicyAgent(artifact, WorkforceDecisions(artifact)) as agent:
        decision = await agent.invoke(agent.parse(small(compare=True)), CONTEXT)
    assert decision.decided_by == "urgent"
    assert decision.fallback_reason == "outside_validated_range"
    assert decision.staffing == decision.expert.staffing
    assert decision.warnings == ["forecast = 3.2: validated for 0 to 2 only"]


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("skills",), ["nurse", "porter"], "skills"),
        (("skills", 1), "nurse", "skills[1]"),
        (("employees", 1, "name"), "ann", "employees[1].name"),
        (("employees", 1, "skills"), ["pilot"], "employees[1].skills[0]"),
        (("employees", 1, "skills"), [], "employees[1].skills"),
        (("employees", 1, "contract_hours"), 0.0, "employees[1].contract_hours"),
        (("employees", 1, "hours_worked"), 169.0, "employees[1].hours_worked"),
        (("employees", 1, "is_absent"), 1, "employees[1].is_absent"),
        (("employees",), [], "employees"),
        (("forecast",), [{}] * 22, "forecast"),
        (("forecast", 0), {"pilot": 1.0}, "forecast[0].pilot"),
        (("forecast", 0, "nurse"), float("nan"), "forecast[0].nurse"),
        (("shift_of_week",), 21, "shift_of_week"),
        (("shifts_left",), 0, "shifts_left"),
    ],
)
def test_a_malformed_request_names_its_field(path, value, field):
    request = copy.deepcopy(small())
    place = request
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    agent = PolicyAgent(make_artifact("workforce"), make_domain())
    with pytest.raises(RequestError) as caught:
        agent.domain.read(agent.parse(request))
    assert field in {problem.field for problem in caught.value.problems}


def test_there_is_an_agent_for_it():
    assert DOMAINS["workforce"] is WorkforceDecisions


PERSON = st.fixed_dictionaries(
    {
        "skills": st.lists(st.sampled_from(SKILLS), min_size=1, max_size=3),
        "contract_hours": st.floats(0.5, 168.0),
        "hours_worked": st.floats(0.0, 168.0) | st.just(0.0),
        "is_absent": st.booleans(),
        "worked_last_shift": st.booleans(),
    }
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(PERSON, min_size=1, max_size=20),
    st.lists(st.dictionaries(st.sampled_from(SKILLS), st.floats(0, 1e4)), min_size=1, max_size=21),
    st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3),
)
def test_nobody_is_called_who_cannot_come_or_twice(people, forecast, wish):
    named = [{"name": f"p{row}"} | person for row, person in enumerate(people)]
    request = small(employees=named, forecast=forecast)
    domain = make_domain()
    situation = domain.read(WorkforceRequest.model_validate(request))
    plan, expert = domain.plan([situation]), domain.ask_expert([situation])[0]
    assert plan.is_usable.all()
    known = {person["name"]: person for person in named}
    for action in (plan.actions[0], expert, np.asarray(wish, np.float32)):
        decision = domain.decide(situation, action, header=make_header(), expert=action)
        json.loads(decision.model_dump_json())
        called = [name for one in decision.staffing for name in one.called]
        assert len(set(called)) == len(called)
        for one in decision.staffing:
            assert len(one.called) <= one.wanted_people
            for name in one.called:
                person = known[name]
                assert one.skill in person["skills"]
                assert not person["is_absent"]
                assert not person["worked_last_shift"]
                assert person["hours_worked"] + 8.0 <= person["contract_hours"] + 8.0
