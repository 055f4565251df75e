"""Decisions that wait for a person: approve, decide otherwise, or reject."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from console.agents_acting import act
from console.agents_answers import draw_picture, head_of, picture_of
from console.agents_form import FormError, read_json
from console.server import ask
from console.showing import figure, plain
from orchestration.feedback.approvals import Approval
from orchestration.orchestrator import AgentSummary

SAYS = {
    "services": ("name", "allocation"),
    "products": ("name",),
    "staffing": ("skill", "called"),
    "placements": ("workload", "node"),
}
"""What of each part of a decision an override repeats."""


def own_words(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decision as an override would word it, to begin from.

    Args:
        decision: What the agent proposes.
    """
    if "portfolio" in decision:
        positions = decision["portfolio"]["positions"]
        return {"weights": {one["symbol"]: one["target_weight"] for one in positions}}
    if "next_slice" in decision:
        return {"next_slice": decision["next_slice"]}
    if decision.get("placement"):
        return {"node": decision["placement"]["node"]}
    if "action" in decision:
        return {"action": decision["action"]}
    for name, kept in SAYS.items():
        if name in decision:
            parts = [{key: one[key] for key in kept} for one in decision[name]]
            if name == "products":
                for part, one in zip(parts, decision[name], strict=True):
                    part["orders"] = {line["place"]: line["order"] for line in one["orders"]}
            return {name: parts}
    return {}


def show(agent: AgentSummary) -> None:
    """Draw what waits.

    Args:
        agent: Whose decisions.
    """
    waiting = ask(lambda client: client.decisions.waiting(agent=agent.name)).items
    if not waiting:
        st.info(
            "No decision waits. Where people shall approve first, say so under *Settings*; each "
            "decision then waits here."
        )
    for number, one in enumerate(waiting):
        _show_one(one, is_open=number == 0)


def _show_one(one: Approval, *, is_open: bool) -> None:
    until = f"rejected by itself at {one.expires_at:%Y-%m-%d %H:%M} UTC"
    with st.expander(
        f"{one.decision_id}, asked {one.asked_at:%H:%M:%S}, {until}", expanded=is_open
    ):
        st.markdown(plain(head_of(one.proposed)))
        picture = picture_of(one.proposed)
        if picture is not None:
            key = f"agents_waiting_{one.decision_id}"
            figure(draw_picture(picture), picture.rows, picture.summary, key=key)
        left, right = st.columns(2)
        with left:
            _show_verdict(one)
        with right:
            _show_override(one)
        with st.popover("Request and proposal as JSON"):
            st.json({"request": one.request, "proposed": one.proposed})


def _show_verdict(one: Approval) -> None:
    name = one.decision_id
    with st.form(f"agents_verdict_{name}"):
        reason = st.text_input("Why, kept with the verdict", key=f"agents_reason_{name}")
        approve = st.form_submit_button("Approve", type="primary", key=f"agents_approve_{name}")
        reject = st.form_submit_button("Reject", key=f"agents_reject_{name}")
    if approve:
        act(lambda client: client.decisions.approve(name, reason=reason), _given)
    if reject:
        act(lambda client: client.decisions.reject(name, reason=reason), _given)


def _show_override(one: Approval) -> None:
    name = one.decision_id
    with st.form(f"agents_override_form_{name}"):
        text = st.text_area(
            "Another decision in its place, as JSON",
            json.dumps(own_words(one.proposed), indent=2),
            height=160,
            key=f"agents_own_{name}",
        )
        reason = st.text_input("Why, kept with the verdict", key=f"agents_own_reason_{name}")
        wanted = st.form_submit_button("Override", key=f"agents_override_{name}")
    if not wanted:
        return
    try:
        own = read_json("decision", text)
    except FormError as error:
        st.error(plain(error))
        return
    if not isinstance(own, dict):
        st.error("decision: write an object, such as the one that the form began with")
        return
    act(lambda client: client.decisions.override(name, own, reason=reason), _given)


def _given(approval: Approval) -> str:
    return f"Decision {approval.decision_id} is {approval.state.value}."
