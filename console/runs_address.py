"""What the address of the page of runs names, so that a link shows others the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import streamlit as st

RUN, COMPARED = "run", "compare"
"""One run, or several with commas between."""
VIEW, METRIC, EXPERIMENT, WORDS = "view", "metric", "experiment", "words"


def open_list() -> NoReturn:
    """Go to the list of runs, found by the same words as before."""
    _leave()
    st.rerun()


def open_run(run_id: str) -> NoReturn:
    """Go to a run.

    Args:
        run_id: Which.
    """
    _leave()
    st.query_params[RUN] = run_id
    st.rerun()


def open_comparison(run_ids: Sequence[str]) -> NoReturn:
    """Go to runs beside each other.

    Args:
        run_ids: Which.
    """
    _leave()
    st.query_params[COMPARED] = ",".join(run_ids)
    st.rerun()


def note(name: str, value: str | None) -> None:
    """Have the address name a choice.

    Args:
        name: Of it.
        value: Nothing takes it away.
    """
    if value and st.query_params.get(name) != value:
        st.query_params[name] = value
    elif not value and name in st.query_params:
        del st.query_params[name]


def _leave() -> None:
    for name in (RUN, COMPARED, VIEW, METRIC):
        note(name, None)
