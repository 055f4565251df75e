"""Try a request: a form from the agent's schema, the decision beside the expert's, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from console.agents_answers import (
    draw_influences,
    draw_picture,
    head_of,
    influence_rows,
    picture_of,
    reasons_of,
)
from console.agents_form import FormError, FormField, fields_of, from_cells, read_json, to_cells
from console.agents_snippets import command_lines, curl_lines, python_lines
from console.server import ask, server_url
from console.showing import figure, plain, told
from orchestration.client.errors import NotFoundError
from orchestration.orchestrator import AgentSummary

AS_FORM, AS_JSON = "Form", "JSON"
CHAMPION = "as callers meet it"


def show(agent: AgentSummary) -> None:
    """Draw the form, and the answer once there is one.

    Args:
        agent: Who is asked.
    """
    try:
        card = ask(lambda client: client.agents.card(agent.name))
    except NotFoundError as error:
        st.warning(f"{plain(error.detail)}. Choose *Versions* to promote one.")
        return
    way = st.segmented_control(
        "Write the request as", [AS_FORM, AS_JSON], default=AS_FORM, key="agents_way"
    )
    try:
        asked = _show_form(agent, card, is_json=way == AS_JSON)
    except FormError as error:
        st.error(plain(error))
        return
    kept = f"agents_answer {agent.name}"
    if asked is not None:
        request, version = asked
        st.session_state.pop(kept, None)
        with told(), st.spinner("Asking"):
            decision = ask(lambda c: c.agents.ask(agent.name, request, version=version))
            st.session_state[kept] = (request, version, decision)
    if kept in st.session_state:
        request, version, decision = st.session_state[kept]
        _show_decision(decision)
        _show_lines(agent.name, request, version)


def _show_form(
    agent: AgentSummary, card: Mapping[str, Any], *, is_json: bool
) -> tuple[dict[str, Any], int | None] | None:
    example = card["examples"][0]
    with st.form(f"agents_form_{agent.name}"):
        if is_json:
            text = st.text_area(
                "Request",
                json.dumps({k: v for k, v in example.items() if v is not None}, indent=2),
                height=320,
                key=f"agents_json_{agent.name}",
            )
        else:
            fields = fields_of(card["request_schema"], example)
            values = {one.name: _show_field(agent.name, one) for one in fields}
        left, middle, right = st.columns(3)
        compare = left.checkbox("Show the expert's answer", value=True, key="agents_compare")
        explain = middle.checkbox("Explain", value=True, key="agents_explain")
        numbers = [None, *(one.version for one in reversed(agent.versions))]
        version = right.selectbox(
            "Version", numbers, format_func=lambda n: CHAMPION if n is None else str(n),
            key="agents_version",
        )  # fmt: skip
        if not st.form_submit_button("Ask", type="primary", key="agents_ask"):
            return None
    request = _read_text(text) if is_json else _read(fields, values)
    return {**request, "compare": compare, "explain": explain}, version


def _show_field(agent: str, one: FormField, place: str = "") -> Any:
    key = f"agents_field_{agent}_{place}{one.name}"
    label = one.name.replace("_", " ")
    if one.kind == "flag":
        return st.checkbox(label, value=bool(one.value), help=one.about, key=key)
    if one.kind == "text":
        return st.text_input(label, one.value or "", help=one.about, key=key)
    if one.kind == "whole":
        return st.number_input(label, value=int(one.value), step=1, help=one.about, key=key)
    if one.kind == "number":
        return st.number_input(label, value=float(one.value), format="%g", help=one.about, key=key)
    if one.kind == "part":
        with st.container(border=True):
            st.markdown(label, help=one.about)
            return {part.name: _show_field(agent, part, f"{one.name}_") for part in one.columns}
    return _show_parts(one, label, key)


def _show_parts(one: FormField, label: str, key: str) -> Any:
    if one.kind == "amounts":
        return _show_amounts(one, key)
    if one.kind == "rows":
        st.markdown(label, help=one.about)
        cells = to_cells(one.value, one.columns)
        return st.data_editor(cells, num_rows="dynamic", hide_index=True, key=key)
    text = "" if one.value is None else json.dumps(one.value)
    return st.text_area(f"{label} (JSON)", text, height=80, help=one.about, key=key)


def _show_amounts(one: FormField, key: str) -> dict[str, float]:
    st.markdown(one.name.replace("_", " "), help=one.about)
    columns = st.columns(max(4, len(one.value)))
    return {
        name: column.number_input(name, value=float(amount), format="%g", key=f"{key}_{name}")
        for column, (name, amount) in zip(columns, one.value.items(), strict=False)
    }


def _read(fields: Sequence[FormField], values: Mapping[str, Any]) -> dict[str, Any]:
    request = {}
    for one in fields:
        value = values[one.name]
        if one.kind == "part":
            value = _read(one.columns, value)
        elif one.kind == "rows":
            value = from_cells(one.name, value, one.columns)
        elif one.kind == "json":
            value = read_json(one.name, value)
        if value is not None and value != "":
            request[one.name] = value
    return request


def _read_text(text: str) -> dict[str, Any]:
    request = read_json("request", text)
    if not isinstance(request, dict):
        raise FormError("request: write an object, as the example is one")
    return request


def _show_decision(decision: Mapping[str, Any]) -> None:
    st.subheader("Decision")
    st.markdown(plain(head_of(decision)))
    if decision["warnings"]:
        st.warning("\n".join(f"- {plain(warning)}" for warning in decision["warnings"]))
    if decision["approval"] == "waiting":
        st.warning("It waits for a person: choose *Approvals* to approve, override or reject it.")
    picture = picture_of(decision)
    if picture is not None:
        figure(draw_picture(picture), picture.rows, picture.summary, key="agents_picture")
    reasons = reasons_of(decision)
    if reasons:
        st.dataframe(reasons, hide_index=True, key="agents_reasons")
    explanation = decision.get("explanation")
    if explanation is not None:
        _show_explanation(explanation)
    with st.expander("The whole decision as JSON"):
        st.json(dict(decision))


def _show_explanation(explanation: Mapping[str, Any]) -> None:
    st.subheader("Why")
    bound = ", ".join(f"`{name}`" for name in explanation["bound"]) or "none"
    st.markdown(f"Constraints that bound it: {bound}.")
    rows = influence_rows(explanation)
    if not rows:
        st.info("The policy did not answer, or this domain does not tell its fields apart.")
        return
    top = rows[0]
    summary = (
        f"The answer hangs most on {top['field']}: at its reference alone, it would move by "
        f"{top['moved']:.3g} ({explanation['unit']}). Reference: {explanation['reference']}."
    )
    figure(draw_influences(rows, explanation["unit"]), rows, summary, key="agents_influences")


def _show_lines(agent: str, request: Mapping[str, Any], version: int | None) -> None:
    st.subheader("The same from elsewhere")
    shell, python, command = st.tabs(["curl", "Python", "Command line"])
    shell.code(curl_lines(server_url(), agent, request, version), language="bash")
    python.code(python_lines(server_url(), agent, request, version), language="python")
    command.code(command_lines(agent, request, version), language="bash")
