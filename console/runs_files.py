"""The files that a run left, each downloaded once its hash was checked, and its links."""

from __future__ import annotations

import streamlit as st

from console.runs_words import FileRow, file_rows
from console.server import ask
from console.showing import plain, told
from orchestration.client.errors import NotFoundError
from utils.persistence.run_queries import RunDetails


def show_files(run: RunDetails) -> None:
    """Draw files with their downloads, the job, and the report.

    Args:
        run: Which.
    """
    files = file_rows(run)
    if not files:
        st.info("No files yet: a policy comes at the end of training.")
    for one in files:
        _draw_file(one)
    st.subheader("Elsewhere")
    if run.summary.job_id is not None:
        st.markdown(f"Job `{run.summary.job_id}`, which the page *Engine* shows among all jobs.")
    for model in run.models:
        st.markdown(f"Version {model.version} of agent `{model.agent}`, on the page *Agents*.")
    _offer_report(run.summary.id)


def _draw_file(one: FileRow) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{plain(one.name)}** · {one.kind} · {one.size_bytes / 1024:,.1f} KiB  \n"
            f":gray[SHA-256 `{one.sha256}`]"
        )
        key = f"run:file:{one.sha256}:{one.name}"
        if not st.session_state.get(f"{key}:wanted"):
            if st.button("Fetch and check", key=key, icon=":material/verified:"):
                st.session_state[f"{key}:wanted"] = True
                st.rerun()
            return
        with told():
            content = ask(lambda client: client.runs.artifact(one.sha256))
            st.download_button(
                "Save (hash is right)",
                content,
                file_name=one.file_name,
                key=f"{key}:save",
                icon=":material/download:",
                on_click="ignore",
            )


def _offer_report(run_id: str) -> None:
    try:
        page = ask(lambda client: client.runs.report(run_id))
    except NotFoundError:
        st.markdown("No report was written yet. On the server's machine:")
        st.code(f"python -m orchestration report {run_id}", language="bash")
        return
    st.download_button(
        "Report (one HTML page)",
        page,
        file_name=f"run-{run_id}.html",
        mime="text/html",
        key="run:report",
        icon=":material/description:",
        on_click="ignore",
    )
