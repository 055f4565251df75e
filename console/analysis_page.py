"""The page *Analysis*: deciders over many equal episodes, and what finished runs showed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from console import analysis_rows as rows_of
from console import lab_choice, lab_session
from console.analysis_charts import (
    draw_curves,
    draw_distribution,
    draw_intervals,
    draw_paths,
    draw_violations,
)
from console.analysis_runs import show_runs
from console.lab_rows import to_csv
from console.server import ask
from console.showing import figure, told
from orchestration.client.errors import ApiError, UnreachableError
from orchestration.endpoints.session_play_routes import ComparisonReport, DeciderRequest
from orchestration.endpoints.world_routes import WorldView

KEY = "analysis"
CHANCE = "chance"
MOST_DECIDERS = 8
RULE, AGENT = "rule: ", "agent: "


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A comparison that was played."""

    world: str
    seed: int
    sizes: Mapping[str, float | str]
    report: ComparisonReport


def show() -> None:
    """Draw the page."""
    st.title("Analysis")
    play, runs = st.tabs(["Play and compare", "Finished runs"])
    with play, told():
        _show_play()
    with runs, told():
        show_runs()


def _show_play() -> None:
    st.write(
        "Let rules, chance and registered agents play the same episodes: differences are then "
        "theirs, not those of the luck they met."
    )
    world = lab_choice.choose_world(lab_session.list_worlds(), key="analysis")
    seed, sizes = lab_choice.choose_sizes(world, key="analysis")
    deciders = _choose_deciders(world)
    episodes = st.slider("Episodes", 10, 200, 50, step=10, key="analysis-episodes")
    is_fitting = 1 <= len(deciders) <= MOST_DECIDERS
    if not is_fitting:
        st.info(f"Choose 1 to {MOST_DECIDERS} deciders.")
    if st.button("Play", type="primary", disabled=not is_fitting, key="analysis-play"):
        report = _play(world, seed, sizes, deciders=deciders, episodes=episodes)
        st.session_state[KEY] = Analysis(world=world.name, seed=seed, sizes=sizes, report=report)
    found: Analysis | None = st.session_state.get(KEY)
    if found is None:
        st.info("Nothing has been played yet. Choose who plays, then press Play.")
        return
    _show(found)


def _choose_deciders(world: WorldView) -> list[DeciderRequest]:
    agents = [offer for offer in lab_choice.find_agents(world) if not offer.why_not]
    names = [
        *(RULE + name for name in world.experts),
        CHANCE,
        *(AGENT + offer.name for offer in agents),
    ]
    usual = [*names[:1], CHANCE, *(AGENT + offer.name for offer in agents)]
    chosen = st.multiselect(
        "Who plays",
        names,
        default=list(dict.fromkeys(usual))[:MOST_DECIDERS],
        format_func=lambda name: name.replace("_", " "),
        help="Registered agents are offered where their domain fits the world.",
        key=f"analysis-who-{world.name}",
    )
    return [_decider(name) for name in chosen]


def _decider(name: str) -> DeciderRequest:
    if name == CHANCE:
        return DeciderRequest(kind="random")
    if name.startswith(RULE):
        return DeciderRequest(kind="expert", name=name.removeprefix(RULE))
    return DeciderRequest(kind="agent", name=name.removeprefix(AGENT))


def _play(
    world: WorldView,
    seed: int,
    sizes: Mapping[str, float | str],
    *,
    deciders: Sequence[DeciderRequest],
    episodes: int,
) -> ComparisonReport:
    """Play in a process of the server's, a few seconds per question, and close it again."""
    bar = st.progress(0.0, "Building the world …")
    session = lab_session.open_session(world, seed=seed, sizes=sizes)
    try:
        while True:
            view = ask(
                lambda client: client.sessions.compare(session.id, deciders, episodes=episodes),
                seconds=lab_session.PATIENCE,
            )
            if view.report is not None:
                return view.report
            bar.progress(view.played / view.total, f"{view.played} of {view.total} steps")
    finally:
        bar.empty()
        with contextlib.suppress(ApiError, UnreachableError):  # it closes by itself when unused
            ask(lambda client: client.sessions.close(session.id))


def _show(found: Analysis) -> None:
    report = found.report
    sizes = "".join(f", {name.replace('_', ' ')} {value}" for name, value in found.sizes.items())
    st.header(f"{found.world.replace('_', ' ').capitalize()}, seed {found.seed}{sizes}")
    st.subheader("Who does best")
    rows = rows_of.table_rows(report)
    st.dataframe(rows, hide_index=True, key="analysis-table")
    st.caption(
        f"{rows_of.tell_table(report)} Returns are means of the agents; higher is better. "
        + " ".join(f"CVaR 5 % is missing: {note}." for note in rows_of.tail_notes(report))
    )
    _show_places(report)
    _show_episodes(report)
    _show_limits(report)
    returns = rows_of.return_rows(report)
    st.download_button(
        "Download all returns as CSV",
        to_csv(returns),
        file_name=f"{found.world}-seed-{found.seed}-returns.csv",
        mime="text/csv",
        key="analysis-csv",
    )


def _show_places(report: ComparisonReport) -> None:
    left, right = st.columns(2)
    with left:
        st.subheader("Mean return, 95 % interval")
        rows = rows_of.mean_rows(report)
        words = rows_of.tell_table(report)
        figure(draw_intervals(rows, title="mean return"), rows, words, key="analysis-rows-mean")
    differences = rows_of.difference_rows(report)
    if not differences:
        return
    with right:
        base = rows_of.name_of(report.players[report.baseline])
        st.subheader(f"Paired difference to {base}")
        chart = draw_intervals(differences, title="difference", with_zero=True)
        words = rows_of.tell_differences(report)
        figure(chart, differences, words, key="analysis-rows-difference")


def _show_episodes(report: ComparisonReport) -> None:
    st.subheader("Distribution of returns")
    rows = rows_of.return_rows(report)
    words = rows_of.tell_returns(report)
    figure(draw_distribution(rows), rows, words, key="analysis-rows-returns")
    left, right = st.columns(2)
    with left:
        st.subheader("Return over the episode")
        rows = rows_of.curve_rows(report)
        words = "Mean return so far; eight of ten episodes lie in the band."
        figure(draw_curves(rows), rows, words, key="analysis-rows-curves")
    with right:
        st.subheader("Single episodes")
        names = [rows_of.name_of(player) for player in report.players]
        name = st.selectbox("Of", names, key="analysis-path")
        rows = rows_of.path_rows(report, name)
        words = f"The first episodes of {name}, each line one of them."
        figure(draw_paths(rows), rows, words, key="analysis-rows-paths")


def _show_limits(report: ComparisonReport) -> None:
    st.subheader("Limits")
    if not report.counts_costs:
        st.caption("This world counts no violations: every action is made feasible first.")
        return
    rows = rows_of.violation_rows(report)
    projected = any(player.is_projected for player in report.players)
    note = (
        "Projected actions are shrunk in proportion until the limit holds."
        if projected
        else "No projection is known that keeps this limit: it depends on what happens after the "
        "decision."
    )
    words = f"{rows_of.tell_violations(rows)} {note}"
    figure(draw_violations(rows), rows, words, key="analysis-rows-violations")
