"""The page of runs: all of them, one of them, or some beside each other."""

from __future__ import annotations

import streamlit as st

from console.runs_address import COMPARED, RUN
from console.runs_compare import compare_runs
from console.runs_detail import show_run
from console.runs_list import show_runs


def show() -> None:
    """Draw what the address asks for."""
    run_id, compared = st.query_params.get(RUN), st.query_params.get(COMPARED)
    if run_id:
        show_run(run_id)
    elif compared:
        compare_runs([one for one in compared.split(",") if one])
    else:
        st.title("Runs")
        show_runs()
