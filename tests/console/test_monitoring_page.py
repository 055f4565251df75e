"""The page of monitoring: boards as committed, panels from Prometheus, and the server alone."""

from __future__ import annotations

import re
import shutil
import time

import pytest
from streamlit.testing.v1 import AppTest

from console import monitoring_boards, monitoring_headlines, monitoring_panels, monitoring_units
from console.monitoring_page import PROMETHEUS_VARIABLE, START
from console.monitoring_prometheus import AT_ONCE, Series, Span
from console.server import ask
from deploy.grafana.write import BOARDS
from tests.console.monitoring_prometheus_server import ROOT, scripted, value_of, watching
from tests.console.running import running_server, shown, speak_with

NOWHERE = "http://127.0.0.1:9"


def page():
    from console import monitoring_page

    monitoring_page.show()


def open_page(board="Overview", **query):
    at = AppTest.from_function(page, default_timeout=60)
    at.query_params.update({"board": board, **query})
    at.run()
    assert not at.exception, at.exception
    return at


def texts(at):
    parts = (at.markdown, at.caption, at.info, at.success, at.error, at.warning)
    return shown("\n".join(element.value for part in parts for element in part))


def test_the_committed_dashboards_are_read_whole():
    read = {board.uid: board for board in monitoring_boards.load_boards()}
    assert list(read) == ["qm-overview", "qm-training", "qm-curriculum", "qm-agents", "qm-engine"]
    for board in BOARDS:
        found = read[board.uid]
        assert list(found.variables.items()) == [(one.name, one.metric) for one in board.variables]
        assert [heading for heading, _ in found.rows] == list(board.rows)
        for (_, panels), wanted in zip(found.rows, board.rows.values(), strict=True):
            for one, other in zip(panels, wanted, strict=True):
                assert (one.title, one.about, one.unit) == (other.title, other.about, other.unit)
                assert one.targets == tuple((q, legend) for legend, q in other.series.items())
                marks = [mark for mark in (other.warn, other.alarm) if mark is not None]
                assert [mark.value for mark in one.thresholds] == marks
                assert one.is_stat == (other.kind == "stat")


def test_variables_are_filled_in_exactly():
    query = 'a{run=~"$run", agent=~"$agent"}'
    chosen = {"run": monitoring_boards.exactly('a.b"(c)')}
    filled = monitoring_boards.fill_in(query, chosen)
    assert filled == 'a{run=~"a\\\\.b\\"\\\\(c\\\\)", agent=~".*"}'
    legend = monitoring_boards.legend_of("{{agent}} p99 {{gone}}", {"agent": "x"})
    assert legend == "x p99 "


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.0, "s", "0 s"),
        (0.00042, "s", "420 µs"),
        (0.012, "s", "12 ms"),
        (7.25, "s", "7.25 s"),
        (600.0, "s", "10 min"),
        (36_000.0, "s", "10 h"),
        (0.144, "percentunit", "14.4 %"),
        (123_456_789.0, "bytes", "118 MiB"),
        (12.0, "bytes", "12 B"),
        (2.5, "reqps", "2.5/s"),
        (45_678.0, "short", "45,678"),
        (-0.25, "short", "-0.25"),
    ],
)
def test_values_are_said_in_their_units(value, unit, words):
    assert monitoring_units.say(value, unit) == words


def answer_all(what, asked):
    """As a Prometheus would that knows one series of everything, and one alert."""
    if what == "alerts":
        labels = {"alertname": "TrainingStalled", "severity": "critical", "run": "r1"}
        notes = {"summary": "Run r1 is quiet", "runbook_url": "docs/runbooks/TrainingStalled.md"}
        one = {"labels": labels, "annotations": notes, "state": "firing", "activeAt": "2026-01-01"}
        return 200, {"status": "success", "data": {"alerts": [one]}}
    if what.startswith("label/"):
        return 200, {"status": "success", "data": ["r2", "r1"]}
    labels = {"run": "r1", "agent": "r1"}
    if what == "query":
        result = [{"metric": labels, "value": [1.0, "7"]}]
    else:
        start = float(asked["start"])
        values = [[start, "1"], [start + 5, "NaN"], [start + 10, "2.5"]]
        result = [{"metric": labels, "values": values}]
    return 200, {"status": "success", "data": {"result": result}}


def test_every_board_is_drawn_by_its_own_queries_only(monkeypatch):
    with scripted(answer_all) as (url, asked):
        monkeypatch.setenv(PROMETHEUS_VARIABLE, url)
        for board in monitoring_boards.load_boards():
            asked.clear()
            at = open_page(board.title)
            panels = [panel for _, row in board.rows for panel in row]
            queries = [query["query"] for what, query in asked if what.startswith("query")]
            wanted = [monitoring_boards.fill_in(q, {}) for one in panels for q, _ in one.targets]
            assert sorted(queries) == sorted(wanted)
            assert "1 firing" in at.error[0].value
            (alerts,) = [one.value for one in at.dataframe if "runbook" in one.value.columns]
            assert next(one.label for one in at.expander) == "Runbook: TrainingStalled"
            assert alerts["runbook"][0] == "docs/runbooks/TrainingStalled.md"
            lines = [one for one in panels if not one.is_stat]
            assert sum("2.5" in caption.value for caption in at.caption) >= len(lines) // 2
            assert len(at.metric) == len(panels) - len(lines)


