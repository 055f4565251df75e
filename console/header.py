"""The line above every page: which server this console speaks with, and how it is."""

from __future__ import annotations

import streamlit as st

from console.server import ask, server_url
from console.showing import plain
from orchestration.client.errors import ApiError, UnreachableError
from orchestration.endpoints.engine_routes import EngineView
from orchestration.jobs import LIVE, WAITING, JobState

LOOK_SECONDS = 10


@st.fragment(run_every=LOOK_SECONDS)
def show_header() -> None:
    """Draw the line; it renews itself."""
    with st.container(key="header"):
        st.caption(describe_server())


def describe_server() -> str:
    """Say in a line which server this is and how it is."""
    try:
        return f":material/check_circle: {server_url()}: {sum_up(ask(lambda c: c.engine()))}"
    except UnreachableError:
        return f":material/error: {server_url()} does not answer"
    except ApiError as error:
        return f":material/warning: {server_url()}: {plain(error.detail)}"


def sum_up(engine: EngineView) -> str:
    """Say in a few words what a server is busy with.

    Args:
        engine: As the server tells it.
    """
    running = sum(engine.jobs.get(state, 0) for state in LIVE)
    waiting = sum(engine.jobs.get(state, 0) for state in WAITING | {JobState.PENDING})
    paused = engine.jobs.get(JobState.PAUSED, 0)
    words = [f"{running} running", f"{waiting} waiting", *([f"{paused} paused"] if paused else [])]
    return "answers, jobs: " + ", ".join(words)
