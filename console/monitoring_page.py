"""The page of monitoring: the dashboards' panels and the alerts, read from Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import streamlit as st

from console.monitoring_boards import Board, Panel, exactly, load_boards
from console.monitoring_headlines import headlines
from console.monitoring_panels import Found, draw, find_panel, mark_of, rows_of, words_of
from console.monitoring_prometheus import (
    PROMETHEUS_VARIABLE,
    TIMEOUT_SECONDS,
    Alert,
    Prometheus,
    PrometheusAwayError,
    PrometheusError,
    Span,
    prometheus_url,
)
from console.monitoring_units import say
from console.server import ask
from console.showing import figure, plain, told
from utils.clock import SystemClock

START = (
    "prometheus --config.file=deploy/prometheus/prometheus.yml "
    "--storage.tsdb.path=var/prometheus --web.listen-address=127.0.0.1:9090"
)
RANGES: Mapping[str, int] = {
    "5 minutes": 300,
    "15 minutes": 900,
    "1 hour": 3600,
    "6 hours": 21_600,
    "24 hours": 86_400,
    "7 days": 604_800,
}
REFRESH: Mapping[str, int | None] = {
    "off": None,
    "every 5 s": 5,
    "every 10 s": 10,
    "every 30 s": 30,
    "every minute": 60,
}
ALL = "all"
STATS_A_LINE = 4
RUNBOOKS = Path(__file__).parents[1] / "docs" / "runbooks"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the open tab shows."""

    alerts: Sequence[Alert]
    found: Mapping[str, Sequence[Found]]
    """By heading."""


def show() -> None:
    """Draw the page."""
    st.title("Monitoring")
    boards = load_boards()
    titles = [board.title for board in boards]
    wanted = st.query_params.get("board")
    title = st.segmented_control(
        "Dashboard",
        titles,
        default=wanted if wanted in titles else titles[0],
        key="monitoring_board",
    )
    board = next((one for one in boards if one.title == title), boards[0])
    left, right = st.columns(2)
    span = left.selectbox("Time", list(RANGES), index=2, key="monitoring_range")
    every = right.selectbox("Refresh", list(REFRESH), index=2, key="monitoring_refresh")
    st.query_params["board"] = board.title
    st.fragment(_show_live, run_every=REFRESH[every])(board, RANGES[span])


def _show_live(board: Board, seconds: int) -> None:
    now = SystemClock().now().timestamp()
    span = Span(start=now - seconds, end=now)
    try:
        chosen = _choose(board, span)
        shown = anyio.run(_look, board, chosen, span)
    except PrometheusAwayError as error:
        _show_without(str(error))
        return
    except PrometheusError as error:
        st.error(f"{prometheus_url()}: {plain(error)}")
        return
    _show_alerts(shown.alerts)
    st.markdown(board.about)
    for heading, found in shown.found.items():
        st.subheader(heading)
        _show_row(board, found)


def _choose(board: Board, span: Span) -> dict[str, str]:
    if not board.variables:
        return {}
    offered = anyio.run(_offers, board.variables, span)
    chosen = {}
    for column, name in zip(st.columns(len(board.variables)), board.variables, strict=True):
        choices = [ALL, *offered[name]]
        wanted = st.query_params.get(name, ALL)
        value = column.selectbox(
            name.capitalize(),
            choices,
            index=choices.index(wanted) if wanted in choices else 0,
            key=f"monitoring_{board.uid}_{name}",
        )
        if value == ALL:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = value
        chosen[name] = ".*" if value == ALL else exactly(value)
    return chosen


def _http() -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=prometheus_url(), timeout=TIMEOUT_SECONDS)


async def _offers(variables: Mapping[str, str], span: Span) -> dict[str, list[str]]:
    async with _http() as http:
        prometheus = Prometheus(http)
        return {
            name: await prometheus.values_of(name, metric, span)
            for name, metric in variables.items()
        }


