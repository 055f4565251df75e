"""An agent's versions: what they are called, how they do, where they come from; new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from ai_agents.registry_store import ArtifactRecord
from console.agents_acting import act
from console.agents_overview import health_of
from console.server import ask
from console.showing import told
from orchestration.client.client import Client
from orchestration.endpoints.standing_routes import AgentStanding
from orchestration.endpoints.upload_routes import LARGEST_POLICY_BYTES
from orchestration.orchestrator import AgentSummary
from utils.persistence.engine_queries import AliasMove

ALIASES = ("champion", "challenger", "shadow")


def version_rows(agent: AgentSummary, standing: AgentStanding) -> list[dict[str, Any]]:
    """Return a row for each version, newest first.

    Args:
        agent: Whose.
        standing: How they do.
    """
    return [
        {
            "version": one.version,
            "called": ", ".join(
                a for a, version in agent.aliases.items() if version == one.version
            ),
            "phase": next(s.phase.value for s in standing.versions if s.version == one.version),
            "health": health_of(standing, one.version),
            "run": one.run_id or "",
            "registered": one.created_at,
            "sha256": one.sha256,
        }
        for one in reversed(agent.versions)
    ]


def move_rows(moves: Sequence[AliasMove]) -> list[dict[str, Any]]:
    """Return a row for each time that an alias moved, newest first.

    Args:
        moves: As the server lists them.
    """
    return [
        {
            "at": one.changed_at,
            "alias": one.alias,
            "from": "none" if one.previous_version is None else str(one.previous_version),
            "to": one.version,
            "why": one.reason,
        }
        for one in moves
    ]


def show(agent: AgentSummary) -> None:
    """Draw the versions and what can be done with them.

    Args:
        agent: Whose.
    """
    standing, moves = ask(lambda client: _look(client, agent.name))
    st.dataframe(version_rows(agent, standing), hide_index=True, key="agents_versions")
    left, right = st.columns(2)
    with left:
        _show_promotion(agent)
    with right:
        _show_rollback(agent)
    st.subheader("What aliases have meant")
    st.dataframe(move_rows(moves), hide_index=True, key="agents_moves")
    left, right = st.columns(2)
    with left:
        show_upload(agent.name)
    with right:
        _show_download(agent)


async def _look(client: Client, name: str) -> tuple[AgentStanding, Sequence[AliasMove]]:
    return await client.supervision.standing(name), await client.agents.history(name)


def _show_promotion(agent: AgentSummary) -> None:
    with st.form("agents_promotion"):
        st.markdown(
            "**Promote by hand**",
            help="Without the gate. The version is loaded first; if it cannot be, nothing moves.",
        )
        numbers = [one.version for one in reversed(agent.versions)]
        version = st.selectbox("Version", numbers, key="agents_promote_version")
        alias = st.selectbox("To", ALIASES, key="agents_promote_alias")
        reason = st.text_input("Why, for the history", key="agents_promote_reason")
        if st.form_submit_button("Promote", key="agents_promote"):
            act(
                lambda c: c.agents.promote(agent.name, version, alias=alias, reason=reason),
                lambda record: f"{agent.name}: {alias} is version {record.version} now.",
            )


def _show_rollback(agent: AgentSummary) -> None:
    with st.form("agents_rollback"):
        st.markdown(
            "**Roll back**",
            help="The champion becomes the version that it was before; twice goes back two.",
        )
        st.markdown(f"Champion is version {agent.champion or 'none'}.")
        reason = st.text_input("Why, for the history", key="agents_rollback_reason")
        if st.form_submit_button("Roll back", key="agents_roll_back"):
            act(
                lambda client: client.rollouts.rollback(agent.name, reason=reason),
                lambda record: f"{agent.name}: champion is version {record.version} again.",
            )


def show_upload(agent: str | None) -> None:
    """Draw the form that takes a policy file in.

    Args:
        agent: Whose policy it must be; anybody's if absent.
    """
    with st.form("agents_upload"):
        whose = f"the next version of {agent}" if agent else "a version of the agent on its card"
        file = st.file_uploader(
            f"Policy file, to become {whose}",
            type=["safetensors"],
            key="agents_file",
            max_upload_size=LARGEST_POLICY_BYTES >> 20,
        )
        sent = st.form_submit_button("Register", key="agents_register")
    if sent and file is None:
        st.error("Choose a file first: the artifact that a run exported, NAME.safetensors.")
    elif sent and file is not None:
        content = file.getvalue()
        act(lambda client: client.agents.register(content, agent=agent), _registered)


def _registered(record: ArtifactRecord) -> str:
    return (
        f"{record.agent} has version {record.version}. No alias means it yet: try it by number, "
        "promote it to challenger, or begin a canary."
    )


def _show_download(agent: AgentSummary) -> None:
    with st.form("agents_download_form"):
        numbers = [one.version for one in reversed(agent.versions)]
        version = st.selectbox("Policy file of version", numbers, key="agents_download_version")
        wanted = st.form_submit_button("Fetch", key="agents_fetch")
    if wanted:
        sha256 = next(one.sha256 for one in agent.versions if one.version == version)
        with told():
            content = ask(lambda client: client.runs.artifact(sha256))
            st.download_button(
                f"Save {len(content):,} bytes",
                content,
                file_name=f"{agent.name}-{version}.safetensors",
                mime="application/octet-stream",
                key="agents_download",
            )
