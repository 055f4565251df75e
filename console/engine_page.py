"""The page engine: what waits, what runs, who works, what comes next, and how to stop it."""

from __future__ import annotations

import streamlit as st

from console import engine_actions, engine_plans
from console import engine_rows as rows
from console.server import ask
from console.showing import told
from orchestration.endpoints.engine_routes import EngineDetails

LOOK_SECONDS = 4
NUM_EVENTS = 50


def show() -> None:
    """Draw the page."""
    st.title("Engine")
    engine_actions.show_answer()
    _show_glance()
    schedules, pipelines, webhooks, halt = st.tabs(
        ["Schedules", "Pipelines", "Webhooks", "Kill switch"]
    )
    with schedules, told():
        engine_plans.show_schedules()
    with pipelines, told():
        engine_plans.show_pipelines()
    with webhooks, told():
        engine_plans.show_webhooks()
    with halt:
        engine_actions.show_halt()


@st.fragment(run_every=LOOK_SECONDS)
def _show_glance() -> None:
    with told():
        details = ask(lambda client: client.operations.details(events=NUM_EVENTS))
        _show_figures(details)
        engine_actions.show_jobs()
        _show_workers(details)
        _show_events(details)


def _show_figures(details: EngineDetails) -> None:
    figures = rows.headline(details)
    for place, (name, value) in zip(st.columns(len(figures)), figures.items(), strict=True):
        place.metric(name, value)
    st.header("Queue")
    if not details.kinds:
        st.info("No job was ever submitted here. The page *Submit* queues a training.")
        return
    st.dataframe(rows.queue_rows(details), hide_index=True, key="engine-queue")
    st.subheader("Live jobs")
    if not details.live:
        st.write("No worker carries a job now.")
        return
    progress = {"progress": st.column_config.ProgressColumn(format="percent")}
    st.dataframe(
        rows.live_rows(details.live), hide_index=True, key="engine-live", column_config=progress
    )


def _show_workers(details: EngineDetails) -> None:
    st.header("Workers and slots")
    if not details.workers:
        st.info(
            "No worker was seen in the last hour: `python -m orchestration serve` carries jobs, "
            "`python -m orchestration worker` does so on further machines."
        )
        return
    st.dataframe(rows.worker_rows(details.workers), hide_index=True, key="engine-workers")


def _show_events(details: EngineDetails) -> None:
    with st.expander(f"The newest {len(details.events)} events"):
        st.dataframe(rows.event_rows(details.events), hide_index=True, key="engine-events")
