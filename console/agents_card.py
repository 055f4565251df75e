"""An agent's card: what it decides, how good it is, where it may be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from console.agents_form import describe_fields
from console.agents_proof import draw_proof, lineage_rows, proof_rows, proof_words
from console.monitoring_headlines import labelled_values
from console.server import ask
from console.showing import figure, plain
from orchestration.client.client import Client
from orchestration.client.errors import NotFoundError
from orchestration.orchestrator import AgentSummary

GUARDRAILS = "agent_guardrail_total"


def show(agent: AgentSummary) -> None:
    """Draw the card.

    Args:
        agent: Whose.
    """
    try:
        card, metrics = ask(lambda client: _look(client, agent.name))
    except NotFoundError as error:
        st.warning(f"{plain(error.detail)}. Choose *Versions* to promote one.")
        return
    st.markdown(
        f"**{plain(card['title'])}**, version {card['version']}. {plain(card['description'])}"
    )
    _show_figures(card)
    st.subheader("How good it is")
    rows = proof_rows(card)
    figure(draw_proof(rows), rows, proof_words(card), key="agents_proof")
    _show_trust(card, labelled_values(metrics, GUARDRAILS, agent=agent.name))
    _show_words(card)


async def _look(client: Client, name: str) -> tuple[dict[str, Any], str]:
    return await client.agents.card(name), await client.metrics()


def _show_figures(card: Mapping[str, Any]) -> None:
    aim, took = card["service_level"]["p99_seconds"], card["seconds_per_decision"]
    gap = card["gap_closed_fraction"]
    columns = st.columns(4)
    columns[0].metric("Aim, 99 of 100 within", f"{aim * 1e3:g} ms")
    columns[1].metric("Its example took", "unknown" if took is None else f"{took * 1e3:.2g} ms")
    columns[2].metric("Gap to the bound closed", "no bound" if gap is None else f"{gap:.1%}")
    columns[3].metric("Stands in for it", card["fallback_expert"])
    st.caption("Skills: " + plain(", ".join(card["tags"])))


def _show_trust(card: Mapping[str, Any], cut: Mapping[str, float]) -> None:
    model = card["model"]
    st.subheader("Where it may be trusted")
    st.markdown(
        f"Outside these ranges, when the policy fails or is late, `{card['fallback_expert']}` "
        "answers in its place, and the decision says so."
    )
    st.dataframe(model["validated_for"], hide_index=True, key="agents_ranges")
    st.markdown(
        "\n".join(f"- {plain(limit)}" for limit in model["limits"]) or "No limits are named."
    )
    st.subheader("Guardrails")
    if cut:
        said = ", ".join(f"`{name}` {count:.0f} times" for name, count in sorted(cut.items()))
        st.markdown(f"Since the server began, decisions were cut to what is feasible at {said}.")
    else:
        st.markdown(
            "Every decision is cut to what is feasible. Since the server began, none had to be."
        )


def _show_words(card: Mapping[str, Any]) -> None:
    st.subheader("Lineage")
    st.dataframe(lineage_rows(card), hide_index=True, key="agents_lineage")
    with st.expander("What a request holds, with units and bounds"):
        st.dataframe(
            describe_fields(card["request_schema"]), hide_index=True, key="agents_request_fields"
        )
    with st.expander("What a decision holds"):
        st.dataframe(
            describe_fields(card["decision_schema"]), hide_index=True, key="agents_decision_fields"
        )
