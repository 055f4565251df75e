"""The list of runs: found by words, opened, and chosen to be compared."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from console.runs_address import EXPERIMENT, WORDS, note, open_comparison, open_run
from console.runs_words import (
    COLORS,
    against_expert,
    age,
    fraction_done,
    progress_words,
    short,
    title_of_line,
)
from console.server import ask
from console.showing import plain, told
from utils.clock import SystemClock
from utils.persistence.run_filter import EVERYTHING, RunFilter
from utils.persistence.run_lines import RunLine
from utils.persistence.run_log import RunState

PAGE = 15
MOST_COMPARED = 5
LOOK_SECONDS = 10
WIDTHS = (0.4, 3.6, 1.4, 1.8, 2.6, 2.6, 1.3)
HEADINGS = ("", "run", "state", "experiment", "best score", "progress", "age")
CURSORS = "runs:cursors"
"""Where the pages end that were turned over."""
CHOSEN = "runs:chosen:"
COMPARE = ":material/compare:"


def show_runs() -> None:
    """Draw filters, a page of runs, and what can be done with them; it renews itself."""
    wanted = _ask_filter()
    st.fragment(_show_page, run_every=LOOK_SECONDS)(wanted)


def _ask_filter() -> RunFilter:
    left, middle, right = st.columns((2, 3, 3), vertical_alignment="bottom")
    experiment = left.text_input(
        "Experiment", _told(EXPERIMENT), key=EXPERIMENT, on_change=_first_page
    )
    words = middle.text_input(
        "Words",
        _told(WORDS),
        key=WORDS,
        on_change=_first_page,
        help="In the id, the experiment, a tag, an error or a setting's value, such as `trading`.",
    )
    states = right.multiselect(
        "States", [state.value for state in RunState], key="states", on_change=_first_page
    )
    note(EXPERIMENT, experiment)
    note(WORDS, words)
    return RunFilter(
        experiment=experiment.strip() or None,
        text=words,
        states=tuple(map(RunState, states)),
    )


def _show_page(wanted: RunFilter) -> None:
    cursors: list[str] = st.session_state.setdefault(CURSORS, [])
    before = cursors[-1] if cursors else None
    with told():
        page = ask(lambda client: client.runs.page(wanted, before=before, limit=PAGE))
        if not page.items:
            _tell_nothing(is_filtered=wanted != EVERYTHING or bool(cursors))
        else:
            _draw_rows(page.items)
            _offer_comparison()
        older = page.next
        left, right, _ = st.columns((1, 1, 6))
        if cursors and left.button("Newer", key="runs:newer", icon=":material/arrow_back:"):
            cursors.pop()
            st.rerun()
        if older and right.button("Older", key="runs:older", icon=":material/arrow_forward:"):
            cursors.append(older)
            st.rerun()


def _tell_nothing(*, is_filtered: bool) -> None:
    if is_filtered:
        st.info("No run fits. Take words away, or look at newer ones.")
        return
    st.info(
        "No runs yet. Fill in the page Submit, or type "
        "`python -m orchestration submit train total_episodes=640 --watch`."
    )


def _draw_rows(runs: Sequence[RunLine]) -> None:
    now = SystemClock().now()
    with st.container(key="runs:headings"):
        for column, heading in zip(st.columns(WIDTHS), HEADINGS, strict=True):
            column.caption(heading)
    for run in runs:
        with st.container(key=f"runs:row:{run.id}"):
            _draw_row(run, age(run.created_at, now))


def _draw_row(run: RunLine, how_old: str) -> None:
    cells = st.columns(WIDTHS, vertical_alignment="center")
    name = title_of_line(run)
    cells[0].checkbox(
        f"Compare {name}, {short(run.id)}",
        key=CHOSEN + run.id,
        label_visibility="collapsed",
        persist_state="session",
    )
    if cells[1].button(name, key=f"runs:open:{run.id}", type="tertiary", help=run.id, wrap=True):
        open_run(run.id)
    cells[2].badge(run.state.value, color=COLORS[run.state])
    tags = "".join(f" `{tag}`" for tag in run.tags)
    cells[3].markdown(f"{plain(run.experiment)}{tags}")
    cells[4].markdown(against_expert(run.best_score, run.expert))
    cells[5].progress(fraction_done(run), text=progress_words(run))
    cells[6].markdown(how_old)


def _offer_comparison() -> None:
    chosen = [
        str(name).removeprefix(CHOSEN)
        for name, is_chosen in st.session_state.items()
        if str(name).startswith(CHOSEN) and is_chosen
    ]
    is_possible = 2 <= len(chosen) <= MOST_COMPARED
    label = f"Compare {len(chosen)} runs" if is_possible else f"Choose 2 to {MOST_COMPARED} runs"
    with st.container(horizontal=True):
        if st.button(label, key="runs:compare", disabled=not is_possible, icon=COMPARE):
            open_comparison(chosen)
        if chosen:
            st.button(f"Choose none of {len(chosen)}", key="runs:none", on_click=_choose_none)


def _choose_none() -> None:
    for name in st.session_state:
        if str(name).startswith(CHOSEN):
            st.session_state[name] = False


def _told(name: str) -> str:
    return str(st.query_params.get(name, ""))


def _first_page() -> None:
    st.session_state[CURSORS] = []