async def _look(board: Board, chosen: Mapping[str, str], span: Span) -> Shown:
    async with _http() as http:
        prometheus = Prometheus(http)
        alerts = await prometheus.alerts()
        panels = [panel for _, row in board.rows for panel in row]
        found: dict[Panel, Found] = {}

        async def find(panel: Panel) -> None:
            found[panel] = await find_panel(prometheus, panel, chosen, span)

        async with anyio.create_task_group() as group:
            for panel in panels:
                group.start_soon(find, panel)
    return Shown(
        alerts=alerts,
        found={heading: [found[panel] for panel in row] for heading, row in board.rows},
    )


def alert_rows(alerts: Sequence[Alert]) -> list[dict[str, str]]:
    """Return a row for each alert, what fires first.

    Args:
        alerts: As Prometheus lists them.
    """
    hidden = {"alertname", "severity", "instance", "job"}
    return [
        {
            "state": one.state,
            "alert": one.name,
            "severity": one.labels.get("severity", ""),
            "of": ", ".join(f"{k} {v}" for k, v in sorted(one.labels.items()) if k not in hidden),
            "what": one.annotations.get("summary", ""),
            "since": one.active_at[:19],
            "runbook": one.annotations.get("runbook_url", ""),
        }
        for one in alerts
    ]


def _show_alerts(alerts: Sequence[Alert]) -> None:
    firing = sum(one.state == "firing" for one in alerts)
    if not alerts:
        st.success("No alert fires, and none is about to.")
        return
    words = f"{firing} firing, {len(alerts) - firing} pending."
    (st.error if firing else st.warning)(f"Alerts: {words}")
    st.dataframe(alert_rows(alerts), hide_index=True, key="monitoring_alerts")
    for name in dict.fromkeys(one.name for one in alerts):
        path = RUNBOOKS / f"{name}.md"
        if path.name in {one.name for one in RUNBOOKS.glob("*.md")}:
            with st.expander(f"Runbook: {name}"):
                st.markdown(path.read_text())


def _show_row(board: Board, found: Sequence[Found]) -> None:
    stats = [one for one in found if one.panel.is_stat]
    for start in range(0, len(stats), STATS_A_LINE):
        columns = st.columns(STATS_A_LINE)
        for column, one in zip(columns, stats[start : start + STATS_A_LINE], strict=False):
            with column:
                _show_stat(one)
    lines = [one for one in found if not one.panel.is_stat]
    for start in range(0, len(lines), 2):
        for column, one in zip(st.columns(2), lines[start : start + 2], strict=False):
            with column:
                _show_line(board, one)


def _show_stat(found: Found) -> None:
    panel = found.panel
    if not found.series:
        st.metric(panel.title, "no data", help=plain(found.trouble) or panel.about)
        return
    value = found.series[0][1].points[-1][1]
    mark = mark_of(panel, value)
    note = "" if mark == "green" else f" :{mark}-badge[{mark}]"
    st.metric(panel.title + note, say(value, panel.unit), help=panel.about)


def _show_line(board: Board, found: Found) -> None:
    st.markdown(f"**{found.panel.title}**")
    rows = rows_of(found)
    if found.trouble:
        st.error(plain(found.trouble))
    elif not rows:
        st.caption(f"{found.panel.about} Nothing to show in this time.")
    else:
        key = f"monitoring_{board.uid}_{found.panel.title}"
        figure(draw(found, rows), rows, words_of(found), key=key)


def _show_without(why: str) -> None:
    st.warning(
        f"No Prometheus answers at {prometheus_url()} ({plain(why)}). Start one in the folder of "
        f"the program, or name yours by `{PROMETHEUS_VARIABLE}`:"
    )
    st.code(START, language="bash", wrap_lines=True)
    st.subheader("What the server says of itself")
    with told():
        rows = headlines(ask(lambda client: client.metrics()))
        for start in range(0, len(rows), STATS_A_LINE):
            columns = st.columns(STATS_A_LINE)
            for column, row in zip(columns, rows[start : start + STATS_A_LINE], strict=False):
                column.metric(row["figure"], row["value"])
        st.caption("Since it began, from `GET /metrics`; curves and alerts need a Prometheus.")
