"""The page on which a training is submitted: a form made from its settings, and what it sends."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from console.runs_link import link_to_run
from console.server import TOKEN_VARIABLE, ask, server_url
from console.showing import plain, told
from console.submit_fields import TYPED, draw_field, keep_typed
from console.submit_form import (
    WHOLE_FORM,
    Filled,
    fill,
    make_body,
    make_command,
    make_curl,
    place_problems,
    sets_learning,
    submission_key,
    typed_from,
)
from orchestration.client.errors import ConflictError, InvalidRequestError
from orchestration.client.training import CheckView, FormField, TrainingForm
from orchestration.endpoints.job_views import JobRequest, JobView

USUAL = "the usual settings"
PRESET, ALONE, PRIORITY = "submit:preset", "submit:alone", "submit:priority"
NONCE, MADE, FROM, TAKEN = "submit:nonce", "submit:made", "from", "submit:taken"
OPEN_SECTIONS = ("What is trained", "How long", "Name and chance")
COLUMNS = 3


def show() -> None:
    """Draw the page."""
    st.title("Submit")
    with told():
        form = _fetch_form()
        with told():
            _take_run(form)
        _ask_preset(form)
        filled = _read(form)
        view, problems = _check(form, filled)
        _draw_form(form, problems)
        if problems.get(WHOLE_FORM):
            st.error(plain(problems[WHOLE_FORM]))
        _offer(form, filled, view)


@st.cache_data(ttl=60, show_spinner=False)
def _fetch_form() -> TrainingForm:
    return ask(lambda client: client.training.form())


def _take_run(form: TrainingForm) -> None:
    """Begin with the settings of the run that the address names, once."""
    run_id = st.query_params.get(FROM)
    if not run_id or st.session_state.get(TAKEN) == run_id:
        return
    run = ask(lambda client: client.runs.get(run_id))
    st.session_state[TAKEN] = run_id
    _begin_with(form, run.config)


def _ask_preset(form: TrainingForm) -> None:
    presets = {one.name: one for one in form.presets}

    def begin() -> None:
        chosen = presets.get(st.session_state[PRESET])
        _begin_with(form, {} if chosen is None else chosen.config)

    name = st.selectbox("Begin with", [USUAL, *presets], key=PRESET, on_change=begin)
    if name in presets:
        st.caption(presets[name].about)


def _begin_with(form: TrainingForm, config: Mapping[str, Any]) -> None:
    for name, value in typed_from(form, config).items():
        st.session_state[TYPED + name] = value
    st.session_state[ALONE] = not sets_learning(config)
    st.session_state.pop(MADE, None)


def _read(form: TrainingForm) -> Filled:
    for name, value in typed_from(form, {}).items():
        st.session_state.setdefault(TYPED + name, value)
    st.session_state.setdefault(ALONE, True)
    keep_typed()
    typed = {one.name: st.session_state[TYPED + one.name] for one in form.fields}
    return fill(form, typed, learns_alone=st.session_state[ALONE])


def _check(form: TrainingForm, filled: Filled) -> tuple[CheckView | None, dict[str, str]]:
    """Ask the server what it would say, without queueing anything."""
    problems = dict(filled.problems)
    try:
        view = ask(lambda client: client.training.check(filled.config))
    except InvalidRequestError as error:
        names = [one.name for one in form.fields]
        said = error.problems or {WHOLE_FORM: error.detail}
        return None, place_problems(said, names) | problems
    return (None if problems else view), problems


def _draw_form(form: TrainingForm, problems: Mapping[str, str]) -> None:
    sections: dict[str, list[FormField]] = {}
    for field in form.fields:
        sections.setdefault(field.section, []).append(field)
    for title, fields in sections.items():
        if "." in title:
            continue
        if title in OPEN_SECTIONS:
            st.subheader(title)
            _draw_fields(fields, problems)
            continue
        is_wrong = any(field.name in problems for field in fields)
        with st.expander(title, expanded=is_wrong):
            _draw_fields(fields, problems)
    environment = st.session_state[f"{TYPED}environment"]
    if world := sections.get(f"world.{environment}"):
        with st.expander("Sizes of the world"):
            _draw_fields(world, problems)
    algorithm = st.session_state[f"{TYPED}algorithm"]
    with st.expander(f"How {algorithm} learns", expanded=not st.session_state[ALONE]):
        st.checkbox("As the problem says", key=ALONE, persist_state="session")
        if not st.session_state[ALONE]:
            st.caption(
                "These begin with the algorithm's own defaults, which may suit the problem less "
                "well than the problem's."
            )
            _draw_fields(sections[f"settings.{form.families[algorithm]}"], problems)


def _draw_fields(fields: Sequence[FormField], problems: Mapping[str, str]) -> None:
    for start in range(0, len(fields), COLUMNS):
        columns = st.columns(COLUMNS)
        for column, field in zip(columns, fields[start : start + COLUMNS], strict=False):
            with column:
                draw_field(field)
                if field.name in problems:
                    st.markdown(f":red[:material/error: {plain(problems[field.name])}]")


def _offer(form: TrainingForm, filled: Filled, view: CheckView | None) -> None:
    st.subheader("What is sent")
    priority = int(
        st.number_input(
            "Priority", -1000, 1000, 0, key=PRIORITY, help="Higher ones go first.", width=200
        )
    )
    body = make_body(filled.config, priority)
    as_json, as_command, as_curl = st.tabs(["JSON", "Command line", "curl"])
    as_json.code(json.dumps(body, indent=2), language=None)
    as_command.code(make_command(form, filled.config, priority), language="bash", wrap_lines=True)
    curl = make_curl(server_url(), body, has_token=bool(os.environ.get(TOKEN_VARIABLE)))
    as_curl.code(curl, language="bash", wrap_lines=True)
    if view is not None:
        steps = f"{view.total_env_steps:,}" if view.total_env_steps else "as many as it says"
        st.caption(f"The server would take this: {steps} environment steps.")
    nonce = st.session_state.setdefault(NONCE, uuid.uuid4().hex)
    key = submission_key(nonce, body)
    if st.button("Submit", key="submit:submit", type="primary", disabled=view is None):
        _submit(body, key)
    _tell_made(key)


def _submit(body: Mapping[str, Any], key: str) -> None:
    request = JobRequest.model_validate(body)
    try:
        job = ask(lambda client: client.jobs.submit(request, idempotency_key=key))
    except ConflictError as error:
        st.error(plain(error.detail))
        return
    st.session_state[MADE] = (key, job)


def _tell_made(key: str) -> None:
    made: tuple[str, JobView] | None = st.session_state.get(MADE)
    if made is None or made[1].run_id is None:
        return
    same, job = made[0] == key, made[1]
    st.success(f"Queued: run `{job.run_id}`. It begins as soon as a worker is free.")
    link_to_run(str(job.run_id), "Watch the run")
    if same and st.button("The same once more, as another run", key="submit:again"):
        st.session_state[NONCE] = uuid.uuid4().hex
        st.session_state.pop(MADE)
        st.rerun()
