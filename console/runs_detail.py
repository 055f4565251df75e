"""One run: how it stands, what can be done with it, and what it left."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import streamlit as st

from console.runs_address import VIEW, note, open_list, open_run
from console.runs_curves import show_curves, show_stages
from console.runs_files import show_files
from console.runs_link import link_to_form
from console.runs_logs import show_logs
from console.runs_words import (
    COLORS,
    Button,
    against_expert,
    age,
    buttons_of,
    fraction_done,
    number,
    progress_words,
    setting_rows,
    short,
    span,
    title_of,
)
from console.server import ask
from console.showing import plain, told
from orchestration.client.client import Client
from orchestration.endpoints.job_views import JobDetails
from orchestration.jobs import TERMINAL, Desired, JobState
from utils.clock import SystemClock
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import RunDetails

LOOK_SECONDS = 2
MOVING = (RunState.QUEUED, RunState.RUNNING)
LABELS: dict[Button, tuple[str, str, str]] = {
    "pause": ("Pause", ":material/pause:", "It saves its work and waits."),
    "resume": ("Resume", ":material/play_arrow:", "It goes on from its checkpoint."),
    "cancel": ("Cancel", ":material/cancel:", "It stops for good; its checkpoints stay."),
    "retry": ("Retry", ":material/replay:", "A new run of the same settings and seed."),
}
DONE = "run:done"
"""What a button has just done, to be told once."""
NONCE = "run:nonce:"
"""Of a job's next retry: the same until the server has taken it, however often one clicks."""


def show_run(run_id: str) -> None:
    """Draw a run; while it moves, its figures renew themselves.

    Args:
        run_id: Which.
    """
    if st.button("All runs", key="run:back", icon=":material/arrow_back:", type="tertiary"):
        open_list()
    run = None
    with told():
        run = ask(lambda client: client.runs.get(run_id))
    if run is None:
        st.title("Run")
        return
    st.title(title_of(run.config, run.summary.seed))
    every = LOOK_SECONDS if run.summary.state in MOVING else None
    st.fragment(_show_standing, run_every=every)(run_id, run.summary.state)
    asked = st.query_params.get(VIEW)
    usual = asked if asked in VIEWS else FIRST_VIEW
    view = st.segmented_control("View", list(VIEWS), key=VIEW, default=usual, required=True)
    note(VIEW, view)
    st.fragment(_show_view, run_every=every)(run_id, view or FIRST_VIEW)


def _show_standing(run_id: str, began_as: RunState) -> None:
    with told():
        run = ask(lambda client: client.runs.get(run_id))
        if run.summary.state is not began_as:
            st.rerun()
        job_id = run.summary.job_id
        job = None if job_id is None else ask(lambda client: client.jobs.get(job_id))
        _draw_standing(run, job)
        if job is not None:
            _offer_buttons(job, run_id)


def _draw_standing(run: RunDetails, job: JobDetails | None) -> None:
    summary = run.summary
    now = SystemClock().now()
    ended = ""
    if summary.ended_at:
        ended = f", ended {span(summary.ended_at - summary.created_at)} later"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(summary.state.value, color=COLORS[summary.state])
        st.caption(
            f"Run `{short(summary.id)}` of experiment {plain(summary.experiment)}, "
            f"submitted {age(summary.created_at, now)}{ended}"
        )
        for tag in run.facts.tags:
            st.badge(plain(tag), color="gray")
    scores = run.evaluations[-1].scores if run.evaluations else {}
    figures = {
        "Best score": against_expert(summary.best_score, scores.get("expert")),
        "Return": number(run.latest["return"].value if "return" in run.latest else None),
        "Last stage" if summary.ended_at else "Stage": summary.stage or "none yet",
    }
    for column, (name, words) in zip(st.columns((2, 1, 2)), figures.items(), strict=True):
        column.markdown(f":gray[{name}]  \n**{words}**")
    st.progress(fraction_done(summary), text=progress_words(summary))
    if summary.error:
        if summary.state is RunState.FAILED:
            st.error(f"It broke: {plain(summary.error)}")
        else:
            st.warning(f"Its last try broke: {plain(summary.error)}")
    is_moving = job is not None and job.state not in {*TERMINAL, JobState.PAUSED}
    if job is not None and is_moving and job.desired is not Desired.RUN:
        st.info(f"Asked to {job.desired.value}; the job is {job.state.value}.")


def _offer_buttons(job: JobDetails, run_id: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        for action in buttons_of(job.state, job.desired):
            label, icon, about = LABELS[action]
            if action == "cancel":
                with st.popover(label, icon=icon, help=about, key="run:cancel"):
                    st.markdown("Stop this run for good? Its checkpoints stay.")
                    if st.button("Yes, cancel it", key="run:cancel:yes", type="primary"):
                        _act(job.id, action)
            elif st.button(label, key=f"run:{action}", icon=icon, help=about):
                _act(job.id, action)
        link_to_form(run_id)
    if done := st.session_state.pop(DONE, None):
        st.success(done)


def _act(job_id: str, action: Button) -> None:
    """Do what a button says; a retry leads to the new run."""
    nonce = st.session_state.setdefault(NONCE + job_id, uuid.uuid4().hex)

    async def change(client: Client) -> str | None:
        if action == "retry":
            again = await client.jobs.retry(job_id, idempotency_key=f"console-retry-{nonce}")
            return again.run_id
        await {
            "pause": client.jobs.pause, "resume": client.jobs.resume, "cancel": client.jobs.cancel,
        }[action](job_id)  # fmt: skip
        return None

    run_id = ask(change)
    del st.session_state[NONCE + job_id]
    st.session_state[DONE] = f"{LABELS[action][0]}: the server has taken it."
    if run_id is not None:
        open_run(run_id)
    st.rerun()


def _show_view(run_id: str, view: str) -> None:
    with told():
        VIEWS[view](ask(lambda client: client.runs.get(run_id)))


def _show_configuration(run: RunDetails) -> None:
    st.dataframe(setting_rows(run.config), hide_index=True, key="run:settings")
    dirty = " with changes that were not committed" if run.code_dirty else ""
    st.markdown(f"Code `{run.code_commit[:12] or 'unknown'}`{dirty}.")
    packages = [{"package": name, "version": it} for name, it in run.versions.items()]
    left, right = st.columns(2)
    left.dataframe(packages, hide_index=True, key="run:packages")
    data = [{"scenarios": one.role, "what": one.about, "hash": one.sha256[:12]}
            for one in run.facts.data]  # fmt: skip
    right.dataframe(data, hide_index=True, key="run:data")
    for parent in run.facts.parents:
        words = parent.relation.value.replace("_", " ")
        st.markdown(f"It began with {words} of run `{parent.run_id}`.")


VIEWS: dict[str, Callable[[RunDetails], None]] = {
    "Curves": show_curves,
    "Stages": show_stages,
    "Configuration": _show_configuration,
    "Logs": show_logs,
    "Files": show_files,
}
FIRST_VIEW = "Curves"
