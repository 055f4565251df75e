"""What the processes of a run wrote."""

from __future__ import annotations

import streamlit as st

from console.server import ask
from console.showing import plain
from orchestration.client.errors import NotFoundError
from utils.persistence.run_queries import RunDetails

HEIGHT = 480
LENGTHS = (100, 500, 2000)


def show_logs(run: RunDetails) -> None:
    """Draw the last lines of an attempt; the page around it renews them while the run moves.

    Args:
        run: Which.
    """
    job_id = run.summary.job_id
    if job_id is None:
        st.info("This run was made by a program of its own, which keeps its own log.")
        return
    attempts = ask(lambda client: client.jobs.attempts(job_id))
    if not attempts:
        st.info("No attempt yet: the job waits for a worker.")
        return
    left, middle = st.columns(2)
    fence = left.selectbox(
        "Attempt", [one.fence for one in attempts], key="attempt", format_func=lambda n: f"{n}"
    )
    lines = middle.selectbox("Last lines", LENGTHS, key="run:lines")
    try:
        page = ask(lambda client: client.jobs.logs(job_id, attempt=fence, tail=lines))
    except NotFoundError as error:
        st.info(plain(error.detail))
        return
    if not page.text:
        st.info(f"Attempt {page.attempt} wrote nothing so far.")
        return
    st.code(page.text, language=None, height=HEIGHT, wrap_lines=True)
    st.caption(f"Attempt {page.attempt}, up to byte {page.next:,}.")
    st.download_button(
        "Save these lines",
        page.text,
        file_name=f"{run.summary.id}-{page.attempt}.log",
        key="run:log:save",
        on_click="ignore",
    )
