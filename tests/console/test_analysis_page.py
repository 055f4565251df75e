"""The page Analysis: deciders over the same episodes, and what finished runs kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from console import analysis_rows as rows_of
from console.analysis_charts import (
    choose_scale,
    draw_curves,
    draw_distribution,
    draw_evaluations,
    draw_intervals,
    draw_paths,
    draw_violations,
)
from console.analysis_runs import name_of_run
from orchestration.endpoints.session_play_routes import ComparisonReport
from tests.console.playing import playing_server
from tests.console.running import PATIENCE_SECONDS, speak_with, texts
from utils.persistence.run_queries import Evaluation


@pytest.fixture
def page(tmp_path, monkeypatch):
    with playing_server(tmp_path, versions=1) as (doors, _):
        speak_with(monkeypatch, doors.url)
        script = "from console import analysis_page\nanalysis_page.show()\n"
        found = AppTest.from_string(script, default_timeout=PATIENCE_SECONDS)
        found.query_params["world"] = "constrained_allocation"
        yield found, doors
        assert doors.application.sessions.open == 0


def test_deciders_are_compared_and_the_session_is_closed(page):
    found, doors = page
    found.run()
    assert "Nothing has been played yet" in texts(found)
    assert "No run has finished yet" in texts(found)
    found.slider(key="analysis-constrained_allocation-num_steps").set_value(50)
    found.slider(key="analysis-episodes").set_value(20).run()
    found.button(key="analysis-play").click().run()
    assert [one.message for one in found.exception] == []
    assert [one.value for one in found.error] == []
    assert doors.application.sessions.open == 0
    table = found.dataframe[0].value.to_dict("records")
    assert table[0]["decider"] == "greedy cheapest"
    assert table[-1]["decider"] == "chance"
    assert {row["decider"] for row in table} >= {"chance, projected"}
    assert any("worse" in one.value for one in found.caption)
    assert any("shrunk in proportion until the limit holds" in one.value for one in found.caption)
    # another world is chosen by name; its agent fits and is offered
    found.selectbox(key="analysis-world").select("shared_services").run()
    who = found.multiselect(key="analysis-who-shared_services")
    assert "agent: resource_allocator" in who.value
    who.set_value([]).run()
    assert found.button(key="analysis-play").disabled


def interval(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def player(name, value, difference=None, **more):
    base = {
        "kind": "expert",
        "name": name,
        "is_projected": False,
        "returns": [value - 1, value + 1],
        "mean": interval(value, value - 0.5, value + 0.5),
        "median": interval(value),
        "iqm": interval(value),
        "quantiles": [value - 1, value, value, value, value + 1],
        "worst": {"value": None, "reason": "2 episodes hold no worst 5%; play 20 or more"},
        "difference": difference,
        "wins": None if difference is None else interval(0.5),
        "violation": {"per_step": interval(0.25, 0.2, 0.3), "steps_with": 0.5, "free": interval(0)},
        "curve": {
            "steps": [1, 2],
            "mean": [0.0, value],
            "low": [0.0, value - 1],
            "high": [0.0, value + 1],
            "paths": [[0.0, value]],
        },
    }
    return {**base, **more}


REPORT = ComparisonReport(
    episodes=2,
    steps=2,
    baseline=0,
    counts_costs=True,
    players=[
        player("best_rule", 10.0),
        player("other", 12.0, interval(2.0, 1.0, 3.0)),
        player("third", 10.1, interval(0.1, -1.0, 1.0)),
        player("other", 8.0, interval(-2.0, -3.0, -1.0), is_projected=True),
    ],
)


def test_words_tell_more_than_chance_from_chance():
    assert "Highest mean: other with 12 [11.5, 12.5]" in rows_of.tell_table(REPORT)
    assert "That is 2 above best rule [1, 3]: more than chance." in rows_of.tell_table(REPORT)
    words = rows_of.tell_differences(REPORT)
    assert "other 2 [1, 3], better" in words
    assert "third 0.1 [-1, 1], not told apart" in words
    assert "projected" not in words
    assert rows_of.tail_notes(REPORT) == ["2 episodes hold no worst 5%; play 20 or more"]


def test_tables_hold_everybody_and_figures_only_what_was_decided():
    assert [row["decider"] for row in rows_of.table_rows(REPORT)] == [
        "other",
        "third",
        "best rule",
        "other, projected",
    ]
    assert [row["decider"] for row in rows_of.mean_rows(REPORT)] == ["best rule", "other", "third"]
    rows = rows_of.violation_rows(REPORT)
    assert [(row["decider"], row["actions"]) for row in rows][1::2] == [
        ("other", "as decided"),
        ("other", "projected"),
    ]
    assert "other (projected) 0.25 a step, 0% of episodes" in rows_of.tell_violations(rows)


def test_all_is_drawn():
    for chart in (
        draw_intervals(rows_of.difference_rows(REPORT), title="d", with_zero=True),
        draw_distribution(rows_of.return_rows(REPORT)),
        draw_curves(rows_of.curve_rows(REPORT)),
        draw_violations(rows_of.violation_rows(REPORT)),
        draw_evaluations([]),
    ):
        assert chart.to_dict()["$schema"]
    paths = rows_of.path_rows(REPORT, "other")
    assert [row["return"] for row in paths] == [0.0, 12.0]
    assert draw_paths(paths).to_dict()["$schema"]


def test_one_that_is_far_off_does_not_hide_the_others():
    assert choose_scale([1.0, 2.0, 3.0, -10_000.0], with_zero=False).type == "symlog"
    assert choose_scale([1.0, 2.0, 3.0], with_zero=True).type == "linear"
    assert choose_scale([], with_zero=True).type == "linear"


def test_runs_of_one_minute_have_names_of_their_own():
    both = [f"01a226ea-3587-7000-800e-{end}" for end in ("af2bf9811f7b", "ee88b1385e11")]
    named = {name_of_run(SimpleNamespace(experiment="e", seed=0, id=one)) for one in both}
    assert len(named) == 2


def test_runs_bring_their_evaluations_and_their_table():
    evaluations = [
        Evaluation(
            env_steps=5, name="validation", scores={"kpi": 2.0, "kpi_low": 1.0}, created_at=0
        ),
        Evaluation(env_steps=9, name="validation", scores={"kpi": None}, created_at=0),
    ]
    (row,) = rows_of.evaluation_rows("run", evaluations)
    assert (row["environment steps"], row["value"], row["expert"]) == (5, 2.0, None)
    estimate = {"mean": 1.0, "low": 0.5, "high": 1.5}
    table = {
        "baseline": "rule",
        "num_episodes": 8,
        "kpi": "profit",
        "rows": [
            {"name": "rule", "kind": "expert", "kpi": estimate, "difference": None},
            {"name": "ppo", "kind": "agent", "kpi": estimate, "difference": estimate},
        ],
    }
    rule, ppo = rows_of.run_rows({"run": table})
    assert (rule["to the baseline"], rule["is baseline"]) == (None, True)
    assert ppo["to the baseline"] == "+1 [0.5, 1.5]"
