"""Decisions that an agent gave lately, how long they took, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import streamlit as st

from console.agents_acting import act
from console.agents_form import FormError, read_json
from console.agents_overview import OBJECTIVE_SECONDS, Service, service_of
from console.server import ask
from console.showing import Drawing, figure, plain
from orchestration.orchestrator import AgentSummary
from utils.persistence.decisions import DecisionRecord

SHOWN = 200


def record_rows(records: Sequence[DecisionRecord]) -> list[dict[str, Any]]:
    """Return a row for each decision, newest first.

    Args:
        records: As the server lists them.
    """
    return [
        {
            "at": one.at.isoformat(),
            "outcome": one.outcome,
            "why a fallback": one.fallback_reason or "",
            "version": one.version,
            "ms": round(one.latency_seconds * 1e3, 3),
            "what came of it": "" if one.realised is None else json.dumps(dict(one.realised)),
            "request": one.request_id,
            "decision": one.id,
        }
        for one in records
    ]


def record_words(service: Service, records: Sequence[DecisionRecord]) -> str:
    """Say how the decisions of late went.

    Args:
        service: Their figures.
        records: They.
    """
    known = sum(one.realised is not None for one in records)
    said = (
        f"The last {service.requests} requests: {service.errors} errors, {service.fallbacks} "
        f"answered by the expert; of {known} it is known what came of them"
    )
    if service.p99_seconds is None or service.p50_seconds is None:
        return f"{said}."
    return (
        f"{said}. Half took up to {service.p50_seconds * 1e3:.3g} ms, 99 of 100 up to "
        f"{service.p99_seconds * 1e3:.3g} ms; the objective of {OBJECTIVE_SECONDS * 1e3:g} ms is "
        f"{service.verdict}. Requests for an explanation take longer, and count too."
    )


def draw_records(rows: Sequence[dict[str, Any]]) -> Drawing:
    """Draw how long decisions took, with the objective.

    Args:
        rows: See `record_rows`.
    """
    dots = (
        alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))
        .mark_circle(size=50)
        .encode(
            x=alt.X("at:T", title=None, scale=alt.Scale(nice="minute")),
            y=alt.Y(
                "ms:Q",
                title="Milliseconds",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(grid=False, tickCount=4),
            ),
            color=alt.Color("outcome:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["at:T", "outcome:N", "version:N", "ms:Q"],
        )
    )
    rule = (
        alt.Chart(alt.InlineData(values=[{"ms": OBJECTIVE_SECONDS * 1e3}]))
        .mark_rule(strokeDash=[6, 4], color="#d97706", strokeWidth=2)
        .encode(y="ms:Q")
    )
    return alt.layer(dots, rule).properties(height=220)


def show(agent: AgentSummary) -> None:
    """Draw the decisions.

    Args:
        agent: Whose.
    """
    records = ask(lambda c: c.decisions.list_all(agent=agent.name, limit=SHOWN)).items
    if not records:
        st.info("Nobody has asked it yet: choose *Try a request*.")
        return
    rows = record_rows(records)
    words = record_words(service_of(records), records)
    figure(draw_records(rows), rows, words, key="agents_records")
    _show_report(records)


def _show_report(records: Sequence[DecisionRecord]) -> None:
    open_ones = [one.id for one in records if one.realised is None and one.outcome != "refused"]
    with st.form("agents_outcome"):
        st.markdown("**Tell what came of a decision**", help="It is kept, and told once only.")
        chosen = st.selectbox("Decision", open_ones, key="agents_outcome_of")
        text = st.text_area(
            "What was seen, as JSON", '{"served_work": 71.5}', key="agents_realised"
        )
        if not st.form_submit_button("Tell", key="agents_tell", disabled=not open_ones):
            return
    try:
        realised = read_json("realised", text)
    except FormError as error:
        st.error(plain(error))
        return
    if not isinstance(realised, dict):
        st.error('realised: write an object, such as {"served_work": 71.5}')
        return
    act(
        lambda client: client.decisions.report_outcome(chosen, realised),
        lambda record: f"It is kept what came of decision {record.id}.",
    )
