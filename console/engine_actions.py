"""What operators do on the engine page: another fate for one job, or for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, TypeVar

import streamlit as st

from console import engine_rows as rows
from console.server import ask
from console.showing import describe, plain, told
from orchestration.client.client import Client
from orchestration.client.errors import ApiError, UnreachableError
from orchestration.endpoints.job_views import JobView
from orchestration.jobs import LIVE, TERMINAL, WAITING, JobState

ANSWER = "engine-answer"
NUM_ENDED, NUM_OPEN = 20, 200
Fate = Literal["pause", "cancel"]
Answer = TypeVar("Answer")
RESTING = (*WAITING, JobState.PENDING, JobState.PAUSED)


def act(question: Callable[[Client], Awaitable[Answer]], words: Callable[[Answer], str]) -> None:
    """Ask the server to do something, and keep what came of it for `show_answer`.

    Args:
        question: What to do.
        words: Says what was done.
    """
    try:
        st.session_state[ANSWER] = ("success", plain(words(ask(question))))
    except (ApiError, UnreachableError) as error:
        st.session_state[ANSWER] = ("error", describe(error))


def show_answer() -> None:
    """Say once what came of the last action."""
    kind, words = st.session_state.pop(ANSWER, (None, ""))
    if kind == "success":
        st.success(words)
    elif kind == "error":
        st.error(words)


def show_jobs() -> None:
    """Let one choose a job and give it another fate."""
    jobs = ask(_list_jobs)
    if not jobs:
        return
    st.subheader("Another fate for a job")
    by_id = {job.id: job for job in jobs}
    chosen = st.selectbox(
        "Job", by_id, format_func=lambda id_: rows.job_label(by_id[id_]), key="engine-job"
    )
    job = by_id[chosen]
    if job.error:
        st.write(f"Its last error: {plain(job.error.splitlines()[0])}")
    possible = rows.allowed(job)
    with st.container(horizontal=True):
        for action in rows.ACTIONS:
            st.button(
                action.capitalize(),
                key=f"engine-{action}",
                disabled=action not in possible,
                on_click=_change,
                args=(action, job.id),
            )
    show_answer()


def show_halt() -> None:
    """Let one stop all work at once, after typing that this is meant."""
    st.write(
        "Stops **every** job that runs or waits. Paused ones save their work and go on when they "
        "are resumed; cancelled ones end for good, their checkpoints stay."
    )
    fate: Fate = st.radio(
        "What shall become of them", ["pause", "cancel"], key="engine-fate", horizontal=True
    )
    phrase = rows.phrase_of(fate)
    with st.form("engine-halt-form", clear_on_submit=True):
        typed = st.text_input(f"Type: {phrase}", key="engine-phrase")
        and_schedules = st.checkbox(
            "Pause all schedules first, so that they start nothing new",
            value=True,
            key="engine-halt-schedules",
        )
        is_meant = st.form_submit_button("Stop all work", key="engine-halt", type="primary")
    if not is_meant:
        return
    if typed.strip().lower() != phrase:
        st.error(f"Nothing was stopped: type `{phrase}` to say that it is meant.")
        return
    with told():
        paused, stopped = ask(partial(_halt, fate=fate, and_schedules=and_schedules))
        st.success(f"{stopped} jobs were told to {fate}; {paused} schedules were paused.")


async def _halt(client: Client, *, fate: Fate, and_schedules: bool) -> tuple[int, int]:
    active = [one for one in await client.schedules.list() if one.active] if and_schedules else []
    for schedule in active:
        await client.schedules.pause(schedule.name)
    return len(active), len(await client.operations.halt(fate))


async def _list_jobs(client: Client) -> list[JobView]:
    """Return live jobs, then those that wait or pause, then the newest finished ones."""
    found = []
    for states, most in ((LIVE, NUM_OPEN), (RESTING, NUM_OPEN), (TERMINAL, NUM_ENDED)):
        left = most
        async for job in client.jobs.list(states=states):
            found.append(job)
            left -= 1
            if not left:
                break
    return found


def _change(action: str, job_id: str) -> None:
    async def change(client: Client) -> JobView:
        calls = client.jobs
        match action:
            case "pause":
                return await calls.pause(job_id)
            case "resume":
                return await calls.resume(job_id)
            case "cancel":
                return await calls.cancel(job_id)
            case _:
                return await calls.retry(job_id)

    done = "is queued again as" if action == "retry" else "is now"
    act(change, lambda job: f"Job {job_id[-rows.SHORT_ID :]} {done} {rows.job_label(job)}.")
