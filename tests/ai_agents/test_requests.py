"""A request that cannot be answered gets a typed error that names the field."""

from __future__ import annotations

import contextlib
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_agents.allocation_schema import EXAMPLE_REQUEST, AllocationRequest
from ai_agents.allocation_translation import AllocationTranslator
from ai_agents.base_agent import MOST_PROBLEMS, RequestError, field_path
from ai_agents.resource_allocation_agent import ResourceAllocationAgent
from tests.serving import WORLD, make_artifact, make_card

AGENT = ResourceAllocationAgent(make_artifact())
TRANSLATOR = AllocationTranslator(WORLD, make_card().validated_for)


def changed(path: str, value: object) -> dict:
    request = copy.deepcopy(EXAMPLE_REQUEST)
    place = request
    *outer, last = path.split("/")
    for part in outer:
        place = place[int(part) if part.isdigit() else part]
    place[int(last) if last.isdigit() else last] = value
    return request


def problems(payload: object) -> dict[str, str]:
    with pytest.raises(RequestError) as caught:
        TRANSLATOR.read(AGENT.parse(payload))
    return {one.field: one.problem for one in caught.value.problems}


def test_the_example_is_fine():
    situation = TRANSLATOR.read(AGENT.parse(EXAMPLE_REQUEST))
    assert situation.view.backlog.shape == (4, 12)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("services/0/waiting", [float("nan")], "services[0].waiting[0]"),
        ("services/0/waiting", [float("inf")], "services[0].waiting[0]"),
        ("services/0/waiting", [-1.0], "services[0].waiting[0]"),
        ("services/0/waiting", [1e10], "services[0].waiting[0]"),
        ("services/0/waiting", ["1.5"], "services[0].waiting[0]"),
        ("services/0/waiting", [1.0] * 3, "services[0].waiting"),
        ("services/0/waiting", 3.0, "services[0].waiting"),
        ("services/1/recent_demand", [], "services[1].recent_demand"),
        ("services/1/recent_demand", [1.0] * 13, "services[1].recent_demand"),
        ("services/1/recent_demand", [1.0] * 100_000, "services[1].recent_demand"),
        ("services/1/recent_demand", None, "services[1].recent_demand"),
        ("services/2/priority", float("nan"), "services[2].priority"),
        ("services/2/holding", {"disk": 1.0}, "services[2].holding.disk"),
        ("services/2/name", "checkout", "services[2].name"),
        ("services/2/name", "search", "services[2].name"),
        ("services/2/nme", "search", "services[2].nme"),
        ("services", EXAMPLE_REQUEST["services"][:3], "services"),
        ("services", [], "services"),
        ("services", EXAMPLE_REQUEST["services"] * 100, "services"),
        ("capacity", {"compute": 80.0}, "capacity.memory"),
        ("capacity/disk", 5.0, "capacity.disk"),
        ("capacity/memory", float("nan"), "capacity.memory"),
        ("capacity/memory", True, "capacity.memory"),
        ("price", {"disk": 0.1}, "price.disk"),
        ("price", {"memory": float("-inf")}, "price.memory"),
        ("time_of_day", 1.0, "time_of_day"),
        ("time_of_day", None, "time_of_day"),
        ("compare", "yes", "compare"),
        ("deadline", 3, "deadline"),
    ],
)
def test_each_problem_names_its_field(path, value, field):
    with contextlib.suppress(RequestError):
        request = AGENT.parse(changed(path, value))
        assert not TRANSLATOR.fits(request)
    found = problems(changed(path, value))
    assert field in found
    assert all(found.values())


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"services": NaN}', b"\xff\xfe"])
def test_text_that_is_no_request(text):
    assert problems(text)


def test_numbers_too_large_for_a_float():
    text = json.dumps(EXAMPLE_REQUEST).replace("60.0", "1e400")
    assert list(problems(text)) == ["capacity.compute"]
    assert list(problems(text.replace("1e400", "1" + "0" * 400))) == ["capacity.compute"]


def test_several_problems_come_at_once_but_not_without_end():
    request = changed("capacity", {"compute": -1.0})
    request["services"][0]["waiting"] = [-1.0] * 500
    with pytest.raises(RequestError) as caught:
        AGENT.parse(request)
    assert len(caught.value.problems) == MOST_PROBLEMS
    assert "services[0].waiting[0]" in str(caught.value)


def test_problems_of_a_part_say_which_part():
    with pytest.raises(RequestError) as caught:
        AGENT.parse(changed("time_of_day", 2.0))
    assert [p.field for p in caught.value.under("[3]").problems] == ["[3].time_of_day"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
PATHS = ["services", "services/0", "services/0/waiting", "services/1/recent_demand/0", "capacity"]


@given(st.sampled_from(PATHS), JSON_VALUES)
def test_whatever_comes_is_read_or_refused_with_a_field(path, value):
    found = ()
    try:
        request = AGENT.parse(changed(path, value))
        assert TRANSLATOR.fits(request) == (not TRANSLATOR.find_problems(request))
        TRANSLATOR.read(request)
    except RequestError as error:
        found = error.problems or None
    assert found is not None
    assert all(one.field and one.problem for one in found)


def test_a_problem_does_not_send_a_long_name_back():
    (problem,) = problems({**EXAMPLE_REQUEST, "x" * 1_000_000: 1})
    assert problem == "x" * 100


def test_field_paths():
    assert field_path(("services", 1, "waiting", 0)) == "services[1].waiting[0]"
    assert field_path(()) == "request"


def test_left_out_fields_take_the_worlds_values():
    services = [{"name": s.name, "recent_demand": [2.0, 4.0]} for s in reversed(WORLD.services)]
    capacity = {"memory": 70.0, "compute": 60.0}
    request = AllocationRequest.model_validate(
        {"services": services, "capacity": capacity, "time_of_day": 0.5}
    )
    situation = TRANSLATOR.read(request)
    view = situation.view
    assert view.priority.tolist() == [service.priority for service in WORLD.services]
    assert view.price.tolist() == list(WORLD.price)
    assert view.capacity.tolist() == [60.0, 70.0]
    assert view.recent_demand[0].tolist() == [3.0] * 10 + [2.0, 4.0]
    assert not view.backlog.any()
    assert not view.allocation.any()
    assert situation.order == (3, 2, 1, 0)
    assert "2 of 12 values given" in situation.warnings[0]
