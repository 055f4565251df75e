"""How an agent is supervised: approval, kept requests, drift, regret."""

from __future__ import annotations

import streamlit as st

from console.agents_acting import act
from console.server import ask
from console.showing import plain
from orchestration.endpoints.decision_routes import SettingsChange
from orchestration.feedback.settings import LONGEST_APPROVAL_SECONDS, MOST_KEPT
from orchestration.orchestrator import AgentSummary


def show(agent: AgentSummary) -> None:
    """Draw the settings.

    Args:
        agent: Whose.
    """
    found = ask(lambda client: client.supervision.settings(agent.name))
    if found.changed_at is not None:
        when = f"{found.changed_at:%Y-%m-%d %H:%M} UTC"
        st.caption(f"Last changed by {plain(found.changed_by)} at {when}.")
    with st.form(f"agents_settings_{agent.name}"):
        approval = st.checkbox(
            "Its decisions wait until a person approves them",
            value=found.needs_approval,
            key="agents_needs_approval",
        )
        seconds = st.number_input(
            "A decision that waited so many seconds counts as rejected",
            1.0,
            LONGEST_APPROVAL_SECONDS,
            found.approval_seconds,
            key="agents_approval_seconds",
        )
        drift = st.checkbox(
            "Its expert answers while requests look different from the first ones (drift)",
            value=found.expert_on_drift,
            key="agents_expert_on_drift",
        )
        keep = st.number_input(
            "So many of its newest requests are kept, to be played again for regret",
            0,
            MOST_KEPT,
            found.keep_requests,
            key="agents_keep",
        )
        limit = st.number_input(
            "Mean regret above which it is told (empty: never)",
            value=found.regret_limit,
            key="agents_regret_limit",
        )
        if not st.form_submit_button("Save", type="primary", key="agents_save"):
            return
    change = SettingsChange(
        needs_approval=approval,
        approval_seconds=seconds,
        keep_requests=keep,
        expert_on_drift=drift,
        regret_limit=limit,
    )
    act(
        lambda client: client.supervision.change_settings(agent.name, change),
        lambda settings: f"The settings of {settings.agent} are saved.",
    )
