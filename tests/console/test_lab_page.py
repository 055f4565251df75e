"""The page Environment lab: worlds opened, played by people, rules, agents, and told when over."""

from __future__ import annotations

import csv
import io

import anyio
import pytest
from streamlit.testing.v1 import AppTest

from console import lab_rows
from console.lab_charts import draw_figures, draw_returns, draw_state, draw_terms
from orchestration.endpoints.session_play_routes import ArrayView
from orchestration.endpoints.session_routes import ChartView, TrajectoryStep
from tests.console.playing import playing_server
from tests.console.running import PATIENCE_SECONDS, speak_with, texts


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with playing_server(tmp_path_factory.mktemp("var"), versions=1) as (doors, portal):
        yield doors, portal


@pytest.fixture
def page(server, monkeypatch):
    doors, portal = server
    speak_with(monkeypatch, doors.url)
    script = "from console import lab_page\nlab_page.show()\n"
    found = AppTest.from_string(script, default_timeout=PATIENCE_SECONDS)
    yield found
    for session in list(doors.application.sessions._open):
        portal.call(doors.application.sessions.close, session)


def open_world(page, name, **sizes):
    page.query_params["world"] = name
    page.run()
    page.selectbox(key="lab-world").select(name).run()
    for size, value in sizes.items():
        page.slider(key=f"lab-{name}-{size}").set_value(value)
    page.button(key="lab-open").click().run()
    assert [one.message for one in page.exception] == []
    assert [one.value for one in page.error] == []
    return page


def metric(page, label):
    return next(one.value for one in page.metric if one.label.startswith(label))


def test_a_person_plays_and_leaves(page, server):
    sessions = server[0].application.sessions
    open_world(page, "constrained_allocation", num_tasks=3, num_resources=2, num_steps=50)
    assert page.slider(key="lab-constrained_allocation-num_tasks").max == 15
    (key,) = sessions._open
    page.slider(key=f"lab-{key}-action-planner-0").set_value(0.2)
    page.slider(key=f"lab-{key}-action-planner-5").set_value(0.1).run()
    page.button(key="lab-step").click().run()
    page.number_input(key="lab-count").set_value(3).run()
    page.button(key="lab-steps").click().run()
    assert [one.message for one in page.exception] == []
    assert metric(page, "Steps") == "4"
    steps = page.session_state["lab"].steps
    assert steps[-1].actions == {"planner": [0.2, 0.0, 0.0, 0.0, 0.0, 0.1]}
    assert page.button(key="lab-end").disabled
    assert any("behind the expert's rule" in one.value for one in page.caption)
    page.button(key="lab-close").click().run()
    assert "Nothing is open" in texts(page)
    assert sessions.open == 0


def test_a_rule_plays_to_the_end_level_with_itself(page):
    open_world(page, "newsvendor")
    page.radio(key="lab-who").set_value("An expert's rule").run()
    page.button(key="lab-end").click().run()
    assert "has ended after 1 steps" in texts(page)
    assert metric(page, "Difference") == "0"
    assert page.session_state["lab"].has_ended


def test_agents_are_offered_where_they_fit_and_refusals_are_plain(page):
    open_world(page, "newsvendor")
    page.radio(key="lab-who").set_value("A registered agent").run()
    assert "No registered agent decides in newsvendor" in texts(page)
    assert "resource_allocator decides in resource_allocation, not in newsvendor" in texts(page)
    open_world(page, "shared_services", num_services=3)
    page.radio(key="lab-who").set_value("A registered agent").run()
    page.button(key="lab-step").click().run()
    assert "open it with the sizes" in page.error[0].value
    page.slider(key="lab-shared_services-num_services").set_value(4).run()
    assert any("Open is still shared services" in one.value for one in page.caption)
    page.button(key="lab-open").click().run()
    page.button(key="lab-steps").click().run()
    assert metric(page, "Steps") == "10"


