"""The engine page's tabs of what comes by itself: schedules, pipelines and webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from console import engine_rows as rows
from console.engine_actions import act
from console.server import ask
from orchestration.client.client import Client
from orchestration.endpoints.schedule_shapes import ScheduleView

NUM_FIRES = 4
NUM_PIPELINES = 20


def show_schedules() -> None:
    """Draw the schedules and what can be done with one."""
    schedules, fires = ask(_list_schedules)
    if not schedules:
        st.info(
            "No schedules. `python -m orchestration schedules --help` shows how to have agents "
            "trained again every night, or when new data comes."
        )
        return
    st.dataframe(rows.schedule_rows(schedules, fires), hide_index=True, key="engine-schedules")
    by_name = {one.name: one for one in schedules}
    name = st.selectbox("Schedule", by_name, key="engine-schedule")
    schedule = by_name[name]
    with st.container(horizontal=True):
        st.button(
            "Pause schedule",
            key="engine-schedule-pause",
            disabled=not schedule.active,
            on_click=act,
            args=(lambda c: c.schedules.pause(name), lambda _: f"Schedule {name} is paused."),
        )
        st.button(
            "Resume schedule",
            key="engine-schedule-resume",
            disabled=schedule.active,
            on_click=act,
            args=(lambda c: c.schedules.resume(name), lambda _: f"Schedule {name} fires again."),
        )
        st.button(
            "Run now",
            key="engine-schedule-run",
            on_click=act,
            args=(
                lambda c: c.schedules.run(name),
                lambda fire: f"Schedule {name} fired: {fire.error or fire.outcome}.",
            ),
        )


def show_pipelines() -> None:
    """Draw the newest pipelines with their steps."""
    found = ask(lambda client: client.schedules.pipelines(count=NUM_PIPELINES))
    if not found:
        st.info("No pipelines yet. A schedule starts one, or `python -m orchestration pipelines`.")
        return
    st.dataframe(rows.step_rows(found), hide_index=True, key="engine-pipelines")


def show_webhooks() -> None:
    """Draw who outside is told of what."""
    found = ask(lambda client: client.webhooks.list())
    if not found:
        st.info("No webhooks. `python -m orchestration webhooks --help` shows how to add one.")
        return
    st.dataframe(rows.webhook_rows(found), hide_index=True, key="engine-webhooks")


async def _list_schedules(
    client: Client,
) -> tuple[Sequence[ScheduleView], dict[str, Sequence[datetime]]]:
    found = await client.schedules.list()
    fires = {
        one.name: await client.schedules.preview(one.name, count=NUM_FIRES)
        for one in found
        if one.active
    }
    return found, fires
