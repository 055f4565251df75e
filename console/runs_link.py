"""Links from any page to a run's, and from a run to the form that would train it again."""

from __future__ import annotations

import streamlit as st


def link_to_run(run_id: str, label: str) -> None:
    """Draw a link to the page of a run.

    Args:
        run_id: Which run.
        label: What the link says.
    """
    page = st.Page(_draw_nothing, title="Runs", url_path="runs", default=True)  # its address only
    st.page_link(page, label=label, query_params={"run": run_id}, icon=":material/show_chart:")


def link_to_form(run_id: str) -> None:
    """Draw a link to the form of a training, filled in as a run was.

    Args:
        run_id: Which run.
    """
    page = st.Page(_draw_nothing, title="Submit", url_path="submit")
    label = "Change and submit again"
    st.page_link(page, label=label, query_params={"from": run_id}, icon=":material/edit:")


def _draw_nothing() -> None:
    """Stand for the page, which `app.py` has."""