def test_an_expired_session_is_told_with_a_way_on(page, server):
    doors, portal = server
    open_world(page, "constrained_allocation")
    page.radio(key="lab-who").set_value("Chance").run()
    page.button(key="lab-steps").click().run()
    (session,) = doors.application.sessions._open
    portal.call(doors.application.sessions.close, session)
    page.button(key="lab-step").click().run()
    assert [one.message for one in page.exception] == []
    (warning,) = page.warning
    assert "it was closed" in warning.value
    assert "press Open anew" in warning.value
    assert metric(page, "Steps") == "10"
    page.button(key="lab-open").click().run()
    assert not page.warning
    assert portal.call(anyio.sleep, 0) is None
    assert doors.application.sessions.open == 1


def step(number, rewards, terms, *, metrics=None, actions=None):
    return TrajectoryStep(
        step=number,
        observations={},
        rewards=rewards,
        terminated={},
        truncated={},
        has_ended=False,
        info={
            agent: {"metrics": metrics or {}, "reward_terms": one} for agent, one in terms.items()
        },
        actions=actions or {},
    )


STEPS = [
    step(
        number,
        {"a": 1.0, "b": 3.0},
        {"a": {"gain": 2.0, "cost": -1.0}, "b": {"gain": 3.0, "cost": 0.0}},
        metrics={"sold": 4.0, "left": None},
        actions={"a": [0.5], "b": 2},
    )
    for number in range(1, 251)
]


def test_returns_are_means_of_agents_beside_the_experts():
    rows = lab_rows.return_rows(STEPS[:2], [3.0, 3.0, 3.0], "best")
    assert [(row["who"], row["return"]) for row in rows] == [
        ("this episode", 2.0),
        ("this episode", 4.0),
        ("expert: best", 3.0),
        ("expert: best", 6.0),
    ]
    words = lab_rows.tell_returns(STEPS[:2], [3.0, 3.0], "best")
    assert "has earned 4, behind the expert's rule best with 6" in words
    assert lab_rows.tell_returns(STEPS[:2], [], "") == "After 2 steps this episode has earned 4."


def test_terms_of_long_episodes_are_summed_in_groups_and_lose_nothing():
    rows = lab_rows.term_rows(STEPS)
    assert len(rows) == 2 * 84
    assert sum(row["reward"] for row in rows) == pytest.approx(250 * 2.0)
    assert "Each bar sums 3 steps" in lab_rows.tell_terms(STEPS)


def test_charts_of_the_world_sum_what_is_to_be_summed_and_leave_out_the_unknown():
    chart = ChartView(title="sold so far", metrics=["sold", "nothing"], unit="u", is_sum=True)
    rows = lab_rows.chart_rows(STEPS[:3], chart)
    assert [row["value"] for row in rows] == [4.0, 8.0, 12.0]
    assert lab_rows.tell_chart(rows, chart) == "Sold so far (u): now sold 12."


def test_the_table_of_steps_is_the_csv():
    rows = lab_rows.trajectory_rows(STEPS[:2])
    read = list(csv.DictReader(io.StringIO(lab_rows.to_csv(rows))))
    assert read[1]["return so far"] == "4.0"
    assert (read[0]["a action 0"], read[0]["b action"], read[0]["left"]) == ("0.5", "2", "")


def test_arrays_keep_their_places_and_are_drawn_as_bars_or_fields():
    line, field = (
        ArrayView(shape=[2], values=[1.0, None]),
        ArrayView(shape=[2, 2], values=[1, 2, 3, 4]),
    )
    assert lab_rows.state_rows(field)[2] == {"place": "1", "of": "0", "value": 3.0}
    marks = [draw_state(lab_rows.state_rows(one), one).to_dict()["mark"] for one in (line, field)]
    assert [one["type"] for one in marks] == ["bar", "rect"]
    for chart in (
        draw_returns(lab_rows.return_rows(STEPS, [], "")),
        draw_terms(lab_rows.term_rows(STEPS)),
        draw_figures([], ""),
    ):
        assert chart.to_dict()["encoding"]
