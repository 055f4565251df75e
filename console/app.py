"""The console's pages and what stands above all of them; `make console` starts it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st

from console import (
    agents_page,
    analysis_page,
    engine_page,
    lab_page,
    lab_session,
    monitoring_page,
    runs_page,
    submit_page,
)
from console.header import show_header
from console.runs_link import first_page, go_to
from console.style import style_for

LOGO = Path(__file__).with_name("logo.svg")  # a named icon would be fetched from elsewhere

st.set_page_config(page_title="Quartermaster", page_icon=LOGO, layout="wide")
st.html(style_for(st.context.theme.type))
st.logo(LOGO, size="large")
first = first_page(runs_page.show)
page = st.navigation(
    {
        "Train": [
            first,
            st.Page(partial(go_to, first), title="Runs", url_path="runs", visibility="hidden"),
            st.Page(submit_page.show, title="Submit", url_path="submit"),
            st.Page(lab_page.show, title="Environment lab", url_path="lab"),
            st.Page(analysis_page.show, title="Analysis", url_path="analysis"),
        ],
        "Operate": [
            st.Page(agents_page.show, title="Agents", url_path="agents"),
            st.Page(engine_page.show, title="Engine", url_path="engine"),
            st.Page(monitoring_page.show, title="Monitoring", url_path="monitoring"),
        ],
    }
)
if page.url_path != "lab":
    lab_session.leave()
show_header()
page.run()
