"""The page of agents: who there is and how they do; one of them by `?agent=NAME`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from console import (
    agents_approvals,
    agents_card,
    agents_recent,
    agents_rollout,
    agents_settings,
    agents_try,
    agents_versions,
)
from console.agents_acting import say_what_happened
from console.agents_overview import Overview, agent_rows
from console.server import ask
from console.showing import told
from orchestration.client.client import Client
from orchestration.orchestrator import AgentSummary

RECENT = 500
VIEWS: Mapping[str, Callable[[AgentSummary], None]] = {
    "Card": agents_card.show,
    "Try a request": agents_try.show,
    "Versions": agents_versions.show,
    "Rollout": agents_rollout.show,
    "Approvals": agents_approvals.show,
    "Decisions": agents_recent.show,
    "Settings": agents_settings.show,
}


def show() -> None:
    """Draw the page."""
    st.title("Agents")
    say_what_happened()
    with told():
        found = ask(look)
        if found.agents:
            _show_all(found)
        else:
            st.info(
                "There is no agent yet. Upload a policy file below, promote the policy of a "
                "finished run, or take in those that come along with "
                "`python -m orchestration adopt`."
            )
            agents_versions.show_upload(None)


async def look(client: Client) -> Overview:
    """Ask for all agents, how they do, and what they decided of late.

    Args:
        client: Of the server.
    """
    agents = await client.agents.list()
    standings = {one.name: await client.supervision.standing(one.name) for one in agents}
    recent = await client.decisions.list_all(limit=RECENT)
    return Overview(agents=agents, standings=standings, recent=recent.items)


def _show_all(found: Overview) -> None:
    st.dataframe(agent_rows(found), hide_index=True, key="agents_list")
    st.caption(f"Requests, errors and times are of the last {RECENT} decisions of all agents.")
    names = [agent.name for agent in found.agents]
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    with left:
        chosen = st.selectbox("Agent", names, index=_wanted("agent", names), key="agents_agent")
    with right:
        view = st.segmented_control(
            "View",
            list(VIEWS),
            default=list(VIEWS)[_wanted("view", list(VIEWS))],
            key="agents_view",
        )
    st.query_params.update({"agent": chosen, "view": view or "Card"})
    st.header(chosen)
    VIEWS[view or "Card"](next(agent for agent in found.agents if agent.name == chosen))


def _wanted(name: str, choices: Sequence[Any]) -> int:
    wanted = st.query_params.get(name)
    return choices.index(wanted) if wanted in choices else 0
