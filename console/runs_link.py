"""Links from any page to a run's, and from a run to the form that would train it again."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from streamlit.navigation.page import Page


def first_page(draw: Callable[[], None]) -> Page:
    """Return the page of runs, whose address is that of the console alone.

    Args:
        draw: Draws it.
    """
    return st.Page(draw, title="Runs", url_path="first", default=True)


def go_to(page: Page) -> None:
    """Go from an address that people type to a page, with all that the address names.

    Args:
        page: Where to.
    """
    st.switch_page(page, query_params=st.query_params.to_dict())


def link_to_run(run_id: str, label: str) -> None:
    """Draw a link to the page of a run.

    Args:
        run_id: Which run.
        label: What the link says.
    """
    page = first_page(_draw_nothing)  # its address only
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