def test_choices_go_into_queries_and_the_address(monkeypatch):
    with scripted(answer_all) as (url, asked):
        monkeypatch.setenv(PROMETHEUS_VARIABLE, url)
        at = open_page("Agents")
        at.selectbox(key="monitoring_qm-agents_agent").set_value("r2")
        asked.clear()
        at.run()
        assert at.query_params["agent"] == "r2"
        assert any('agent=~"r2"' in query.get("query", "") for _, query in asked)
        assert open_page("Agents", agent="r1").selectbox(
            key="monitoring_qm-agents_agent"
        ).value == "r1"  # fmt: skip
        at.selectbox(key="monitoring_range").set_value("5 minutes")
        asked.clear()
        at.run()
        spans = [float(q["end"]) - float(q["start"]) for what, q in asked if "range" in what]
        assert set(spans) == {300.0}


def test_never_more_questions_at_once_than_allowed(monkeypatch):
    import threading

    inside, most, lock = 0, 0, threading.Lock()

    def slowly(what, asked):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.03)
        with lock:
            inside -= 1
        return answer_all(what, asked)

    with scripted(slowly) as (url, _):
        monkeypatch.setenv(PROMETHEUS_VARIABLE, url)
        open_page("Agents")
    assert 1 < most <= AT_ONCE


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, {"status": "error", "error": "bad range"}, "bad range"),
        (200, b"<html>somebody else</html>", "no Prometheus"),
        (200, [1], "refused"),
    ],
)
def test_what_prometheus_refuses_is_said(monkeypatch, status, body, words):
    with scripted(lambda *_: (status, body)) as (url, _):
        monkeypatch.setenv(PROMETHEUS_VARIABLE, url)
        assert words in open_page().error[0].value


def test_one_query_that_is_refused_leaves_the_others(monkeypatch):
    def answer(what, asked):
        if "canary" in asked.get("query", ""):
            return 422, {"status": "error", "error": "too many samples"}
        return answer_all(what, asked)

    with scripted(answer) as (url, _):
        monkeypatch.setenv(PROMETHEUS_VARIABLE, url)
        at = open_page("Agents")
    assert sum("too many samples" in error.value for error in at.error) == 1
    assert any("2.5" in caption.value for caption in at.caption)


def test_without_a_prometheus_it_says_how_to_start_one_and_what_the_server_says(
    tmp_path, monkeypatch
):
    monkeypatch.setenv(PROMETHEUS_VARIABLE, NOWHERE)
    with running_server(tmp_path, versions="all") as (doors, portal):
        speak_with(monkeypatch, doors.url)
        card = ask(lambda client: client.agents.card("trading"))
        ask(lambda client: client.agents.ask("trading", card["examples"][0]))
        at = open_page()
        assert (at.code[0].value, NOWHERE in at.warning[0].value) == (START, True)
        figures = {one.label: one.value for one in at.metric}
        assert (figures["Requests"], figures["Errors"]) == ("1", "0.0%")
        assert re.fullmatch(r"[\d.e+]+ ms", figures["Mean decision time"])
        portal.call(doors.make_token, "boss", "admin")
        speak_with(monkeypatch, doors.url, "wrong")
        assert open_page().error
    assert "Start a server" in open_page().error[0].value


def test_the_command_that_starts_prometheus_is_the_documented_one():
    assert START in (ROOT / "deploy" / "README.md").read_text()


def test_a_server_that_did_nothing_yet_has_headlines():
    said = {row["figure"]: row["value"] for row in monitoring_headlines.headlines("")}
    assert (said["Requests"], said["Errors"], said["Mean decision time"]) == (
        "0",
        "none yet",
        "none yet",
    )


def test_more_series_than_can_be_told_apart_are_counted():
    panel = monitoring_boards.load_boards()[1].rows[0][1][0]
    series = tuple((f"run {n}", Series(labels={}, points=((1.0, 1.0),))) for n in range(33))
    found = monitoring_panels.Found(panel=panel, series=series)
    assert "29 more and 3 that are not drawn" in monitoring_panels.words_of(found)
    assert len(monitoring_panels.rows_of(found)) == 30
    assert Span(start=0, end=604_800).step * 240 >= 604_800


def test_series_of_one_legend_are_told_apart_by_what_differs():
    alike = [
        Series(labels={"job": "q", "run": run}, points=((at, 2.0),))
        for run, at in (("r1", 50.0), ("r2", 100.0))
    ]
    series = monitoring_panels.told_apart([("policy", alike[0]), ("policy", alike[1])])
    assert [legend for legend, _ in series] == ["policy r1", "policy r2"]
    assert monitoring_panels.told_apart([("x", alike[0])])[0][0] == "x"
    panel = monitoring_boards.load_boards()[1].rows[0][1][0]
    found = monitoring_panels.Found(panel=panel, series=series, end=100.0)
    assert "Now policy r2: 2 and 1 that ended before." in monitoring_panels.words_of(found)
    late = monitoring_panels.Found(panel=panel, series=series, end=5000.0)
    assert "Until 00:01:40 UTC policy r2" in monitoring_panels.words_of(late)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_a_real_prometheus_fills_the_panels(tmp_path, monkeypatch):
    with (
        running_server(tmp_path / "var", versions="all") as (doors, _),
        watching(doors.url, tmp_path) as url,
    ):
        speak_with(monkeypatch, doors.url)
        monkeypatch.setenv(PROMETHEUS_VARIABLE, url)
        card = ask(lambda client: client.agents.card("trading"))
        deadline = time.monotonic() + 60
        while not value_of(url, "agent:decision_seconds:p99_rate5m > 0"):
            ask(lambda client: client.agents.ask("trading", card["examples"][0]))
            assert time.monotonic() < deadline, "no decision was counted"
            time.sleep(0.2)
        at = open_page("Agents")
        assert "trading" in at.selectbox(key="monitoring_qm-agents_agent").options
        assert any("trading p99" in caption.value for caption in at.caption)
        at = open_page("Overview")
        assert {one.label.split(" :")[0]: one.value for one in at.metric}["Server"] == "1"
